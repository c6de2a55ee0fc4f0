// SPDX-License-Identifier: Apache-2.0
// What a target on the same host recognises of a source, and what one elsewhere learns of it.

#include "userspace/engine/standing.hpp"

#include "tests/unit/memory_stores.hpp"
#include "tests/unit/storage_fixture.hpp"
#include "userspace/engine/target_safety.hpp"

namespace towline {
namespace {

using namespace testing;

const Uuid kSource = uuid_of(1);

// A partition of a disk: bytes 10 to 20 of it.
Footing partition(const std::string& name, std::uint64_t start, std::uint64_t end) {
    Footing footing;
    footing.elements = {name, "device:8:0"};
    footing.places = {{}, {.start_bytes = start, .end_bytes = end, .above = 0}};
    return footing;
}

TEST(Standing, SharedBytesAreKnownAgainOnTheSameBoot) {
    const StandingKey key("boot", kSource);
    const Standing told = key.hide(partition("device:8:1", 10, 20));
    ASSERT_TRUE(check_standing(told));
    const auto shared = [&](const Footing& mine) {
        return !overlap(key.hidden(mine), told_footing(told)).empty();
    };
    EXPECT_TRUE(shared(partition("device:8:1", 10, 20)));
    EXPECT_TRUE(shared(partition("device:8:7", 19, 21)));
    EXPECT_FALSE(shared(partition("device:8:2", 20, 30)));
    Footing elsewhere = partition("device:9:1", 10, 20);
    elsewhere.elements[1] = "device:9:0";
    EXPECT_FALSE(shared(elsewhere));
}

TEST(Standing, AnotherBootOrSourceIsNeverTheSameHost) {
    const StandingKey key("boot", kSource);
    const Standing told = key.hide(partition("device:8:1", 10, 20));
    EXPECT_TRUE(StandingKey("boot", kSource).is_host_of(told));
    for (const StandingKey& other :
         {StandingKey("another boot", kSource), StandingKey("boot", uuid_of(2))}) {
        EXPECT_FALSE(other.is_host_of(told));
        EXPECT_TRUE(
            overlap(other.hidden(partition("device:8:1", 10, 20)), told_footing(told)).empty());
    }
    EXPECT_FALSE(key.is_host_of(Standing{}));
}

// The chain ends whatever a peer says, or the walk along it would not.
TEST(Standing, ChainsThatCannotBeAreRefused) {
    const auto chain = [](std::initializer_list<std::uint32_t> above) {
        Standing standing;
        for (const std::uint32_t each : above)
            standing.elements.push_back({.start_bytes = 1, .end_bytes = 2, .above = each});
        return standing;
    };
    EXPECT_TRUE(check_standing(chain({})));
    EXPECT_TRUE(check_standing(chain({0, 0, 1, 1})));
    for (const Standing& bad :
         {chain({1}), chain({0, 1}), chain({0, 2, 1}), chain({0, UINT32_MAX})})
        EXPECT_EQ(error_of(check_standing(bad)).code, Code::kProtocol);
    Standing backwards = chain({0});
    backwards.elements[0].end_bytes = 0;
    EXPECT_FALSE(check_standing(backwards));
}

class OnThisHost : public ::testing::Test {
  protected:
    Status judge(const std::string& source, const std::string& target) {
        const auto key = StandingKey::of_this_host(kSource);
        if (!key) return fail(Code::kIo, "this host does not name its boot");
        const auto from = Volume::open(source, Access::kRead);
        const auto to = Volume::open(target, Access::kRead);
        if (!from || !to) return fail(Code::kIo, "cannot open the test's files");
        return refuse_if_same(*key, key->hide(footing_of(*from).value()), *to);
    }
    TemporaryFolder folder_;
};

TEST_F(OnThisHost, TheSourceByAnyNameIsRefused) {
    const std::string source = make_file(folder_ / "source", 1 << 20);
    const std::string other = make_file(folder_ / "other", 1 << 20);
    std::filesystem::create_hard_link(source, folder_ / "link");
    EXPECT_TRUE(judge(source, other));
    for (const std::string& name : {source, std::string(folder_ / "link")})
        EXPECT_EQ(error_of(judge(source, name)).code, Code::kRefused);
}

TEST_F(OnThisHost, ALoopDeviceOverTheSourceIsRefused) {
    NEEDS_LOOP_DEVICES();
    const std::string source = make_file(folder_ / "source", 1 << 20);
    const LoopDevice loop(source);
    const LoopDevice apart(make_file(folder_ / "other", 1 << 20));
    EXPECT_EQ(error_of(judge(source, loop.path())).code, Code::kRefused);
    EXPECT_EQ(error_of(judge(loop.path(), source)).code, Code::kRefused);
    EXPECT_TRUE(judge(source, apart.path()));
}

TEST_F(OnThisHost, ATargetStoredOnTheSourceIsRefused) {
    NEEDS_LOOP_DEVICES();
    const LoopDevice loop(make_file(folder_ / "image", 32 << 20));
    if (!run("mkfs.ext4 -q -F " + loop.path())) GTEST_SKIP() << "needs mkfs.ext4";
    const Mount mount(loop.path(), folder_ / "mounted");
    ASSERT_TRUE(mount.mounted());
    const std::string target = make_file(folder_ / "mounted/target", 1 << 20);
    EXPECT_EQ(error_of(judge(loop.path(), target)).code, Code::kRefused);
    EXPECT_TRUE(judge(make_file(folder_ / "elsewhere", 1 << 20), target));
}

TEST_F(OnThisHost, AStackThatCannotBeToldIsRefused) {
    const auto key = StandingKey::of_this_host(kSource);
    ASSERT_TRUE(key);
    const auto target = Volume::open(make_file(folder_ / "target", 1 << 20), Access::kRead);
    Standing standing = key->hide({});
    EXPECT_TRUE(refuse_if_same(*key, standing, *target));
    standing.complete = false;
    EXPECT_EQ(error_of(refuse_if_same(*key, standing, *target)).code, Code::kRefused);
}

}  // namespace
}  // namespace towline
