// SPDX-License-Identifier: Apache-2.0
// A target's pipeline and a source that is none of ours. Whatever it says: an error is told,
// nothing is sealed that was not sent, nothing outside its buffers is touched.

#include <algorithm>

#include "tests/unit/conversation_fixture.hpp"
#include "tests/unit/hostile_peer.hpp"

namespace towline {
namespace {

using namespace testing;

struct Victim {
    Victim() : disk(world, {.size_bytes = Replication::disk_bytes()}) {
        store.facts = {.exists = true,
                       .is_device = true,
                       .size_bytes = Replication::disk_bytes(),
                       .record = {.target = uuid_of(7)}};
        TargetPipeline::Config config;
        config.buffer_bytes = 4 * kRunBlockBytes;
        config.buffer_count = 4;
        pipeline.emplace(engine, work, store, config);
        pipeline->start(engine.attach_socket(connection, ConnectionSide::kSecond));
    }
    ~Victim() {
        peer.close();
        EXPECT_EQ(world.run([&] { return pipeline->finished(); }, kLongEnough), RunEnd::kDone);
        peer_engine.kill(KillStyle::kClose);
    }
    BeginMessage begin() const {
        return {.run = uuid_of(3),
                .mode = RunMode::kFull,
                .block_bytes = kRunBlockBytes,
                .next_base = {.source = uuid_of(1), .sequence = 1, .point = uuid_of(4)}};
    }
    void open(std::uint64_t bytes = kRunVolumeBytes) {
        peer.say(HelloMessage{});
        peer.say(OpenMessage{.name = "disk0", .source = uuid_of(1), .source_bytes = bytes});
        world.run([&] { return pipeline->finished() || peer.last<OpenedMessage>() != nullptr; },
                  1s);
    }
    void settle() {
        world.run([&] { return pipeline->finished() || peer.last<ErrorMessage>() != nullptr; }, 3s);
    }
    void expect_refused(Code code) {
        settle();
        const auto* error = peer.last<ErrorMessage>();
        ASSERT_NE(error, nullptr);
        EXPECT_EQ(error->code, code) << error->text;
        EXPECT_FALSE(pipeline->sealed());
    }

