// SPDX-License-Identifier: Apache-2.0
// Whatever becomes of who froze a filesystem, its writers go on. Real loop devices and mounts.

#include "userspace/engine/filesystem_freeze.hpp"

#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <gtest/gtest.h>

namespace towline {
namespace {

namespace fs = std::filesystem;

class FreezeTest : public ::testing::Test {
  protected:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "mounting needs root";
        std::string name = (fs::temp_directory_path() / "towline-freeze.XXXXXX").string();
        folder = ::mkdtemp(name.data());
        mount = (folder / "mount").string();
        fs::create_directory(mount);
        const std::string image = (folder / "image").string();
        const std::string make = "truncate -s 16M " + image + " && mkfs.ext4 -q " + image +
                                 " && mount -o loop " + image + " " + mount;
        if (std::system(make.c_str()) != 0) GTEST_SKIP() << "no loop device can be mounted here";
        mounted = true;
    }
    void TearDown() override {
        if (mounted) {
            EXPECT_TRUE(thawed());
            EXPECT_TRUE(unmounted());
        }
        if (!folder.empty()) fs::remove_all(folder);
    }
    // A watchdog that has thawed it may still have it open while it exits.
    bool unmounted() {
        for (int tries = 0; tries < 100; ++tries) {
            if (::umount2(mount.c_str(), 0) == 0) return true;
            ::usleep(50000);
        }
        return false;
    }
    // A thaw of what is not frozen is refused; of what is, this is the thaw.
    bool thawed() {
        const Fd fd(::open(mount.c_str(), O_RDONLY));
        return ::ioctl(fd.get(), FITHAW, 0) != 0 && errno == EINVAL;
    }

    fs::path folder;
    std::string mount;
    bool mounted = false;
};

TEST_F(FreezeTest, AFreezeTellsHowLongItWas) {
    auto frozen = FilesystemFreeze::freeze({mount}, 10s);
    ASSERT_TRUE(frozen) << frozen.error().text();
    ::usleep(20000);
    const auto held = frozen->thaw();
    ASSERT_TRUE(held);
    EXPECT_GE(*held, 20ms);
    EXPECT_TRUE(thawed());
}

TEST_F(FreezeTest, AFreezeThatIsNotEndedEndsAtItsLimit) {
    auto frozen = FilesystemFreeze::freeze({mount}, 200ms);
    ASSERT_TRUE(frozen);
    ::usleep(1'000'000);
    const auto held = frozen->thaw();
    ASSERT_FALSE(held);
    EXPECT_EQ(held.error().code, Code::kTimeout);
}

TEST_F(FreezeTest, WhatIsFrozenAlreadyIsNotOurs) {
    auto frozen = FilesystemFreeze::freeze({mount}, 10s);
    ASSERT_TRUE(frozen);
    EXPECT_EQ(FilesystemFreeze::freeze({mount}, 10s).error().code, Code::kBusy);
    EXPECT_TRUE(frozen->thaw());
}

TEST_F(FreezeTest, ADeadParentsFilesystemIsThawedWithinTwoSeconds) {
    const pid_t child = ::fork();
    if (child == 0) {
        const auto frozen = FilesystemFreeze::freeze({mount}, 60s);
        ::kill(::getpid(), frozen ? SIGKILL : SIGTERM);
        ::pause();
    }
    int how = 0;
    ASSERT_EQ(::waitpid(child, &how, 0), child);
    ASSERT_TRUE(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
    const Instant died = monotonic_now();
    // A file that is made is what a writer would wait for.
    const Fd file(::open((mount + "/made").c_str(), O_CREAT | O_WRONLY, 0600));
    EXPECT_TRUE(file);
    EXPECT_LT(monotonic_now() - died, 2s);
}

TEST_F(FreezeTest, MountsOfADeviceAreFound) {
    struct stat status {};
    ASSERT_EQ(::stat(mount.c_str(), &status), 0);
    EXPECT_EQ(mounts_on_device(status.st_dev), std::vector{mount});
}

}  // namespace
}  // namespace towline
