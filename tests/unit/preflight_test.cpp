// SPDX-License-Identifier: Apache-2.0
// What stops a job, what only warns, and how long it should take.

#include "userspace/control/preflight.hpp"

#include <gtest/gtest.h>

#include "tests/unit/storage_fixture.hpp"
#include "userspace/vault/vault.hpp"

namespace towline {
namespace {

constexpr std::uint64_t kMib = std::uint64_t{1} << 20;

JobSpec spec_to(const std::string& target) {
    JobSpec spec;
    spec.name = "job";
    spec.volumes = {"/dev/x"};
    spec.target = target;
    return spec;
}

PreflightFacts good() {
    PreflightFacts facts;
    facts.volume_bytes = 1000 * kMib;
    facts.data_bytes = 400 * kMib;
    facts.disk_count = 1;
    facts.free_bytes = 500 * kMib;
    facts.read_bytes_per_second = 100.0 * kMib;
    return facts;
}

std::string codes(const std::vector<Finding>& findings, Severity severity) {
    std::string text;
    for (const Finding& each : findings)
        if (each.severity == severity) text += (text.empty() ? "" : " ") + each.code;
    return text;
}

TEST(Preflight, NothingStopsWhatIsGood) {
    const auto findings = judge(good(), spec_to("/target"));
    EXPECT_EQ(codes(findings, Severity::kCritical), "");
    EXPECT_EQ(codes(findings, Severity::kWarning), "");
    EXPECT_EQ(codes(findings, Severity::kInfo), "size tracker snapshot source-disk");
    EXPECT_EQ(stopping_text(findings), "");
}

TEST(Preflight, WhatIsSureToFailStops) {
    const JobSpec spec = spec_to("/target");
    PreflightFacts facts = good();
    facts.no_volume = "no such volume";
    EXPECT_EQ(codes(judge(facts, spec), Severity::kCritical), "volume");
    facts = good();
    facts.no_moment = "no snapshot";
    EXPECT_EQ(codes(judge(facts, spec), Severity::kCritical), "moment");
    facts = good();
    facts.no_target = "mounted";
    facts.target_is_source = "on it";
    const auto findings = judge(facts, spec);
    EXPECT_EQ(codes(findings, Severity::kCritical), "target target-on-volume");
    EXPECT_EQ(stopping_text(findings), "mounted; on it");
    EXPECT_EQ(findings.front().severity, Severity::kCritical) << "the worst comes first";
    facts = good();
    facts.journal_on_volume = "/state";
    EXPECT_EQ(codes(judge(facts, spec), Severity::kCritical), "journal-on-volume");
}

TEST(Preflight, WhatOnlyMayFailWarns) {
    const JobSpec spec = spec_to("/target");
    PreflightFacts facts = good();
    facts.free_bytes = facts.data_bytes - 1;
    facts.live = "mounted at /srv";
    facts.state_on_volume = true;
    facts.memlock_bytes = 8 * kMib;
    facts.clock_synchronised = false;
    const auto findings = judge(facts, spec);
    EXPECT_EQ(codes(findings, Severity::kCritical), "");
    EXPECT_EQ(codes(findings, Severity::kWarning), "fuzzy space state-on-volume memlock clock");
    facts.snapshot = "fuse";
    facts.free_bytes = facts.data_bytes;
    facts.memlock_bytes = 1024 * kMib;
    EXPECT_EQ(codes(judge(facts, spec), Severity::kWarning), "state-on-volume clock");
}

TEST(Preflight, TheLinkAndTheClockOfTheTargetAreJudged) {
    const JobSpec spec = spec_to("tcp://target:1/x");
    PreflightFacts facts = good();
    facts.target = PreflightFacts::Target::kRemote;
    facts.connect_seconds = 0.001;
    facts.link = LinkFacts{.round_trip = std::chrono::milliseconds(40),
                           .clock_ahead = std::chrono::milliseconds(-900),
                           .bytes_per_second = 20.0 * kMib,
                           .bytes = 16 * kMib};
    EXPECT_EQ(codes(judge(facts, spec), Severity::kWarning), "");
    EXPECT_DOUBLE_EQ(*estimate(facts, spec, {}).first_seconds, 20)
        << "the link is what holds it up";
    EXPECT_DOUBLE_EQ(*link_speed(facts), 20.0 * kMib);
    facts.link->clock_ahead = std::chrono::milliseconds(-1100);
    const auto findings = judge(facts, spec);
    ASSERT_EQ(codes(findings, Severity::kWarning), "clock-skew");
    EXPECT_NE(findings.front().message.find("1.1 s behind this"), std::string::npos)
        << findings.front().message;
    facts.link->clock_ahead = std::chrono::hours(2);
    EXPECT_NE(judge(facts, spec).front().message.find("7200.0 s ahead of this"), std::string::npos);
    // A round trip that takes long says less of the clocks.
    facts.link->clock_ahead = std::chrono::milliseconds(1100);
    facts.link->round_trip = std::chrono::milliseconds(400);
    EXPECT_EQ(codes(judge(facts, spec), Severity::kWarning), "");
    // Nothing measured, and past runs know.
    facts.link.reset();
    facts.no_link = "too old";
    facts.past = PastRuns{.wire_bytes_per_second = 5, .next_seconds = std::nullopt};
    EXPECT_DOUBLE_EQ(*link_speed(facts), 5);
    EXPECT_DOUBLE_EQ(*estimate(facts, spec, {}).first_seconds, 4)
        << "past runs may have had little";
}

TEST(Preflight, EstimatesFollowTheSlowerOfDiskAndLimit) {
    JobSpec spec = spec_to("/target");
    EXPECT_DOUBLE_EQ(*estimate(good(), spec, {}).first_seconds, 4);
    EXPECT_DOUBLE_EQ(*estimate(good(), spec, {}).next_seconds, 10) << "all is read to be compared";
    spec.transfer.rate_mbit = 8 * 1.048576 * 10;  // 10 MiB/s
    EXPECT_NEAR(*estimate(good(), spec, {}).first_seconds, 40, 0.001);
    PreflightFacts tracked = good();
    tracked.tracker = "fuse";
    EXPECT_FALSE(estimate(tracked, spec, {}).next_seconds) << "nobody knows what will change";
    PreflightFacts unread = good();
    unread.read_bytes_per_second.reset();
    EXPECT_FALSE(estimate(unread, spec, {}).first_seconds);
}

TEST(Preflight, TheTargetsDiskIsToldAndHoldsUpTheEstimate) {
    const JobSpec spec = spec_to("/target");
    PreflightFacts facts = good();
    facts.target_disk = DiskSample{.written_bytes = 50 * kMib,
                                   .written_us = 1'000'000,
                                   .read_bytes = 25 * kMib,
                                   .read_us = 1'000'000};
    const auto told = [&] {
        for (const Finding& each : judge(facts, spec))
            if (each.code == "target-disk") return each.message;
        return std::string();
    };
    EXPECT_NE(told().find("writes at 50.0 MiB/s"), std::string::npos) << told();
    EXPECT_NE(told().find("reads at 25.0 MiB/s"), std::string::npos) << told();
    EXPECT_DOUBLE_EQ(*estimate(facts, spec, {}).first_seconds, 8);
    EXPECT_DOUBLE_EQ(*estimate(facts, spec, {}).next_seconds, 40) << "both sides read all";
    // A device is only read, and writes no faster as a rule.
    facts.target_disk->written_bytes = 0;
    EXPECT_NE(told().find("nothing is written to it"), std::string::npos) << told();
    EXPECT_DOUBLE_EQ(*target_speed(facts), 25.0 * kMib);
    EXPECT_DOUBLE_EQ(*estimate(facts, spec, {}).first_seconds, 16);
    facts.target_disk.reset();
    facts.no_target_disk = "no room there";
    EXPECT_EQ(told(), "how fast the target's disk is, is not known: no room there");
    EXPECT_EQ(codes(judge(facts, spec), Severity::kWarning), "");
    EXPECT_DOUBLE_EQ(*estimate(facts, spec, {}).first_seconds, 4);
}

TEST(Preflight, WhatIsWrittenMeanwhileSaysWhatAListWillBring) {
    JobSpec spec = spec_to("/target");
    PreflightFacts facts = good();
    facts.tracker = "kmod";
    facts.written_bytes_per_second = 1.0 * kMib;
    const auto next = [&] { return estimate(facts, spec, {}).next_seconds; };
    EXPECT_FALSE(next()) << "nobody knows when somebody starts a run";
    spec.schedule = *Schedule::every(std::chrono::seconds(200));
    EXPECT_DOUBLE_EQ(*next(), 2);
    spec.schedule = *Schedule::on_calendar("*:0/10");
    EXPECT_DOUBLE_EQ(*next(), 6);
    spec.schedule = *Schedule::continuous(std::chrono::seconds(100));
    EXPECT_DOUBLE_EQ(*next(), 1);
    spec.schedule = *Schedule::every(std::chrono::hours(48));
    EXPECT_DOUBLE_EQ(*next(), 10) << "a block that is written twice is brought once";
    facts.written_bytes_per_second.reset();
    EXPECT_FALSE(next()) << "a file, whose writes nobody counts";
}

TEST(Preflight, WhatLiesOnTheVolumeThatItIsToHoldIsSeen) {
    NEEDS_LOOP_DEVICES();
    const testing::TemporaryFolder folder;
    const std::string image = testing::make_file(folder / "image", 64 * kMib);
    ASSERT_TRUE(testing::run("mkfs.ext4 -q -F " + image));
    const testing::LoopDevice loop(image);
    ASSERT_TRUE(loop.attached());
    const testing::Mount mount(loop.path(), folder / "mount");
    ASSERT_TRUE(mount.mounted());
    const std::string on = mount / "vault";
    const std::string beside = folder / "vault";
    ASSERT_TRUE(Vault::init(on, {}));
    ASSERT_TRUE(Vault::init(beside, {}));
    const RunPlaces places{.state_folder = mount / "lost+found"};
    JobSpec spec = spec_to("vault:" + on + "/x");
    spec.moment.snapshot = "none";
    // By the device, and by the file behind it.
    for (const std::string& volume : {loop.path(), image}) {
        spec.volumes = {volume};
        spec.target = "vault:" + on + "/x";
        PreflightFacts facts = look_before(spec, places, Depth::kQuick);
        EXPECT_NE(facts.target_is_source, "") << volume;
        EXPECT_TRUE(facts.state_on_volume);
        spec.target = mount / "replica";
        EXPECT_NE(look_before(spec, places, Depth::kQuick).target_is_source, "") << volume;
        spec.target = "vault:" + beside + "/x";
        facts = look_before(spec, {.state_folder = folder.path()}, Depth::kThorough);
        EXPECT_EQ(facts.target_is_source + facts.no_target + facts.no_volume, "") << volume;
        EXPECT_FALSE(facts.state_on_volume);
        EXPECT_TRUE(facts.live) << volume;
        EXPECT_EQ(facts.volume_bytes, 64 * kMib);
        EXPECT_GT(facts.free_bytes.value_or(0), 0U);
        EXPECT_GT(facts.read_bytes_per_second.value_or(0), 0) << volume;
        EXPECT_EQ(facts.written_bytes_per_second.has_value(), volume == loop.path());
        ASSERT_TRUE(facts.target_disk) << facts.no_target_disk;
        EXPECT_GT(facts.target_disk->write_bytes_per_second().value_or(0), 0);
    }
}

TEST(Preflight, ALiveVolumeWithoutASnapshotIsSeen) {
    NEEDS_LOOP_DEVICES();
    const testing::TemporaryFolder folder;
    const std::string image = testing::make_file(folder / "image", 64 * kMib);
    ASSERT_TRUE(testing::run("mkfs.ext4 -q -F " + image));
    const testing::LoopDevice loop(image);
    const testing::Mount mount(loop.path(), folder / "mount");
    ASSERT_TRUE(mount.mounted());
    JobSpec spec = spec_to(folder / "replica");
    spec.volumes = {image};
    const RunPlaces places{.state_folder = folder.path(), .run_folder = folder / "run"};
    const PreflightFacts facts = look_before(spec, places, Depth::kQuick);
    EXPECT_NE(facts.no_moment.find("no moment"), std::string::npos) << facts.no_moment;
    EXPECT_TRUE(facts.target_new);
    spec.target = folder / "no/such/replica";
    EXPECT_NE(look_before(spec, places, Depth::kQuick).no_target, "");
    spec.target = image;
    EXPECT_NE(look_before(spec, places, Depth::kQuick).no_target, "") << "it is in use";
    spec.target = "unix:" + folder.path() + "/none:/x";
    EXPECT_EQ(look_before(spec, places, Depth::kQuick).no_target, "") << "it may come back";
    EXPECT_NE(look_before(spec, places, Depth::kThorough).no_target, "");
}

Run past_run(const std::string& mode, unsigned took_seconds, std::uint64_t sent) {
    Run run;
    run.mode = mode;
    run.started_at = WallTime(std::chrono::hours(1));
    run.ended_at = *run.started_at + std::chrono::seconds(took_seconds);
    run.numbers.sent_bytes = sent;
    return run;
}

TEST(Preflight, PastRunsSayHowTheNextWillBe) {
    EXPECT_FALSE(past_of({}));
    const auto first = past_of({past_run("full", 10, 10 * kMib)});
    ASSERT_TRUE(first);
    EXPECT_DOUBLE_EQ(first->wire_bytes_per_second, kMib);
    EXPECT_FALSE(first->next_seconds) << "a full copy says nothing of a list";
    const auto past = past_of({past_run("extents", 3, kMib), past_run("extents", 90, kMib),
                               past_run("extents", 2, kMib), past_run("full", 10, 20 * kMib)});
    EXPECT_DOUBLE_EQ(past->wire_bytes_per_second, 2 * kMib) << "of the one that sent most";
    EXPECT_DOUBLE_EQ(*past->next_seconds, 3) << "one that was slow is no rule";
    PreflightFacts tracked = good();
    tracked.tracker = "fuse";
    tracked.past = past;
    EXPECT_DOUBLE_EQ(*estimate(tracked, spec_to("/target"), {}).next_seconds, 3);
}

}  // namespace
}  // namespace towline
