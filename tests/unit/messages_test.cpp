// SPDX-License-Identifier: Apache-2.0
// Every message with a value in every field that is not its default: what is left out of a walk, or
// walked in another order by one side, shows.

#include "transport/messages.hpp"

#include <array>

#include <gtest/gtest.h>

#include "io/bytes.hpp"

namespace towline {
namespace {

Uuid uuid_of(int fill) {
    Uuid uuid;
    uuid.bytes.fill(static_cast<std::byte>(fill));
    return uuid;
}

Base base_of(int fill) {
    return {.source = uuid_of(fill),
            .tracker = uuid_of(fill + 1),
            .sequence = static_cast<std::uint64_t>(fill) << 33,
            .point = uuid_of(fill + 2)};
}

OpenedMessage some_opened() {
    return {.exists = true,
            .is_device = true,
            .empty = true,
            .has_data = true,
            .changed = true,
            .target = uuid_of(9),
            .size_bytes = 1ULL << 41,
            .state = TargetState::kApplying,
            .base = base_of(10),
            .run = uuid_of(20),
            .run_mode = RunMode::kScan,
            .plan_digest = 21,
            .run_base = base_of(30),
            .staging = true,
            .flush_failed_run = uuid_of(39),
            .owner = uuid_of(40),
            .join_token = uuid_of(41),
            .engine = "io_uring"};
}

BeginMessage some_begin() {
    BeginMessage begin{.run = uuid_of(50),
                       .mode = RunMode::kExtents,
                       .resume = true,
                       .overwrite = true,
                       .verify = true,
                       .dry_run = true,
                       .compare_listed = true,
                       .direct = true,
                       .block_bytes = 65536,
                       .plan_bytes = 52,
                       .plan_digest = 51,
                       .expected_state = TargetState::kSealed,
                       .expected_base = base_of(60),
                       .next_base = base_of(70)};
    begin.hash_seed.fill(std::byte{80});
    return begin;
}

// One of each alternative.
std::vector<Message> all_messages() {
    return {
        HelloMessage{.version_min = 3,
                     .version_max = 4,
                     .capabilities = 0xff00ff00ff00ff00,
                     .join_token = uuid_of(1)},
        OpenMessage{.name = "folder/disk0",
                    .source = uuid_of(2),
                    .source_bytes = 1ULL << 40,
                    .dry_run = true,
                    .standing = {.host = {23, 24},
                                 .complete = true,
                                 .elements = {{.name = {25, 26},
                                               .start_bytes = 27,
                                               .end_bytes = 28,
                                               .above = 29,
                                               .dealt_out = true},
                                              {.name = {30, 31}}}}},
        some_opened(),
        some_begin(),
        BegunMessage{.zeroed = true, .staged = true},
        RangesMessage{.ranges = {{1, 2}, {3, 1ULL << 50}}, .last = true},
        DigestsMessage{
            .first_block = 5, .zero_count = 6, .hashes = {{7, 8}, {9, 10}, {11, 12}}, .last = true},
        ZeroMessage{.offset_bytes = 1ULL << 42, .length_bytes = 1ULL << 43},
        AckMessage{.durable_bytes = 13},
        EndMessage{.digest = {14, 15, 16}},
        SealedMessage{.digest = {17, 18, 19},
                      .reread = true,
                      .base = base_of(90),
                      .cpu_microseconds = 20,
                      .rss_max_bytes = 21,
                      .written_bytes = 22},
        ErrorMessage{.code = Code::kCancelled,
                     .system_errno = 28,
                     .flush_failed = true,
                     .text = "why it ended"},
        PingMessage{},
        JoinedMessage{},
        VolumesMessage{.volumes = {{"a", uuid_of(2), 1ULL << 40}, {"data", uuid_of(3), 5}}},
        MomentMessage{.label = Label::kFilesystem, .group = true, .frozen_us = 1ULL << 35},
        VerifyMessage{.verify = true},
        ProbeMessage{.filler = {1ULL << 40, 3}},
        ProbedMessage{.bytes = 1ULL << 33, .clock_us = 1ULL << 50},
        ProbeDiskMessage{.name = "a/b"},
        DiskProbedMessage{.written_bytes = 1ULL << 34,
                          .written_us = 2,
                          .read_bytes = 1ULL << 35,
                          .read_us = 3,
                          .why_not = "why"}};
}

TEST(Messages, EachHasItsSizeOnTheWire) {
    constexpr std::size_t kStanding = 16 + 1 + 4 + 2 * (16 + 16 + 4 + 1);
    const std::size_t sizes[] = {28,
                                 2 + 12 + 25 + kStanding,
                                 218 + 10,
                                 190,
                                 2,
                                 4 + 32 + 1,
                                 8 + 8 + 4 + 48 + 1,
                                 16,
                                 8,
                                 24,
                                 105,
                                 2 + 4 + 1 + 2 + 12,
                                 0,
                                 0,
                                 4 + 27 + 30,
                                 2 + 1 + 8,
                                 1,
                                 4 + 16,
                                 16,
                                 2 + 3,
                                 32 + 2 + 3};
    const auto messages = all_messages();
    ASSERT_EQ(messages.size(), std::variant_size_v<Message>);
    for (std::size_t i = 0; i < messages.size(); ++i) {
        EXPECT_EQ(messages[i].index(), i);
        EXPECT_EQ(encode_message(messages[i]).size(), sizes[i]) << i;
    }
    EXPECT_EQ(encode_message(messages[0]).size(), wire::kHelloHeadBytes);
}

TEST(Messages, RoundTripKeepsEveryField) {
    for (const Message& message : all_messages()) {
        const auto back = decode_message(type_of(message), encode_message(message));
        ASSERT_TRUE(back) << back.error().text();
        EXPECT_EQ(*back, message) << static_cast<int>(type_of(message));
    }
}

// A byte that does not come back is one that no field holds: every byte of a message means
// something.
TEST(Messages, EveryFlippedBitIsRefusedOrComesBack) {
    for (const Message& message : all_messages()) {
        const std::vector<std::byte> bytes = encode_message(message);
        for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
            std::vector<std::byte> damaged = bytes;
            damaged[bit / 8] ^= std::byte{1} << (bit % 8);
            const auto back = decode_message(type_of(message), damaged);
            if (back) {
                EXPECT_NE(*back, message);
                EXPECT_EQ(encode_message(*back), damaged);
            } else {
                EXPECT_EQ(back.error().code, Code::kProtocol);
            }
        }
    }
}

TEST(Messages, AnyOtherLengthIsRefused) {
    for (const Message& message : all_messages()) {
        std::vector<std::byte> bytes = encode_message(message);
        for (std::size_t length = 0; length < bytes.size(); ++length) {
            EXPECT_FALSE(decode_message(type_of(message), ByteSpan(bytes).first(length)))
                << static_cast<int>(type_of(message)) << " of " << length;
        }
        bytes.push_back({});
        EXPECT_FALSE(decode_message(type_of(message), bytes));
    }
}

TEST(Messages, DataAndUnknownTypesAreNoMessages) {
    for (const int type : {0, 8, 16, 999})
        EXPECT_FALSE(decode_message(static_cast<wire::FrameType>(type), {}));
}

// --- bounds ---------------------------------------------------------------------------------

TEST(Messages, ListsAreBounded) {
    RangesMessage ranges;
    ranges.ranges.resize(wire::kRangesPerFrameMax, {1, 2});
    DigestsMessage digests;
    digests.hashes.resize(wire::kHashesPerFrameMax, {1, 2});
    for (const Message& message : {Message(ranges), Message(digests)}) {
        const auto bytes = encode_message(message);
        EXPECT_LE(bytes.size(), wire::kHeadBytesMax);
        EXPECT_TRUE(decode_message(type_of(message), bytes));
    }
    ranges.ranges.push_back({});
    digests.hashes.push_back({});
    EXPECT_FALSE(decode_message(wire::FrameType::kRanges, encode_message(ranges)));
    EXPECT_FALSE(decode_message(wire::FrameType::kDigests, encode_message(digests)));
}

// The count is believed only as far as bytes are there for it.
TEST(Messages, CountsWithoutContentsAreRefused) {
    for (const std::uint32_t count : {1U, 4096U, 4097U, 0x7fffffffU, UINT32_MAX}) {
        ByteWriter writer;
        writer.put(count).put(std::uint8_t{1});
        EXPECT_FALSE(decode_message(wire::FrameType::kRanges, writer.bytes())) << count;
    }
}

TEST(Messages, TextsAreBounded) {
    OpenMessage open{.name = std::string(wire::kNameBytesMax, 'n')};
    EXPECT_TRUE(decode_message(wire::FrameType::kOpen, encode_message(open)));
    ByteWriter writer;
    writer.put_string(std::string(wire::kNameBytesMax + 1, 'n')).put_bytes(uuid_of(0).bytes);
    writer.put(std::uint64_t{});
    EXPECT_FALSE(decode_message(wire::FrameType::kOpen, writer.bytes()));
    // An explanation that is too long is cut off by whoever says it.
    const ErrorMessage error{.code = Code::kIo, .text = std::string(9999, 'e')};
    const auto back = decode_message(wire::FrameType::kError, encode_message(error));
    ASSERT_TRUE(back);
    EXPECT_EQ(std::get<ErrorMessage>(*back).text.size(), wire::kTextBytesMax);
}

// --- enumerations ---------------------------------------------------------------------------

// Puts every value into 16 bits of a message and counts those that are taken.
int values_taken(const Message& message, std::size_t at) {
    std::vector<std::byte> bytes = encode_message(message);
    int taken = 0;
    for (std::uint32_t value = 0; value <= 0xffff; ++value) {
        store_le(&bytes[at], static_cast<std::uint16_t>(value));
        taken += decode_message(type_of(message), bytes).has_value() ? 1 : 0;
    }
    return taken;
}

TEST(Messages, UnknownEnumerationValuesAreRefused) {
    EXPECT_EQ(values_taken(some_opened(), 29), 4);   // state
    EXPECT_EQ(values_taken(some_opened(), 103), 4);  // run mode, none included
    EXPECT_EQ(values_taken(some_begin(), 16), 3);    // mode
    EXPECT_EQ(values_taken(some_begin(), 44), 4);    // expected state
    EXPECT_EQ(values_taken(ErrorMessage{}, 0), 11);
}

TEST(Messages, TruthIsZeroOrOne) {
    for (int value = 0; value < 256; ++value) {
        const std::array raw{std::byte{1}, static_cast<std::byte>(value)};
        EXPECT_EQ(decode_message(wire::FrameType::kBegun, raw).has_value(), value <= 1);
    }
}

TEST(Messages, VersionsMeetOrSayWhoIsToUpgrade) {
    const HelloMessage ours{.version_min = 2, .version_max = 4};
    const auto with = [&](std::uint16_t min, std::uint16_t max) {
        return agree_version(ours, {.version_min = min, .version_max = max});
    };
    EXPECT_EQ(with(1, 2).value(), 2);
    EXPECT_EQ(with(2, 3).value(), 3);
    EXPECT_EQ(with(4, 9).value(), 4);
    EXPECT_EQ(with(1, 9).value(), 4);
    EXPECT_EQ(with(1, 1).error().code, Code::kUnsupported);
    EXPECT_NE(with(1, 1).error().context.find("upgrade the peer"), std::string::npos);
    EXPECT_NE(with(5, 6).error().context.find("upgrade this side"), std::string::npos);
}

}  // namespace
}  // namespace towline
