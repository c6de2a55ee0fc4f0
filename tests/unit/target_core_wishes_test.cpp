// SPDX-License-Identifier: Apache-2.0
// What a source may say beside its run: how fast is the link, before it opens a target; another
// wish for whether to read back, and what moment was read, before the end.

#include <gtest/gtest.h>

#include "tests/unit/memory_stores.hpp"
#include "userspace/engine/target_core.hpp"

namespace towline {
namespace {

using testing::uuid_of;
namespace ev = target_event;
namespace act = target_action;

constexpr std::uint64_t kVolumeBytes = 40 * 4096;
const OpenMessage kOpen{.name = "a", .source = uuid_of(1), .source_bytes = kVolumeBytes};

std::vector<TargetAction> step(TargetCore& core, const TargetEvent& event) {
    std::vector<TargetAction> actions;
    core.step(event, Instant{std::chrono::hours(1)}, actions);
    return actions;
}

std::vector<TargetAction> hear(TargetCore& core, Message message) {
    return step(core, ev::Received{std::move(message)});
}

template <typename Act>
const Act* only(const std::vector<TargetAction>& actions) {
    return actions.size() == 1 ? std::get_if<Act>(&actions.front()) : nullptr;
}

// The count that a probe is answered with; nothing: it ends the session.
std::optional<std::uint64_t> answer(TargetCore& core, const ProbeMessage& probe) {
    const auto actions = hear(core, probe);
    if (const auto* answered = only<act::AnswerProbe>(actions)) return answered->bytes;
    EXPECT_NE(only<act::Fail>(actions), nullptr);
    return std::nullopt;
}

TEST(TargetCoreWishes, ProbesAreAnsweredBeforeOpenAlone) {
    TargetCore early("test");
    EXPECT_FALSE(answer(early, {})) << "not before Hello";
    TargetCore core("test");
    hear(core, HelloMessage{});
    EXPECT_EQ(answer(core, {}), 0U);
    EXPECT_EQ(answer(core, {.filler = {1, 2}}), 16U);
    EXPECT_EQ(answer(core, {.filler = {3}}), 24U);
    EXPECT_NE(only<act::Look>(hear(core, kOpen)), nullptr) << "a run may follow";
    EXPECT_FALSE(answer(core, {}));
}

TEST(TargetCoreWishes, ProbesAreSoManyAndNoMore) {
    TargetCore core("test");
    hear(core, HelloMessage{});
    for (std::size_t count = 0; count < wire::kProbesMax; ++count)
        ASSERT_TRUE(answer(core, {}));
    EXPECT_FALSE(answer(core, {}));
}

TEST(TargetCoreWishes, TheDiskIsMeasuredOnceBeforeOpen) {
    TargetCore early("test");
    EXPECT_NE(only<act::Fail>(hear(early, ProbeDiskMessage{.name = "a"})), nullptr);
    TargetCore core("test");
    hear(core, HelloMessage{});
    const auto begun = hear(core, ProbeDiskMessage{.name = "a"});
    ASSERT_NE(only<act::ProbeDisk>(begun), nullptr);
    EXPECT_EQ(only<act::ProbeDisk>(begun)->name, "a");
    EXPECT_TRUE(hear(core, PingMessage{}).empty());
    const DiskProbedMessage found{.read_bytes = 5, .read_us = 7};
    const auto told = step(core, ev::DiskProbed{found});
    ASSERT_NE(only<act::Send>(told), nullptr);
    EXPECT_EQ(only<act::Send>(told)->message, Message(found));
    EXPECT_EQ(answer(core, {.filler = {1}}), 8U) << "and the link";
    EXPECT_NE(only<act::Look>(hear(core, kOpen)), nullptr) << "a run may follow";
    EXPECT_NE(only<act::Fail>(hear(core, ProbeDiskMessage{.name = "a"})), nullptr);
}

TEST(TargetCoreWishes, NothingGoesOnWhileTheDiskIsMeasured) {
    for (const Message& message :
         {Message(kOpen), Message(ProbeMessage{}), Message(ProbeDiskMessage{.name = "b"})}) {
        TargetCore core("test");
        hear(core, HelloMessage{});
        hear(core, ProbeDiskMessage{.name = "a"});
        EXPECT_NE(only<act::Fail>(hear(core, message)), nullptr);
        EXPECT_TRUE(step(core, ev::DiskProbed{}).empty()) << "nobody listens any more";
    }
    TargetCore again("test");
    hear(again, HelloMessage{});
    hear(again, ProbeDiskMessage{.name = "a"});
    step(again, ev::DiskProbed{});
    EXPECT_NE(only<act::Fail>(hear(again, ProbeDiskMessage{.name = "b"})), nullptr) << "once";
}

TargetCore transferring(bool verify) {
    TargetCore core("test");
    hear(core, HelloMessage{});
    hear(core, kOpen);
    TargetFacts facts;
    facts.exists = facts.is_device = true;
    facts.size_bytes = kVolumeBytes;
    facts.record.target = uuid_of(7);
    step(core, ev::Looked{.facts = facts});
    hear(core,
         BeginMessage{.run = uuid_of(9),
                      .mode = RunMode::kFull,
                      .verify = verify,
                      .block_bytes = 4096,
                      .next_base = {.source = uuid_of(1), .sequence = 5, .point = uuid_of(3)}});
    step(core, ev::Prepared{});
    EXPECT_TRUE(core.transferring());
    return core;
}

TEST(TargetCoreWishes, VerifyMayBeChangedUntilTheEnd) {
    for (const bool begun : {true, false}) {
        TargetCore core = transferring(begun);
        EXPECT_TRUE(hear(core, VerifyMessage{.verify = begun}).empty());
        EXPECT_TRUE(hear(core, VerifyMessage{.verify = !begun}).empty());
        EXPECT_NE(only<act::Flush>(hear(core, EndMessage{})), nullptr);
        const auto after = step(core, ev::Flushed{});
        EXPECT_EQ(only<act::Reread>(after) != nullptr, !begun);
        EXPECT_EQ(only<act::Seal>(after) != nullptr, begun);
    }
    TargetCore core = transferring(false);
    hear(core, EndMessage{});
    EXPECT_NE(only<act::Fail>(hear(core, VerifyMessage{})), nullptr) << "it is too late";
}

TEST(TargetCoreWishes, TheMomentIsToldOnceAndSealed) {
    TargetCore core = transferring(false);
    EXPECT_TRUE(hear(core, MomentMessage{.label = Label::kCrash, .group = true}).empty());
    EXPECT_NE(only<act::Flush>(hear(core, EndMessage{})), nullptr);
    const auto after = step(core, ev::Flushed{});
    const auto* seal = only<act::Seal>(after);
    ASSERT_NE(seal, nullptr);
    ASSERT_TRUE(seal->moment.has_value());
    EXPECT_EQ(seal->moment->label, Label::kCrash);
    TargetCore twice = transferring(false);
    hear(twice, MomentMessage{});
    EXPECT_NE(only<act::Fail>(hear(twice, MomentMessage{})), nullptr);
}

}  // namespace
}  // namespace towline
