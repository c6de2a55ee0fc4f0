// SPDX-License-Identifier: Apache-2.0
// Sealed objects: what was put comes back whole, or not at all; what is stored says nothing.

#include "userspace/vault/sealed_store.hpp"

#include <algorithm>
#include <set>

#include "userspace/vault/outside_scrub.hpp"
#include "userspace/vault/repair.hpp"
#include "userspace/vault/simulated_file_layer.hpp"
#include "vault_fixture.hpp"

namespace towline::testing {

namespace {

constexpr std::size_t kChunk = sealed_format::kChunkBytes;
constexpr std::size_t kStride = sealed_format::kStrideBytes;
constexpr std::size_t kHead = sealed_format::kHeadBytes;

std::shared_ptr<ObjectStore> store_on(SimulatedFolder& files) {
    return std::make_shared<FolderStore>(
        std::make_unique<SimulatedFileLayer>(files), [](const std::string&, HoldKind) {
            return Result<std::unique_ptr<ObjectHold>>(std::make_unique<ObjectHold>());
        });
}

bool contains(const Bytes& bytes, std::string_view text) {
    return !std::ranges::search(bytes, std::as_bytes(std::span(text))).empty();
}

std::string text_of(ByteSpan bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

struct SealedStoreTest : ::testing::Test {
    SealedStoreTest() {
        fill_random(key.bytes());
        store = reopened();
    }
    std::unique_ptr<SealedStore> reopened(const Uuid* other = nullptr) {
        return std::make_unique<SealedStore>(store_on(files), other ? *other : vault,
                                             Secret::copy_of(key.bytes()));
    }
    Bytes noise(std::size_t count) {
        Bytes bytes(count);
        for (std::byte& each : bytes)
            each = static_cast<std::byte>(random());
        return bytes;
    }
    Bytes put(const std::string& name, std::size_t count) {
        Bytes bytes = noise(count);
        EXPECT_TRUE(store->put_if_absent(name, bytes).value());
        return bytes;
    }
    // From a store that has never seen it.
    Result<Bytes> read(const std::string& name, std::size_t count) {
        Bytes bytes(count);
        const std::size_t got = TRY(reopened()->get_range(name, 0, bytes));
        bytes.resize(got);
        return bytes;
    }
    Bytes& stored(const std::string& name) {
        return files.contents(store->stored_name(name).value());
    }

    SimulatedFolder files{1};
    Uuid vault = Uuid::random();
    Secret key{kKeyBytes};
    std::mt19937_64 random{1};
    std::unique_ptr<SealedStore> store;
};

// Keeps all that anybody began to write, also what was never committed.
class KeepingStore final : public ObjectStore {
  public:
    struct Upload final : ObjectUpload {
        explicit Upload(Bytes& into) : bytes(into) {}
        Status write(std::uint64_t, ByteSpan more) override {
            bytes.insert(bytes.end(), more.begin(), more.end());
            return {};
        }
        Result<bool> commit(std::uint64_t) override { return true; }
        Bytes& bytes;
    };
    Result<std::unique_ptr<ObjectUpload>> begin_put(const std::string&) override {
        attempts.push_back(std::make_unique<Bytes>());
        return std::make_unique<Upload>(*attempts.back());
    }
    Result<std::size_t> get_range(const std::string&, std::uint64_t, MutableByteSpan) override {
        return 0;
    }
    Result<std::optional<std::uint64_t>> size(const std::string&) override {
        return std::optional<std::uint64_t>();
    }
    Result<std::vector<ObjectInfo>> list(const std::string&) override {
        return std::vector<ObjectInfo>();
    }
    Result<std::vector<std::string>> list_folders(const std::string&) override {
        return std::vector<std::string>();
    }
    Status remove(std::span<const std::string>) override { return {}; }
    Result<std::unique_ptr<ObjectHold>> hold(const std::string&, HoldKind) override {
        return std::make_unique<ObjectHold>();
    }
    Result<std::uint64_t> sweep() override { return 0; }

    std::vector<std::unique_ptr<Bytes>> attempts;
};

}  // namespace

TEST_F(SealedStoreTest, AnyRangeComesBackAsItWasPut) {
    for (const std::size_t count :
         {std::size_t{1}, kChunk - 1, kChunk, kChunk + 1, 3 * kChunk, 65 * kChunk + 7}) {
        const std::string name = "segment/disk/" + std::to_string(count);
        const Bytes put_bytes = put(name, count);
        EXPECT_EQ(store->size(name).value(), count);
        EXPECT_EQ(plain_bytes_of(stored(name).size()), count);
        for (int i = 0; i < 40; ++i) {
            const std::size_t from = random() % (count + 3);
            Bytes into(random() % (2 * kChunk) + 1);
            const auto got = store->get_range(name, from, into);
            ASSERT_TRUE(got) << got.error().text();
            const std::size_t there = from < count ? std::min(into.size(), count - from) : 0;
            ASSERT_EQ(*got, there);
            EXPECT_TRUE(
                std::ranges::equal(ByteSpan(into).first(there),
                                   ByteSpan(put_bytes).subspan(std::min(from, count), there)));
        }
        EXPECT_EQ(read(name, count + 1).value(), put_bytes);
    }
    EXPECT_FALSE(store->put_if_absent("segment/disk/1", noise(3)).value());
    Bytes into(1);
    const auto gone = store->get_range("segment/disk/none", 0, into);
    ASSERT_FALSE(gone);
    EXPECT_EQ(gone.error().system_errno, ENOENT);
}

// Each byte of the head, and of a chunk, its tag and its check; nothing comes out that was not put.
TEST_F(SealedStoreTest, NoByteThatFlippedIsHandedOut) {
    const std::string name = "index/disk/one";
    const std::size_t count = kChunk + 100;
    const Bytes plain = put(name, count);
    Bytes& bytes = stored(name);
    for (std::size_t at = 0; at < bytes.size(); at += at < kHead || at > kStride ? 1 : 37) {
        bytes[at] ^= static_cast<std::byte>(1U << (at % 8));
        Bytes into(count);
        const auto got = reopened()->get_range(name, 0, into);
        EXPECT_FALSE(got) << at;
        const std::size_t from = at < kHead ? 0 : (at - kHead) / kStride * kChunk;
        for (std::size_t each = from; each < std::min(from + kChunk, count); ++each)
            ASSERT_EQ(into[each], std::byte{0}) << at;
        // And by who has no key.
        EXPECT_FALSE(check_sealed_object(*store_on(files), vault, store->stored_name(name).value()))
            << at;
        bytes[at] ^= static_cast<std::byte>(1U << (at % 8));
    }
    EXPECT_EQ(read(name, count).value(), plain);
    EXPECT_TRUE(check_sealed_object(*store_on(files), vault, store->stored_name(name).value()));
}

TEST_F(SealedStoreTest, AnObjectThatIsCutOffIsRefusedWhereverItIsCut) {
    const std::string name = "segment/disk/one";
    put(name, 3 * kChunk + 50);
    const Bytes whole = stored(name);
    for (const std::size_t length :
         {std::size_t{0}, kHead - 1, kHead, kHead + 20, kHead + kStride, kHead + 2 * kStride,
          kHead + 3 * kStride, kHead + 3 * kStride + 20, whole.size() - 1}) {
        stored(name).assign(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
        // Its last chunk is another now, and says that it is not the last.
        Bytes into(whole.size());
        const auto plain = plain_bytes_of(length).value_or(1);
        const auto last = MutableByteSpan(into).first(1);
        EXPECT_FALSE(reopened()->get_range(name, plain - 1, last)) << length;
    }
}

// The check over what is stored is put right each time: the key alone finds these.
TEST_F(SealedStoreTest, ChunksThatAreMovedOrReplacedAreFound) {
    const Bytes one = put("segment/disk/one", 3 * kChunk);
    put("segment/disk/two", 3 * kChunk);
    put("segment/other/one", 3 * kChunk);
    const auto chunk = [](Bytes& bytes, std::size_t number) {
        return MutableByteSpan(bytes).subspan(kHead + number * kStride, kStride);
    };
    const auto refused = [&](const std::string& name) {
        const auto got = read(name, 3 * kChunk);
        EXPECT_FALSE(got);
        return !got && got.error().code == Code::kCorrupt;
    };
    Bytes& bytes = stored("segment/disk/one");
    const Bytes before = bytes;
    // Between two places, and between two objects.
    std::ranges::swap_ranges(chunk(bytes, 0), chunk(bytes, 1));
    EXPECT_TRUE(refused("segment/disk/one"));
    bytes = before;
    std::ranges::copy(chunk(stored("segment/disk/two"), 1), chunk(bytes, 1).begin());
    EXPECT_TRUE(refused("segment/disk/one"));
    // A whole object under another's name, of this series or of another.
    for (const char* from : {"segment/disk/two", "segment/other/one"}) {
        bytes = stored(from);
        EXPECT_TRUE(refused("segment/disk/one")) << from;
        // Though its head says that it is this one.
        ByteReader reader(bytes);
        SealedHead head{.vault = vault};
        std::ranges::copy(ByteSpan(bytes).subspan(32, head.salt.size()), head.salt.begin());
        const auto forged = head.encode(store->stored_name("segment/disk/one").value());
        std::ranges::copy(forged, bytes.begin());
        EXPECT_TRUE(refused("segment/disk/one")) << from;
    }
    bytes = before;
    EXPECT_EQ(read("segment/disk/one", 3 * kChunk).value(), one);
    // The same key in another vault.
    const Uuid another = Uuid::random();
    const auto other = reopened(&another);
    ASSERT_TRUE(store_on(files)
                    ->put_if_absent(other->stored_name("segment/disk/one").value(), before)
                    .value());
    Bytes into(10);
    EXPECT_FALSE(other->get_range("segment/disk/one", 0, into));
}

TEST_F(SealedStoreTest, AnotherKeyOpensNothing) {
    put("segment/disk/one", 100);
    const std::string name = store->stored_name("segment/disk/one").value();
    key.bytes()[31] ^= std::byte{1};
    const auto other = reopened();
    EXPECT_TRUE(other->list_folders("segment/")->empty());
    const Bytes bytes = files.contents(name);
    ASSERT_TRUE(store_on(files)
                    ->put_if_absent(other->stored_name("segment/disk/one").value(), bytes)
                    .value());
    Bytes into(10);
    EXPECT_FALSE(other->get_range("segment/disk/one", 0, into));
}

TEST_F(SealedStoreTest, NamesAreHiddenAndReadBack) {
    const std::string longest(sealed_format::kNameBytesMax, 'n');
    for (const std::string& name : {std::string("a"), std::string("web-1.disk%2Fdata"), longest}) {
        put("log/" + name + "/0000000000000001", 10);
        const std::string hidden = store->stored_name("log/" + name + "/x").value();
        EXPECT_EQ(hidden.find(name == "a" ? "/a/" : name), std::string::npos);
        EXPECT_LE(hidden.size(), 4 + 200 + 2U);
        EXPECT_EQ(reopened()->list("log/" + name + "/")->size(), 1U);
        EXPECT_EQ(reopened()->list("log/" + name + "/")->front().name,
                  "log/" + name + "/0000000000000001");
    }
    EXPECT_EQ(reopened()->list_folders("log/").value(),
              (std::vector<std::string>{"a", longest, "web-1.disk%2Fdata"}));
    const auto longer = store->begin_put("log/" + longest + "n/1");
    ASSERT_FALSE(longer);
    EXPECT_EQ(longer.error().code, Code::kInvalid);
    EXPECT_FALSE(store->hold("log/" + longest + "n", HoldKind::kShared));
    // A folder that is nobody's is nobody's name.
    const std::string nobodys = "log/" + std::string(64, 'a') + "/1";
    ASSERT_TRUE(store_on(files)->put_if_absent(nobodys, Bytes(9)).value());
    EXPECT_EQ(reopened()->list_folders("log/")->size(), 3U);
}

// What was cut off and is written again under the same name is sealed under another key, so that
// no nonce comes twice, whatever a crash left behind for others to see.
TEST_F(SealedStoreTest, EveryAttemptHasAKeyOfItsOwn) {
    auto keeping = std::make_shared<KeepingStore>();
    SealedStore sealed(keeping, vault, Secret::copy_of(key.bytes()));
    const Bytes zeros(6 << 20);
    for (int attempt = 0; attempt < 4; ++attempt) {
        const auto upload = sealed.begin_put("segment/disk/one");
        ASSERT_TRUE((*upload)->write(0, zeros));
        if (attempt % 2 == 1) {
            ASSERT_TRUE((*upload)->commit(zeros.size()).value());
        }
    }
    std::set<std::string> salts;
    std::set<std::string> chunks;
    std::size_t count = 0;
    for (const auto& each : keeping->attempts) {
        ASSERT_GT(each->size(), kHead + kStride);
        salts.insert(text_of(ByteSpan(*each).subspan(32, 24)));
        for (std::size_t at = kHead; at + kStride <= each->size(); at += kStride, ++count)
            chunks.insert(text_of(ByteSpan(*each).subspan(at, 32)));
    }
    EXPECT_EQ(salts.size(), 4U);
    EXPECT_EQ(chunks.size(), count) << "equal plain bytes were sealed alike";
}

// --- a vault ------------------------------------------------------------------------------------

namespace {

struct EncryptedVault : ::testing::Test {
    EncryptedVault() {
        EXPECT_TRUE(Vault::init(*store_on(files), encrypted_config()));
        model.emplace(Vault::open(store_on(files), test_keys()).value(), 40 * kBlock + 77);
        model->series = "secret-name";
        model->change_some(30);
        static constexpr std::string_view kMarker = "the words that nobody else is to read; ";
        for (std::size_t at = 0; at < kBlock; ++at)
            model->block(5)[at] = static_cast<std::byte>(kMarker[at % kMarker.size()]);
        make_history(*model);
    }
    bool sound() {
        const auto report = Scrub(model->vault(), {.threads = 1}).run();
        EXPECT_TRUE(report) << report.error().text();
        return report && report->sound();
    }

    SimulatedFolder files{1};
    std::optional<VaultModel> model;
};

}  // namespace

TEST_F(EncryptedVault, NothingOfItsContentsIsStoredInClear) {
    for (const std::string& name : files.names()) {
        const Bytes& bytes = files.contents(name);
        EXPECT_EQ(name.find("secret"), std::string::npos) << name;
        for (const char* const text :
             {"nobody else", "secret-name", "sealed", "volumes", "TLVAULT1"})
            EXPECT_TRUE(name.starts_with("config/") || !contains(bytes, text)) << name << text;
        // Nor the source's name.
        EXPECT_TRUE(std::ranges::search(bytes, model->source.bytes).empty()) << name;
    }
}

TEST_F(EncryptedVault, IsRefusedWithoutItsKeyAndByAnOlderReader) {
    const auto locked = Vault::open(store_on(files));
    ASSERT_FALSE(locked);
    EXPECT_EQ(locked.error().code, Code::kRefused);
    // A reader that knows version 1 alone looks at this field first.
    const Bytes& config = files.contents("config/0000000000000001");
    EXPECT_EQ(load_le<std::uint16_t>(config.data() + 10), 4);
    EXPECT_EQ(load_le<std::uint16_t>(config.data() + 8), 1);
}

TEST_F(EncryptedVault, ByteThatFlipsIsFound) {
    ASSERT_TRUE(sound());
    const VaultOutside outside = VaultOutside::look(store_on(files)).value();
    ASSERT_TRUE(scrub_outside(outside, {})->sound());
    std::size_t flipped = 0;
    for (const std::string& name : files.names()) {
        if (name.starts_with("config")) continue;
        Bytes& bytes = files.contents(name);
        for (std::size_t at = model->random()() % 331; at < bytes.size(); at += 331, ++flipped) {
            bytes[at] ^= static_cast<std::byte>(1U << (at % 8));
            EXPECT_FALSE(sound()) << name << " byte " << at;
            EXPECT_FALSE(scrub_outside(outside, {})->sound()) << name << " byte " << at;
            bytes[at] ^= static_cast<std::byte>(1U << (at % 8));
        }
    }
    EXPECT_GT(flipped, 100U);
    EXPECT_TRUE(sound());
    EXPECT_EQ(model->check_all(), 3U);
}

// Rewritten by somebody without the key, checks and all: found by who has it.
TEST_F(EncryptedVault, ALogEntryThatIsForgedIsSetAsideAsItIs) {
    std::string newest;
    for (const std::string& name : files.names())
        if (name.starts_with("log/")) newest = name;
    Bytes& bytes = files.contents(newest);
    bytes[kHead + 3] ^= std::byte{1};
    const auto end = MutableByteSpan(bytes).last(4);
    store_le(end.data(), crc32c(ByteSpan(bytes).subspan(kHead, bytes.size() - kHead - 4)));
    EXPECT_TRUE(scrub_outside(VaultOutside::look(store_on(files)).value(), {})->sound());
    EXPECT_FALSE(sound());
    const Bytes forged = bytes;
    const auto repaired = repair_log(model->vault(), model->series);
    ASSERT_TRUE(repaired) << repaired.error().text();
    EXPECT_EQ(repaired->set_aside.size(), 1U);
    std::size_t aside = 0;
    for (const std::string& name : files.names())
        aside += name.starts_with("quarantine/") && files.contents(name) == forged;
    EXPECT_EQ(aside, 1U);
    // It was the last delete, of a point that is gone: nothing is missing without it.
    EXPECT_TRUE(sound());
    EXPECT_EQ(model->check_all(), 3U);
}

TEST_F(EncryptedVault, AnotherWrapOpensTheSameData) {
    VaultConfig config = model->vault()->config();
    const auto fresh =
        KeyWrap::make(KeyKind::kPassphrase, std::as_bytes(std::span("new")),
                      model->vault()->sealed()->key(), model->vault()->id(), {.log2_n = 10});
    config.encryption->wraps = {*fresh};
    ASSERT_TRUE(model->vault()->save(config));
    EXPECT_FALSE(Vault::open(store_on(files), test_keys()));
    const auto reopened =
        Vault::open(store_on(files), {.ask = [](const std::string&) {
                        return Result<Secret>(Secret::copy_of(std::as_bytes(std::span("new"))));
                    }});
    ASSERT_TRUE(reopened) << reopened.error().text();
    model->reopen(*reopened);
    EXPECT_EQ(model->check_all(), 3U);
    EXPECT_TRUE(model->run(RunMode::kExtents, model->change_some(4)));
    EXPECT_EQ(model->check_all(), 4U);
}

TEST(PlainVault, IsRefusedWhereAKeyWasNamedForIt) {
    SimulatedFolder files{1};
    ASSERT_TRUE(Vault::init(*store_on(files), {}));
    EXPECT_TRUE(Vault::open(store_on(files), test_keys()));
    KeySource keys = test_keys();
    keys.demanded = true;
    EXPECT_FALSE(Vault::open(store_on(files), keys));
}

}  // namespace towline::testing
