// SPDX-License-Identifier: Apache-2.0
// What is damaged is found, named with the points and bytes that it costs, and never read as good.

#include "userspace/vault/scrub.hpp"

#include <algorithm>
#include <fstream>

#include "io/checksum.hpp"
#include "tests/environment.hpp"
#include "userspace/vault/collector.hpp"
#include "userspace/vault/repair.hpp"
#include "userspace/vault/simulated_file_layer.hpp"
#include "vault_fixture.hpp"

namespace towline::testing {

namespace {

struct ScrubTest : ::testing::Test {
    ScrubTest() {
        auto store = std::make_shared<FolderStore>(
            std::make_unique<SimulatedFileLayer>(files), [](const std::string&, HoldKind) {
                return Result<std::unique_ptr<ObjectHold>>(std::make_unique<ObjectHold>());
            });
        EXPECT_TRUE(Vault::init(*store, {}));
        model.emplace(*Vault::open(store), 40 * kBlock + 77);
        model->change_some(30);
        make_history(*model);
    }
    ScrubReport scrub() {
        auto report = Scrub(model->vault(), {.threads = 1}).run();
        EXPECT_TRUE(report) << report.error().text();
        return report ? *report : ScrubReport{};
    }
    // No byte of a point is read as another than it was; says if all could be read.
    bool reads_right_or_not_at_all() {
        bool all = true;
        const auto state = SeriesLog(model->vault(), model->series).read();
        if (!state) return false;
        for (const Point& point : state->points) {
            const auto open = OpenPoint::open(model->vault(), model->series, point.id.text());
            if (!open) continue;
            const auto volume = open->volume(0);
            all &= volume.has_value();
            if (!volume) continue;
            const Bytes& known = model->sealed().at(point.id);
            Bytes block(kBlock);
            for (std::uint64_t at = 0; at < known.size(); at += kBlock) {
                const std::size_t length = std::min<std::size_t>(kBlock, known.size() - at);
                const auto into = MutableByteSpan(block).first(length);
                const bool read = (*volume)->read(at, into).has_value();
                all &= read;
                if (read && !std::ranges::equal(into, ByteSpan(known).subspan(at, length)))
                    ADD_FAILURE() << "wrong bytes were handed on";
            }
        }
        return all;
    }

