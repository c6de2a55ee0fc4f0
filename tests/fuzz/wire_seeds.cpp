// SPDX-License-Identifier: Apache-2.0
// Writes the seeds of frame_fuzz, messages_fuzz and conversation_fuzz into FOLDER/NAME/: one of
// each message, a header and a table, and conversations that get as far as each phase. Run by hand
// when a format changes: wire_seeds tests/fuzz/corpus

#include <filesystem>
#include <fstream>

#include "tests/fuzz/conversation_script.hpp"
#include "tests/unit/memory_stores.hpp"
#include "userspace/engine/run_digest.hpp"

namespace {

using namespace towline;
using namespace towline::fuzz;
using testing::uuid_of;

std::filesystem::path folder;

void write(const std::string& name, const std::vector<std::byte>& bytes) {
    const auto path = folder / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
}

BeginMessage begin(RunMode mode) {
    return {.run = uuid_of(3),
            .mode = mode,
            .block_bytes = kBlockBytes,
            .next_base = {.source = uuid_of(1), .sequence = 6, .point = uuid_of(4)}};
}

OpenedMessage opened() {
    return {.exists = true, .target = uuid_of(8), .size_bytes = 1 << 20, .join_token = uuid_of(9)};
}

class Conversation {
  public:
    Conversation(bool against_source, std::uint8_t how) {
        bytes_.put(std::uint8_t{against_source}).put(how);
    }
    Conversation& say(const Message& message, bool of_run = false) {
        const auto head = encode_message(message);
        bytes_.put(static_cast<std::uint8_t>(of_run ? 0x60 : 0x20));
        bytes_.put(static_cast<std::uint8_t>(type_of(message)));
        bytes_.put(static_cast<std::uint16_t>(head.size())).put_bytes(head);
        return *this;
    }
    Conversation& blocks(std::uint8_t first, std::uint8_t count, std::uint8_t kind,
                         std::uint8_t how = 0) {
        bytes_.put(static_cast<std::uint8_t>(0x61 | how)).put(first).put(count).put(kind);
        return *this;
    }
    Conversation& zero(std::uint8_t first, std::uint8_t count) {
        bytes_.put(std::uint8_t{0x63}).put(first).put(count);
        return *this;
    }
    Conversation& wait(std::uint8_t tenths) {
        bytes_.put(std::uint8_t{5}).put(tenths);
        return *this;
    }
    const std::vector<std::byte>& bytes() const { return bytes_.bytes(); }

  private:
    ByteWriter bytes_;
};

// The digest of blocks() of one letter each, under the seed of zeros that begin() names.
RunDigest digest_of(std::uint64_t first, std::uint64_t count, std::uint64_t zeros_first) {
    const BlockHasher hasher(BlockHasher::Seed{});
    RunDigester digester(hasher);
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::vector<std::byte> plain(kBlockBytes, static_cast<std::byte>('a' + i % 26));
        digester.add(RecordKind::kBlock, (first + i) * kBlockBytes, kBlockBytes, hasher.of(plain));
    }
    digester.add(RecordKind::kZeros, zeros_first * kBlockBytes, 4 * kBlockBytes);
    return digester.value();
}

