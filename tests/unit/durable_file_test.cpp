// SPDX-License-Identifier: Apache-2.0
// Files that are wholly old or wholly new: what a crash leaves behind does not hurt.

#include "io/durable_file.hpp"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <gtest/gtest.h>

namespace towline {
namespace {

namespace fs = std::filesystem;

class DurableFile : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = (fs::temp_directory_path() / "towline-test-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        folder_ = name;
    }
    void TearDown() override { fs::remove_all(folder_); }

    static ByteSpan bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

    static void write_raw(const fs::path& path, std::string_view text) {
        std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
    }
    static std::string read_raw(const fs::path& path) {
        std::ifstream file(path, std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }

    fs::path folder_;
};

TEST_F(DurableFile, ReplacesWholeAndLeavesNothingBeside) {
    const fs::path path = folder_ / "state";
    ASSERT_TRUE(replace_file(path, bytes_of("a long first text")));
    ASSERT_TRUE(replace_file(path, bytes_of("short")));
    EXPECT_EQ(read_raw(path), "short");
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);
    struct stat status {};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(DurableFile, AHalfWrittenFileOfADeadWriterDoesNotHurt) {
    const fs::path path = folder_ / "state";
    ASSERT_TRUE(replace_file(path, bytes_of("old")));
    write_raw(folder_ / "state.tmp", "half of a much longer text that was ne");
    EXPECT_EQ(read_file(path, 100)->value().size(), 3u);
    ASSERT_TRUE(replace_file(path, bytes_of("new")));
    EXPECT_EQ(read_raw(path), "new");
    EXPECT_FALSE(fs::exists(folder_ / "state.tmp"));
}

TEST_F(DurableFile, AFailedReplacementKeepsTheOldContents) {
    const fs::path path = folder_ / "state";
    ASSERT_TRUE(replace_file(path, bytes_of("old")));
    fs::create_directory(folder_ / "state.tmp");
    EXPECT_FALSE(replace_file(path, bytes_of("new")));
    EXPECT_EQ(read_raw(path), "old");
    EXPECT_FALSE(replace_file(folder_ / "none" / "state", bytes_of("new")));
}

TEST_F(DurableFile, DoesNotWriteThroughALinkLaidInItsWay) {
    write_raw(folder_ / "victim", "untouched");
    fs::create_symlink(folder_ / "victim", folder_ / "state.tmp");
    EXPECT_FALSE(replace_file(folder_ / "state", bytes_of("new")));
    EXPECT_EQ(read_raw(folder_ / "victim"), "untouched");
}

TEST_F(DurableFile, ReadsUpToTheBoundAndNotPastIt) {
    const fs::path path = folder_ / "file";
    EXPECT_EQ(read_file(path, 10).value(), std::nullopt);
    write_raw(path, std::string(10'000, 'x'));
    EXPECT_EQ(read_file(path, 10'000)->value().size(), 10'000u);
    EXPECT_EQ(read_file(path, 9'999).error().code, Code::kInvalid);
    write_raw(path, "");
    EXPECT_TRUE(read_file(path, 0)->value().empty());
    EXPECT_FALSE(read_file(folder_, 10));
}

TEST_F(DurableFile, MakesFoldersForItsOwnerAlone) {
    const fs::path deep = folder_ / "a" / "b" / "c";
    ASSERT_TRUE(make_folder(deep));
    ASSERT_TRUE(make_folder(deep));
    ASSERT_TRUE(make_folder(deep.string() + "/"));
    for (const fs::path& path : {deep, deep.parent_path(), deep.parent_path().parent_path()}) {
        struct stat status {};
        ASSERT_EQ(::stat(path.c_str(), &status), 0);
        EXPECT_EQ(status.st_mode & 0777, 0700u) << path;
    }
    write_raw(folder_ / "file", "x");
    EXPECT_FALSE(make_folder(folder_ / "file"));
    EXPECT_FALSE(make_folder(folder_ / "file" / "below"));
}

TEST_F(DurableFile, ALockExcludesUntilItsHolderEnds) {
    const fs::path path = folder_ / "lock";
    {
        const auto held = lock_file(path, "the state folder");
        ASSERT_TRUE(held);
        const auto second = lock_file(path, "the state folder");
        ASSERT_FALSE(second);
        EXPECT_EQ(second.error().code, Code::kBusy);
        EXPECT_NE(second.error().context.find("the state folder"), std::string::npos);
    }
    EXPECT_TRUE(lock_file(path, "the state folder"));
}

TEST_F(DurableFile, WhoIsPatientTakesTheLockOfAHolderThatEnds) {
    const fs::path path = folder_ / "lock";
    auto held = lock_file(path, "the state folder");
    ASSERT_TRUE(held);
    EXPECT_EQ(lock_file(path, "the state folder", std::chrono::milliseconds(40)).error().code,
              Code::kBusy);
    std::thread ends([&held] {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        held->reset();
    });
    EXPECT_TRUE(lock_file(path, "the state folder", std::chrono::seconds(30)));
    ends.join();
}

TEST_F(DurableFile, ALockDiesWithTheProcessThatHeldIt) {
    const fs::path path = folder_ / "lock";
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        auto held = lock_file(path, "the state folder");
        const char answer = held ? 'y' : 'n';
        std::ignore = ::write(ready[1], &answer, 1);
        ::pause();
        ::_exit(0);
    }
    char answer = 0;
    ASSERT_EQ(::read(ready[0], &answer, 1), 1);
    EXPECT_EQ(answer, 'y');
    EXPECT_EQ(lock_file(path, "the state folder").error().code, Code::kBusy);
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    EXPECT_TRUE(lock_file(path, "the state folder"));
    ::close(ready[0]);
    ::close(ready[1]);
}

}  // namespace
}  // namespace towline