    SimulatedFolder files{1};
    std::optional<VaultModel> model;
};

}  // namespace

// Of another version nothing is guessed at: what is to be done about it is said.
TEST_F(ScrubTest, AnotherVersionIsRefusedWithItsRemedy) {
    for (const std::string& name : files.names()) {
        if (!name.starts_with("config")) continue;
        auto& bytes = files.contents(name);
        const auto open_as = [&](std::uint16_t version) {
            store_le(&bytes[10], version);
            store_le(&bytes[60], crc32c(ByteSpan(bytes).first(60)));
            return Vault::open(model->vault()->shared_store());
        };
        const auto older = open_as(vault_format::kVersion - 1);
        ASSERT_FALSE(older);
        EXPECT_EQ(older.error().code, Code::kUnsupported);
        EXPECT_TRUE(older.error().context.contains("make a new vault")) << older.error().text();
        const auto newer = open_as(vault_format::kVersion + 1);
        ASSERT_FALSE(newer);
        EXPECT_EQ(newer.error().code, Code::kUnsupported);
        EXPECT_TRUE(newer.error().context.contains("upgrade")) << newer.error().text();
        EXPECT_TRUE(open_as(vault_format::kVersion));
    }
}

TEST_F(ScrubTest, EveryByteThatFlipsIsFound) {
    ASSERT_TRUE(scrub().sound());
    std::size_t flipped = 0;
    // Each look takes six times as long with a sanitizer.
    const std::size_t stride = from_environment("TOWLINE_STRIDE", 1);
    for (const std::string& name : files.names()) {
        auto& bytes = files.contents(name);
        const std::size_t step = (name.starts_with("segment") ? 37 : 3) * stride;
        for (std::size_t at = 0; at < bytes.size(); at += step) {
            const std::byte before = bytes[at];
            bytes[at] ^= static_cast<std::byte>(1U << (at % 8));
            if (name.starts_with("config")) {
                EXPECT_FALSE(Vault::open(model->vault()->shared_store())) << name << " byte " << at;
            } else {
                EXPECT_FALSE(scrub().sound()) << name << " byte " << at;
            }
            if (at % 11 == 0) reads_right_or_not_at_all();
            bytes[at] = before;
            ++flipped;
            if (HasFailure()) return;
        }
    }
    EXPECT_GT(flipped, 1000U / stride);
    EXPECT_TRUE(scrub().sound());
    EXPECT_TRUE(reads_right_or_not_at_all());
}

TEST_F(ScrubTest, AnObjectThatIsCutOffOrUnderAnothersNameIsFound) {
    for (const std::string& name : files.names()) {
        if (name.starts_with("config")) continue;
        auto& bytes = files.contents(name);
        const auto before = bytes;
        bytes.resize(bytes.size() - 1);
        EXPECT_FALSE(scrub().sound()) << name;
        for (const std::string& other : files.names()) {
            if (other == name) continue;
            bytes = files.contents(other);
            EXPECT_FALSE(scrub().sound()) << name << " is " << other;
            reads_right_or_not_at_all();
        }
        bytes = before;
    }
    EXPECT_TRUE(scrub().sound());
}

TEST_F(ScrubTest, ALostSegmentCostsOnlyWhatWasInIt) {
    for (const std::string& name : files.names()) {
        if (!name.starts_with("segment")) continue;
        const auto kept = files.contents(name);
        files.lose(name);
        const ScrubReport report = scrub();
        ASSERT_EQ(report.findings.size(), 1U) << name;
        ASSERT_FALSE(report.findings[0].hits.empty());
        EXPECT_FALSE(reads_right_or_not_at_all());
        // What it names is what cannot be read, no byte more or less.
        const auto state = SeriesLog(model->vault(), model->series).read();
        for (const Point& point : state->points) {
            const auto open = OpenPoint::open(model->vault(), model->series, point.id.text());
            const auto volume = open->volume(0);
            std::vector<Extent> lost;
            for (std::uint64_t at = 0; at < point.volumes[0].bytes; at += kBlock) {
                Bytes block(std::min<std::uint64_t>(kBlock, point.volumes[0].bytes - at));
                if (!(*volume)->read(at, block)) lost.push_back({at, block.size()});
            }
            std::vector<Extent> named;
            for (const auto& hit : report.findings[0].hits)
                if (hit.name.ends_with(point.id.text())) named = hit.bytes;
            EXPECT_EQ(named, normalized(lost)) << name;
        }
        auto file = model->vault()->store().put_if_absent(name, kept);
        ASSERT_TRUE(file && *file);
    }
    EXPECT_TRUE(scrub().sound());
}

// Bytes that have both CRCs of those that were stored: no chance makes them. By its proof a segment
// says that they are others.
TEST_F(ScrubTest, BytesThatWereMadeToHaveTheSameCrcsAreFound) {
    for (const bool dedup : {false, true}) {
        TemporaryFolder folder;
        const VaultConfig config = dedup ? with_dedup() : VaultConfig{};
        VaultModel its(new_vault(folder.path() + "/vault", config), 6 * kBlock + 77);
        for (std::uint64_t block = 0; block < its.block_count(); ++block)
            for (std::byte& each : its.block(block))
                each = static_cast<std::byte>(its.random()());
        ASSERT_TRUE(its.full());
        const auto scrub_it = [&] { return *Scrub(its.vault(), {.threads = 1}).run(); };
        ASSERT_TRUE(scrub_it().sound());
        const std::string series = its.vault()->segment_series(its.series);
        const auto objects =
            its.vault()->store().list(object_folder(vault_format::ObjectKind::kSegment, series));
        ASSERT_EQ(objects->size(), 1U);
        // The sixth block, which lies whole behind five others. In a vault with proofs it is one of
        // a group of three.
        const auto at = static_cast<std::streamoff>(vault_format::kHeadBytes + 5 * kBlock);
        std::fstream file(folder.path() + "/vault/" + objects->front().name,
                          std::ios::in | std::ios::out | std::ios::binary);
        Bytes block(kBlock);
        file.seekg(at).read(reinterpret_cast<char*>(block.data()), kBlock);
        ASSERT_TRUE(std::ranges::equal(block, its.block(5)));
        const Bytes other = of_equal_crc(block);
        file.seekp(at).write(reinterpret_cast<const char*>(other.data()), kBlock);
        file.close();
        const ScrubReport report = scrub_it();
        ASSERT_EQ(report.findings.size(), 1U);
        EXPECT_EQ(report.bad_blocks.begin()->second.size(), dedup ? 1U : 3U);
        EXPECT_EQ(report.findings[0].hits.size(), 1U);
    }
}

// A block that is shared is read by the check that the index has of it, for its own place.
TEST_F(ScrubTest, AShareThatIsOfAnotherBlockIsFound) {
    for (const bool wrong : {false, true}) {
        TemporaryFolder folder;
        const auto vault = new_vault(folder.path() + "/vault", with_dedup());
        VaultModel first(vault, 4 * kBlock);
        for (std::uint64_t block = 0; block < 4; ++block)
            for (std::byte& each : first.block(block))
                each = static_cast<std::byte>(first.random()());
        ASSERT_TRUE(first.full());
        VaultModel second(vault, 4 * kBlock, 2);
        second.series = "disk1";
        second.source = Uuid::random();
        second.take(first, 3, 1);
        const auto run = second.begin(RunMode::kFull);
        ASSERT_TRUE(run);
        const std::uint32_t check = second.check().of(second.block(1), kBlock);
        const RunWriter::Block head{.block = 1,
                                    .kind = static_cast<std::uint8_t>(BlockKind::kRaw),
                                    .check = wrong ? check ^ 1U : check,
                                    .plain = second.block(1)};
        ASSERT_TRUE((*run)->append(head, second.block(1)));
        const auto point = second.seal(**run);
        ASSERT_TRUE(point);
        ASSERT_GT(point->volumes[0].shared_bytes, 0U);
        // Whatever is read: it is found by tables alone.
        for (const bool blocks : {true, false}) {
            const auto report = Scrub(vault, {.blocks = blocks, .threads = 1}).run();
            EXPECT_EQ(report->sound(), !wrong);
        }
    }
}

// The point that a run began upon is set aside: nobody goes on with the run, and what it brought is
// given back.
TEST_F(ScrubTest, ARunEndsWithItsBaseThatIsSetAside) {
    const SeriesLog log(model->vault(), model->series);
    {
        TargetRecord state = model->record(TargetState::kApplying, RunMode::kExtents);
        state.run = Uuid::random();
        const auto run =
            RunWriter::begin(model->vault(), model->series, *log.hold(),
                             {.state = state, .block_bytes = kBlock, .volume_name = model->series});
        ASSERT_TRUE(run);
        ASSERT_TRUE(model->put(**run, model->change_some(1)[0]));
        ASSERT_TRUE((*run)->flush());
    }
    const auto state = log.read();
    ASSERT_NE(state->resumable(), nullptr);
    files.contents(log.entry_id(state->counting.back()).object_name())[70] ^= std::byte{1};
    ASSERT_TRUE(repair_log(model->vault(), model->series));
    EXPECT_EQ(log.read()->unfinished(), nullptr);
    ASSERT_TRUE(Collector(model->vault(), model->series, {.dead_share_max = 0}).collect());
    const ScrubReport report = scrub();
    EXPECT_TRUE(report.sound());
    EXPECT_EQ(report.garbage_bytes, 0U);
    EXPECT_EQ(model->check_all(), 2U);
}

TEST_F(ScrubTest, ADamagedEntryIsSetAsideAndTheNameGoesOn) {
    const auto state = SeriesLog(model->vault(), model->series).read();
    const SeriesLog log(model->vault(), model->series);
    files.contents(log.entry_id(state->counting.back()).object_name())[70] ^= std::byte{1};
    const auto blocks = model->change_some(3);
    EXPECT_EQ(error_of(model->run(RunMode::kExtents, blocks)).code, Code::kCorrupt);
    EXPECT_EQ(error_of(Collector(model->vault(), model->series).collect()).code, Code::kCorrupt);
    const auto report = repair_log(model->vault(), model->series);
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_EQ(report->set_aside.size(), 1U);
    EXPECT_EQ(report->forgotten_points, std::vector{state->counting.back()});
    EXPECT_EQ(model->check_all(), 2U);
    ASSERT_TRUE(model->full());
    EXPECT_EQ(model->check_all(), 3U);
    ASSERT_TRUE(Collector(model->vault(), model->series).collect());
    EXPECT_TRUE(scrub().sound());
}

}  // namespace towline::testing
