// SPDX-License-Identifier: Apache-2.0
#include "userspace/engine/root_folder.hpp"

#include <algorithm>
#include <stdexcept>
#include <sys/stat.h>

#include "tests/unit/storage_fixture.hpp"

namespace towline {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::make_file;
using testing::TemporaryFolder;

class RootFolderTest : public ::testing::Test {
  protected:
    static RootFolder must_open(const std::string& path) {
        auto root = RootFolder::open(path);
        if (!root) throw std::runtime_error(root.error().text());
        return std::move(*root);
    }
    static std::string make_root(const TemporaryFolder& folder) {
        fs::create_directories(folder / "root/inner");
        make_file(folder / "outside", 4096);
        return folder / "root";
    }

    const TemporaryFolder folder_;
    const RootFolder root_ = must_open(make_root(folder_));
};

TEST_F(RootFolderTest, CreatesOpensAndFinds) {
    for (const char* name : {"disk0", "inner/disk1", "a name with blanks", "..strange", "..."}) {
        EXPECT_FALSE(root_.exists(name).value());
        const auto made = root_.create(name, 70001);
        ASSERT_TRUE(made) << made.error().text();
        EXPECT_EQ(made->size_bytes(), 70001U);
        EXPECT_EQ(made->status().st_mode & 07777U, 0600U);
        EXPECT_TRUE(made->known_empty().value());
        EXPECT_TRUE(root_.exists(name).value());
        auto opened = root_.open_volume(name, Access::kReadWrite);
        ASSERT_TRUE(opened) << opened.error().text();
        EXPECT_EQ(opened->name(), name);
        EXPECT_TRUE(opened->write_at(70000, {std::byte{7}}));
    }
    EXPECT_EQ(error_of(root_.open_volume("none", Access::kRead)).system_errno, ENOENT);
}

TEST_F(RootFolderTest, RefusesHostileNames) {
    const std::string nul("a\0b", 3);
    const std::string names[] = {"",
                                 "/",
                                 "/etc/passwd",
                                 "..",
                                 "../outside",
                                 "inner/../../outside",
                                 "inner/..",
                                 ".",
                                 "./a",
                                 "inner/./a",
                                 "inner//a",
                                 "inner/",
                                 "a\nb",
                                 "a\x1b[2J",
                                 "a\x7f",
                                 nul,
                                 std::string(256, 'a'),
                                 "inner/" + std::string(256, 'a'),
                                 std::string(1025, 'a'),
                                 ".towline",
                                 ".towline/state",
                                 "inner/.towline-journal",
                                 ".Towline"};
    for (const std::string& name : names) {
        for (const auto& error : {error_of(root_.open_volume(name, Access::kRead)),
                                  error_of(root_.create(name, 1)), error_of(root_.exists(name))}) {
            EXPECT_TRUE(error.code == Code::kInvalid || error.code == Code::kRefused) << name;
            EXPECT_EQ(error.system_errno, 0) << "reached the filesystem: " << name;
            EXPECT_NE(error.context.find("; "), std::string::npos) << error.context;
            EXPECT_TRUE(std::ranges::none_of(error.context, [](char c) { return c < ' '; }));
        }
    }
    EXPECT_TRUE(check_volume_name(std::string(255, 'a') + "/" + std::string(255, 'b')));
    EXPECT_TRUE(check_volume_name(".tow"));
}

TEST_F(RootFolderTest, LinksThatLeadOutAreRefused) {
    fs::create_symlink("../outside", folder_ / "root/climbing");
    fs::create_symlink(folder_ / "outside", folder_ / "root/absolute");
    fs::create_directory_symlink("..", folder_ / "root/up");
    fs::create_directory_symlink("/", folder_ / "root/slash");
    fs::create_symlink("/dev/null", folder_ / "root/device");
    for (const char* name : {"climbing", "absolute", "up/outside", "slash/etc/passwd", "device"}) {
        const auto opened = root_.open_volume(name, Access::kReadWrite);
        ASSERT_FALSE(opened) << name;
        EXPECT_EQ(opened.error().code, Code::kRefused) << opened.error().text();
        EXPECT_NE(opened.error().context.find("leads out"), std::string::npos);
        EXPECT_FALSE(root_.exists(name)) << name;
    }
    EXPECT_EQ(error_of(root_.create("up/new", 1)).code, Code::kRefused);
    EXPECT_FALSE(fs::exists(folder_ / "new"));
}

TEST_F(RootFolderTest, MagicLinksAreRefused) {
    fs::create_directory_symlink("/proc/self/root", folder_ / "root/magic");
    EXPECT_EQ(error_of(root_.open_volume("magic/etc/passwd", Access::kRead)).code, Code::kRefused);
}

TEST_F(RootFolderTest, LinksThatStayInsideWork) {
    ASSERT_TRUE(root_.create("inner/disk", 512));
    fs::create_symlink("inner/disk", folder_ / "root/link");
    EXPECT_TRUE(root_.open_volume("link", Access::kReadWrite));
}

TEST_F(RootFolderTest, CreateNeverTouchesWhatIsThere) {
    ASSERT_TRUE(root_.create("disk", 1000)->write_at(0, {std::byte{9}}));
    fs::create_symlink("fresh", folder_ / "root/dangling");
    for (const char* name : {"disk", "inner", "dangling"}) {
        const auto made = root_.create(name, 5);
        ASSERT_FALSE(made) << name;
        EXPECT_EQ(made.error().code, Code::kRefused);
        EXPECT_EQ(made.error().system_errno, EEXIST);
    }
    EXPECT_EQ(fs::file_size(folder_ / "root/disk"), 1000U);
    EXPECT_FALSE(fs::exists(folder_ / "root/fresh"));
}

TEST_F(RootFolderTest, MissingFolderIsRefusedWithTheRemedy) {
    const auto made = root_.create("none/disk", 5);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, Code::kRefused);
    EXPECT_NE(made.error().context.find("mkdir"), std::string::npos);
    EXPECT_FALSE(fs::exists(folder_ / "root/none"));
}