    SimulatedWorld world{1};
    SimulatedDisk disk;
    SimulatedConnection& connection = world.add_connection({});
    SimulatedEngine engine{world, "target"};
    SimulatedEngine peer_engine{world, "hostile"};
    SimulatedWorkQueue work{world, engine, 1};
    MemoryTargetStore store{engine, disk};
    std::optional<TargetPipeline> pipeline;
    RawPeer peer{peer_engine, peer_engine.attach_socket(connection, ConnectionSide::kFirst)};
    std::uint64_t run = run_number_of(uuid_of(3));
};

// A peer written from docs/format-wire.md gets a run sealed: what the others are refused for is
// what they do, not how they are built.
TEST(HostileSource, APeerThatKeepsTheRulesIsServed) {
    Victim victim;
    victim.open();
    victim.peer.say(victim.begin());
    const std::vector<std::byte> block(kRunBlockBytes, std::byte{'x'});
    const BlockHasher hasher(victim.begin().hash_seed);
    RunDigester digest(hasher);
    DataHead table;
    table.block_bytes = kRunBlockBytes;
    table.add_extent(0, 1);
    table.blocks[0] = {
        .kind = 0, .stored_bytes = kRunBlockBytes, .crc = BlockCheck(uuid_of(1)).of(block, 0)};
    victim.peer.data(table, block, victim.run);
    digest.add(RecordKind::kBlock, 0, kRunBlockBytes, hasher.of(block));
    const std::uint64_t rest = kRunVolumeBytes - kRunBlockBytes;
    victim.peer.say(ZeroMessage{kRunBlockBytes, rest}, victim.run);
    digest.add(RecordKind::kZeros, kRunBlockBytes, rest);
    victim.peer.say(EndMessage{digest.value()}, victim.run);
    victim.world.run([&] { return victim.peer.last<SealedMessage>() != nullptr; }, 30s);
    ASSERT_NE(victim.peer.last<SealedMessage>(), nullptr);
    EXPECT_EQ(victim.peer.last<SealedMessage>()->digest, digest.value());
    EXPECT_EQ(victim.store.facts.record.state, TargetState::kSealed);
}

// A table of single blocks of one letter each, and their contents.
struct Apart {
    explicit Apart(const std::vector<std::uint64_t>& blocks) {
        const BlockCheck check(uuid_of(1));
        table.block_bytes = kRunBlockBytes;
        for (const std::uint64_t block : blocks) {
            const std::uint64_t offset = block * kRunBlockBytes;
            const std::uint64_t left = offset < kRunVolumeBytes ? kRunVolumeBytes - offset : 1;
            const std::vector<std::byte> plain(std::min<std::uint64_t>(left, kRunBlockBytes),
                                               static_cast<std::byte>('a' + block % 26));
            table.blocks[table.block_count] = {
                .kind = 0,
                .stored_bytes = static_cast<std::uint32_t>(plain.size()),
                .crc = check.of(plain, offset)};
            table.add_extent(offset, 1);
            payload.insert(payload.end(), plain.begin(), plain.end());
        }
    }
    DataHead table;
    std::vector<std::byte> payload;
};

constexpr std::uint64_t kLastBlock = (kRunVolumeBytes - 1) / kRunBlockBytes;

TEST(HostileSource, ExtentsOfAFrameLandEachAtItsPlace) {
    Victim victim;
    victim.open();
    victim.peer.say(victim.begin());
    const std::vector<std::uint64_t> blocks = {1, 5, 6, kLastBlock};
    const Apart apart(blocks);
    victim.peer.data(apart.table, apart.payload, victim.run);
    victim.world.run([&] { return victim.pipeline->stored_bytes() > 3 * kRunBlockBytes; }, 30s);
    const auto contents = victim.disk.contents();
    for (std::uint64_t block = 0; block <= kLastBlock; ++block) {
        const bool sent = std::ranges::find(blocks, block) != blocks.end();
        const auto letter = sent ? static_cast<std::byte>('a' + block % 26) : std::byte{0};
        const std::uint64_t end = std::min((block + 1) * kRunBlockBytes, kRunVolumeBytes);
        for (std::uint64_t at = block * kRunBlockBytes; at < end; at += 97)
            ASSERT_EQ(contents[at], letter) << at;
    }
    for (std::uint64_t at = kRunVolumeBytes; at < contents.size(); ++at)
        EXPECT_EQ(contents[at], std::byte{0});
}

// What is wrong with one extent of a frame keeps all of them from the disk.
TEST(HostileSource, OneBadExtentSpoilsItsFrame) {
    const auto refused = [](const Apart& apart, Code code) {
        Victim victim;
        victim.open();
        victim.peer.say(victim.begin());
        victim.peer.data(apart.table, apart.payload, victim.run);
        victim.expect_refused(code);
        EXPECT_EQ(victim.disk.contents(), std::vector<std::byte>(Replication::disk_bytes()));
    };
    refused(Apart({1, 3, kLastBlock + 1}), Code::kProtocol);
    refused(Apart({1, 3, std::uint64_t{1} << 40}), Code::kProtocol);
    refused(Apart({1, 3, 3}), Code::kProtocol);
    refused(Apart({3, 1}), Code::kProtocol);
    Apart damaged({1, 3, kLastBlock});
    damaged.payload.back() ^= std::byte{1};
    refused(damaged, Code::kCorrupt);
}

// A few bytes that decompress to more than a buffer of the target holds.
TEST(HostileSource, FramesThatOutgrowABufferAreRefused) {
    Victim victim;
    victim.open();
    victim.peer.say(victim.begin());
    std::vector<std::byte> plain(kRunBlockBytes, std::byte{'x'});
    std::vector<std::byte> packed(kRunBlockBytes);
    Codec codec;
    const std::size_t size = codec.compress(BlockKind::kZstd, 3, plain, packed).value();
    DataHead table;
    table.block_bytes = kRunBlockBytes;
    table.add_extent(0, 60);  // 240 KiB into 16
    std::vector<std::byte> payload;
    const BlockCheck check(uuid_of(1));
    for (std::size_t i = 0; i < table.block_count; ++i) {
        table.blocks[i] = {.kind = 2,
                           .stored_bytes = static_cast<std::uint32_t>(size),
                           .crc = check.of(plain, i * kRunBlockBytes)};
        payload.insert(payload.end(), packed.begin(),
                       packed.begin() + static_cast<std::ptrdiff_t>(size));
    }
    victim.peer.data(table, payload, victim.run);
    victim.expect_refused(Code::kProtocol);
}

TEST(HostileSource, VolumesOfAnySizeAreNoBug) {
    for (const std::uint64_t bytes :
         {std::uint64_t{0}, std::uint64_t{1} << 46, (std::uint64_t{1} << 60) + 1, UINT64_MAX}) {
        Victim victim;
        victim.store.facts.size_bytes = UINT64_MAX;
        victim.open(bytes);
        victim.peer.say(victim.begin());
        victim.expect_refused(Code::kRefused);
    }
}

TEST(HostileSource, DryRunsAreNeverSealed) {
    Victim victim;
    victim.open();
    BeginMessage begin = victim.begin();
    begin.dry_run = true;
    victim.peer.say(begin);
    victim.peer.say(EndMessage{}, victim.run);
    victim.expect_refused(Code::kProtocol);
    EXPECT_EQ(std::count(victim.store.calls.begin(), victim.store.calls.end(), "seal"), 0);
}

TEST(HostileSource, ZerosAsBlocksTakeNoMemory) {
    Victim victim;
    victim.open();
    victim.peer.say(victim.begin());
    DataHead table;
    table.block_bytes = kRunBlockBytes;
    table.add_extent(0, 1);
    table.blocks[0] = {.kind = wire::kStoredZero, .stored_bytes = 0, .crc = 0};
    victim.peer.data(table, {}, victim.run);
    victim.expect_refused(Code::kProtocol);
}

// Blocks before Begin, of a run of before, twice, past the end, between blocks.
TEST(HostileSource, BlocksThatDoNotBelongAreRefused) {
    const std::vector<std::byte> block(kRunBlockBytes, std::byte{'x'});
    const BlockCheck check(uuid_of(1));
    const auto send = [&](Victim& victim, std::uint64_t offset, std::uint64_t run) {
        DataHead table;
        table.block_bytes = kRunBlockBytes;
        table.add_extent(offset, 1);
        table.blocks[0] = {
            .kind = 0, .stored_bytes = kRunBlockBytes, .crc = check.of(block, offset)};
        victim.peer.data(table, block, run);
    };
    {
        Victim victim;
        victim.open();
        send(victim, 0, 0);
        victim.expect_refused(Code::kProtocol);
    }
    for (const std::uint64_t offset : {64 * std::uint64_t{kRunBlockBytes},  // too long for the tail
                                       65 * std::uint64_t{kRunBlockBytes}, std::uint64_t{1} << 62,
                                       UINT64_MAX - kRunBlockBytes + 1}) {
        Victim victim;
        victim.open();
        victim.peer.say(victim.begin());
        send(victim, offset, victim.run);
        victim.expect_refused(Code::kProtocol);
        EXPECT_EQ(victim.disk.unsynced_count(), 0U);
    }
    Victim victim;
    victim.open();
    victim.peer.say(victim.begin());
    send(victim, 0, victim.run);
    send(victim, 0, victim.run);
    victim.expect_refused(Code::kProtocol);
}

TEST(HostileSource, MisdirectedBlocksAreDamage) {
    Victim victim;
    victim.open();
    victim.peer.say(victim.begin());
    const std::vector<std::byte> block(kRunBlockBytes, std::byte{'x'});
    DataHead table;
    table.block_bytes = kRunBlockBytes;
    table.add_extent(kRunBlockBytes, 1);
    table.blocks[0] = {
        .kind = 0, .stored_bytes = kRunBlockBytes, .crc = BlockCheck(uuid_of(1)).of(block, 0)};
    victim.peer.data(table, block, victim.run);
    victim.expect_refused(Code::kCorrupt);
    EXPECT_EQ(victim.disk.contents(), std::vector<std::byte>(Replication::disk_bytes()));
}

TEST(HostileSource, DigestsThatDifferAreNotSealed) {
    Victim victim;
    victim.open();
    victim.peer.say(victim.begin());
    victim.peer.say(ZeroMessage{.offset_bytes = 0, .length_bytes = kRunVolumeBytes}, victim.run);
    victim.peer.say(EndMessage{.digest = {1, 2, 1}}, victim.run);
    victim.expect_refused(Code::kCorrupt);
    EXPECT_EQ(victim.store.facts.record.state, TargetState::kBuilding);
}

}  // namespace
}  // namespace towline