void write_conversations() {
    const HelloMessage hello;
    const OpenMessage open{.name = "disk0", .source = uuid_of(1), .source_bytes = kVolumeBytes};
    const auto started = [&](std::uint8_t how, const BeginMessage& message) {
        Conversation made(false, how);
        made.say(hello).say(open).wait(1).say(message);
        return made;
    };
    for (std::uint8_t kind = 0; kind <= 2; ++kind) {
        auto full = started(0, begin(RunMode::kFull));
        full.blocks(2, 4, kind).zero(20, 4).wait(12);
        full.say(EndMessage{digest_of(2, 4, 20)}, true).wait(5);
        write("conversation_fuzz/target-full-" + std::to_string(kind), full.bytes());
    }
    Conversation told(false, 0);
    told.say(hello).say(VolumesMessage{.volumes = {{"a", uuid_of(1), kVolumeBytes}}}).say(open);
    told.wait(1).say(begin(RunMode::kFull)).blocks(2, 4, 0).zero(20, 4);
    told.say(MomentMessage{}, true).say(EndMessage{digest_of(2, 4, 20)}, true).wait(5);
    write("conversation_fuzz/target-told", told.bytes());
    Conversation probed(false, 0);
    probed.say(hello).say(ProbeMessage{}).say(ProbeMessage{.filler = {1, 2}});
    probed.say(ProbeDiskMessage{.name = "disk0"}).wait(1).say(open).wait(1);
    probed.say(begin(RunMode::kFull)).blocks(2, 4, 0).zero(20, 4);
    probed.say(VerifyMessage{.verify = true}, true).say(EndMessage{digest_of(2, 4, 20)}, true);
    write("conversation_fuzz/target-probed", probed.wait(5).bytes());
    write("conversation_fuzz/target-scan",
          started(0, begin(RunMode::kScan)).wait(3).blocks(0, 1, 0).bytes());
    for (const std::uint8_t kind : {std::uint8_t{0}, std::uint8_t{2}})
        write("conversation_fuzz/target-two-extents-" + std::to_string(kind),
              started(0, begin(RunMode::kFull)).blocks(37, 4, kind, kTwoExtents).wait(3).bytes());
    BeginMessage verify = begin(RunMode::kExtents);
    verify.verify = true;
    verify.expected_state = TargetState::kSealed;
    verify.expected_base = {.source = uuid_of(1), .sequence = 5, .point = uuid_of(4)};
    write("conversation_fuzz/target-extents", started(2, verify)
                                                  .blocks(2, 4, 0)
                                                  .zero(20, 4)
                                                  .say(EndMessage{digest_of(2, 4, 20)}, true)
                                                  .wait(5)
                                                  .bytes());
    BeginMessage resume = begin(RunMode::kFull);
    resume.resume = true;
    resume.expected_state = TargetState::kApplying;
    resume.expected_base = verify.expected_base;
    write("conversation_fuzz/target-resume",
          started(6, resume).wait(3).blocks(9, 2, 2).say(PingMessage{}, true).bytes());

    Conversation full(true, 1);
    full.say(hello).say(opened()).say(BegunMessage{}).wait(3).say(AckMessage{5}, true);
    full.say(SealedMessage{.base = begin(RunMode::kFull).next_base}, true).wait(3);
    write("conversation_fuzz/source-full", full.bytes());
    Conversation scan(true, 3 | 8);
    scan.say(hello).say(opened()).say(BegunMessage{});
    scan.say(DigestsMessage{.first_block = 0, .zero_count = 30}, true);
    scan.say(DigestsMessage{.first_block = 30, .hashes = {{1, 2}, {3, 4}}}, true);
    scan.say(DigestsMessage{.last = true}, true).wait(3).say(AckMessage{5}, true);
    write("conversation_fuzz/source-scan", scan.bytes());
    OpenedMessage unfinished = opened();
    unfinished.target = uuid_of(7);
    unfinished.state = TargetState::kBuilding;
    unfinished.run = uuid_of(3);
    unfinished.run_mode = RunMode::kFull;
    unfinished.owner = uuid_of(1);
    Conversation resumed(true, 4);
    resumed.say(hello).say(unfinished).say(BegunMessage{});
    resumed.say(RangesMessage{.ranges = {{0, 8 * kBlockBytes}}, .last = true}, true);
    resumed.say(DigestsMessage{.first_block = 0, .hashes = {{1, 2}}}, true);
    resumed.say(DigestsMessage{.last = true}, true).wait(3);
    write("conversation_fuzz/source-resume", resumed.bytes());
}

void write_messages() {
    const Message messages[] = {
        HelloMessage{},
        OpenMessage{.name = "a/b"},
        opened(),
        begin(RunMode::kScan),
        BegunMessage{},
        RangesMessage{.ranges = {{1, 2}, {3, 4}}, .last = true},
        DigestsMessage{.first_block = 1, .hashes = {{1, 2}}},
        ZeroMessage{},
        AckMessage{},
        EndMessage{},
        SealedMessage{},
        ErrorMessage{.code = Code::kNoSpace, .system_errno = 28, .text = "full"},
        VolumesMessage{.volumes = {{"a", uuid_of(1), 5}, {"b", uuid_of(2), 7}}},
        MomentMessage{.label = Label::kCrash, .group = true, .frozen_us = 9},
        VerifyMessage{.verify = true},
        ProbeMessage{.filler = {1, 2, 3}},
        ProbedMessage{.bytes = 24, .clock_us = 1},
        ProbeDiskMessage{.name = "a/b"},
        DiskProbedMessage{.written_bytes = 24, .written_us = 1, .why_not = "full"}};
    for (const Message& message : messages) {
        const auto type = static_cast<std::uint8_t>(type_of(message));
        ByteWriter writer;
        writer.put(type).put_bytes(encode_message(message));
        write("messages_fuzz/" + std::to_string(type), writer.bytes());
    }
}

void write_frames() {
    const auto ping = testing::frame_bytes(wire::FrameType::kPing, 1, 2, {});
    write("frame_fuzz/header", ping);
    DataHead table;
    table.block_bytes = kBlockBytes;
    table.add_extent(5 * std::uint64_t{kBlockBytes}, 2);
    table.add_extent(9 * std::uint64_t{kBlockBytes}, 1);
    table.blocks[0] = {.kind = 0, .stored_bytes = kBlockBytes, .crc = 1};
    table.blocks[1] = {.kind = wire::kStoredZero, .stored_bytes = 0, .crc = 0};
    table.blocks[2] = {.kind = 2, .stored_bytes = 100, .crc = 2};
    std::vector<std::byte> head(table.encoded_bytes());
    table.encode(head);
    ByteWriter writer;
    writer.put(std::uint32_t{kBlockBytes + 100}).put_bytes(head);
    write("frame_fuzz/table", writer.bytes());
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 2) return 1;
    folder = arguments[1];
    write_frames();
    write_messages();
    write_conversations();
    return 0;
}