TEST_F(RootFolderTest, FailedCreationLeavesNothing) {
    EXPECT_FALSE(root_.create("huge", ~0ULL));
    EXPECT_FALSE(fs::exists(folder_ / "root/huge"));
}

TEST_F(RootFolderTest, WhatIsNoVolumeIsRefused) {
    ASSERT_EQ(::mkfifo((folder_ / "root/fifo").c_str(), 0600), 0);
    for (const char* name : {"inner", "fifo"})
        EXPECT_EQ(error_of(root_.open_volume(name, Access::kReadWrite)).code, Code::kRefused);
    EXPECT_FALSE(RootFolder::open(folder_ / "outside"));
    EXPECT_FALSE(RootFolder::open(folder_ / "none"));
}

TEST_F(RootFolderTest, DeviceNodesInsideAreVolumes) {
    NEEDS_LOOP_DEVICES();
    const testing::LoopDevice loop(make_file(folder_ / "backing", 1 << 20));
    ASSERT_TRUE(loop.attached());
    struct stat status {};
    ASSERT_EQ(::stat(loop.path().c_str(), &status), 0);
    const std::string node = folder_ / "root/node";
    if (::mknod(node.c_str(), S_IFBLK | 0600, status.st_rdev) != 0)
        GTEST_SKIP() << "device nodes may not be made here";
    auto opened = root_.open_volume("node", Access::kReadWrite);
    ASSERT_TRUE(opened) << opened.error().text();
    EXPECT_EQ(opened->kind(), VolumeKind::kBlockDevice);
    EXPECT_EQ(error_of(root_.open_volume("node", Access::kReadWrite)).code, Code::kRefused)
        << "a second writer";
}

}  // namespace
}  // namespace towline
