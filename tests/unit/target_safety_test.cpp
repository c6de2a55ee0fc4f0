// SPDX-License-Identifier: Apache-2.0
#include "userspace/engine/target_safety.hpp"

#include <algorithm>
#include <csignal>
#include <sched.h>
#include <stdexcept>
#include <sys/mount.h>
#include <sys/prctl.h>

#include "tests/unit/storage_fixture.hpp"

namespace towline {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::LoopDevice;
using testing::make_file;
using testing::Mount;
using testing::run;
using testing::TemporaryFolder;

constexpr std::uint64_t kMiB = 1 << 20;

Volume must_open(const std::string& path) {
    auto volume = Volume::open(path, Access::kRead);
    if (!volume) throw std::runtime_error(volume.error().text());
    return std::move(*volume);
}

// Every refusal is one sentence: its cause, and after "; " what to do.
void expect_refused(const Status& status, const std::vector<std::string>& parts) {
    const Error error = error_of(status);
    EXPECT_EQ(error.code, Code::kRefused) << error.text();
    EXPECT_NE(error.context.find("; "), std::string::npos) << error.context;
    for (const std::string& part : parts)
        EXPECT_NE(error.context.find(part), std::string::npos) << part << " in: " << error.context;
}

void expect_allowed(const Status& status) {
    EXPECT_TRUE(status) << status.error().text();
}

bool make_ext4(const std::string& path) {
    return run("mkfs.ext4 -q -F " + path);
}

// A mount that only child processes see. With a cage, the first of them is in a chroot there and
// shows nothing of the mount; only the second does.
class HiddenMount {
  public:
    HiddenMount(const std::string& device, const std::string& at, const std::string& cage = "") {
        fs::create_directories(at);
        int ready[2];
        if (::pipe2(ready, O_CLOEXEC) != 0) return;
        const Fd from(ready[0]);
        Fd to(ready[1]);
        child_ = ::fork();
        if (child_ == 0) {
            // One group, so that all of it ends with this object, or with the test program.
            ::setpgid(0, 0);
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            const bool done = ::unshare(CLONE_NEWNS) == 0 &&
                              ::mount("", "/", "", MS_REC | MS_PRIVATE, "") == 0 &&
                              ::mount(device.c_str(), at.c_str(), "ext4", 0, "") == 0 &&
                              (cage.empty() || enter(cage));
            if (!done || ::write(to.get(), "y", 1) != 1) ::_exit(1);
            for (;;)
                ::pause();
        }
        to.reset();
        char answer = 0;
        mounted_ = ::read(from.get(), &answer, 1) == 1;
    }
    HiddenMount(const HiddenMount&) = delete;
    HiddenMount& operator=(const HiddenMount&) = delete;
    ~HiddenMount() {
        if (child_ <= 0) return;
        ::kill(mounted_ ? -child_ : child_, SIGKILL);
        ::waitpid(child_, nullptr, 0);
    }
    bool mounted() const { return mounted_; }
    pid_t process() const { return child_; }

  private:
    static bool enter(const std::string& cage) {
        const pid_t second = ::fork();
        if (second == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;)
                ::pause();
        }
        return second > 0 && ::chroot(cage.c_str()) == 0;
    }

    pid_t child_ = -1;
    bool mounted_ = false;
};

class Swap {
  public:
    explicit Swap(std::string path) : path_(std::move(path)) {
        on_ = run("mkswap " + path_) && run("swapon " + path_);
    }
    Swap(const Swap&) = delete;
    Swap& operator=(const Swap&) = delete;
    ~Swap() {
        if (on_) run("swapoff " + path_);
    }
    bool on() const { return on_; }

  private:
    std::string path_;
    bool on_ = false;
};

TEST(TargetSafety, FreeImagesAreAllowed) {
    const TemporaryFolder folder;
    const Volume source = must_open(make_file(folder / "source", kMiB));
    const Volume target = must_open(make_file(folder / "target", kMiB));
    expect_allowed(refuse_if_in_use(target));
    expect_allowed(refuse_if_same(source, target));
}

TEST(TargetSafety, TheSourceByAnotherNameIsRefused) {
    const TemporaryFolder folder;
    const Volume source = must_open(make_file(folder / "source", kMiB));
    fs::create_symlink("source", folder / "symlink");
    fs::create_hard_link(folder / "source", folder / "hardlink");
    for (const char* name : {"source", "symlink", "hardlink"})
        expect_refused(refuse_if_same(source, must_open(folder / name)), {"the source", name});
}

TEST(TargetSafety, LoopDevicesOverTheSourceAreRefused) {
    NEEDS_LOOP_DEVICES();
    const TemporaryFolder folder;
    const Volume source = must_open(make_file(folder / "source", 4 * kMiB));
    const LoopDevice loop(folder / "source");
    const LoopDevice over_loop(loop.path());
    for (const LoopDevice* device : {&loop, &over_loop}) {
        const Volume target = must_open(device->path());
        expect_refused(refuse_if_same(source, target), {device->path()});
        expect_refused(refuse_if_same(target, source), {device->path()});
    }
    // Renamed or deleted since, its name in sysfs leads elsewhere: the numbers do not.
    make_file(folder / "other", kMiB);
    fs::rename(folder / "other", folder / "source");
    expect_refused(refuse_if_same(source, must_open(over_loop.path())), {"the source"});
    expect_allowed(refuse_if_same(must_open(folder / "source"), must_open(over_loop.path())));
}

TEST(TargetSafety, TwoPiecesOfOneFileAreApartUnlessTheyOverlap) {
    NEEDS_LOOP_DEVICES();
    const TemporaryFolder folder;
    const std::string file = make_file(folder / "image", 4 * kMiB);
    const LoopDevice first(file, "--sizelimit 1048576");
    const LoopDevice second(file, "--offset 1048576");
    const LoopDevice across(file, "--offset 524288 --sizelimit 1048576");
    const Volume source = must_open(first.path());
    expect_allowed(refuse_if_same(source, must_open(second.path())));
    expect_refused(refuse_if_same(source, must_open(across.path())), {"the source"});
    expect_refused(refuse_if_same(must_open(second.path()), must_open(across.path())), {});
}

TEST(TargetSafety, AMountedDeviceIsRefusedByEachName) {
    NEEDS_LOOP_DEVICES();
    const TemporaryFolder folder;
    const LoopDevice loop(make_file(folder / "image", 16 * kMiB));
    expect_allowed(refuse_if_in_use(must_open(loop.path())));
    if (!make_ext4(loop.path())) GTEST_SKIP() << "needs mkfs.ext4";
    Mount mount(loop.path(), folder / "mounted");
    ASSERT_TRUE(mount.mounted());
    fs::create_symlink(loop.path(), folder / "link");
    for (const std::string& name : {loop.path(), folder / "link"})
        expect_refused(refuse_if_in_use(must_open(name)),
                       {name + " is mounted at " + folder.path() + "/mounted; ", "umount"});
    mount.release();
    expect_allowed(refuse_if_in_use(must_open(loop.path())));
}

TEST(TargetSafety, AnImageBehindALoopDeviceIsRefusedAsLongAsItIs) {
    NEEDS_LOOP_DEVICES();
    const TemporaryFolder folder;
    const std::string file = make_file(folder / "image", 16 * kMiB);
    if (!make_ext4(file)) GTEST_SKIP() << "needs mkfs.ext4";
    const Volume target = must_open(file);
    LoopDevice loop(file);
    expect_refused(refuse_if_in_use(target),
                   {"behind the loop device " + loop.path(), "losetup -d " + loop.path()});
    {
        const Mount mount(loop.path(), folder / "mounted");
        ASSERT_TRUE(mount.mounted());
        expect_refused(refuse_if_in_use(target), {loop.path(), folder / "mounted", "umount"});
    }
    fs::create_hard_link(file, folder / "hardlink");
    fs::rename(file, folder / "renamed");
    expect_refused(refuse_if_in_use(must_open(folder / "hardlink")), {loop.path()});
    fs::remove(folder / "renamed");
    fs::remove(folder / "hardlink");
    expect_refused(refuse_if_in_use(target), {loop.path()});
    loop.detach();
    expect_allowed(refuse_if_in_use(target));
}

TEST(TargetSafety, ADeviceOrFileWithTwoLoopsIsRefused) {
    NEEDS_LOOP_DEVICES();
    const TemporaryFolder folder;
    const std::string file = make_file(folder / "image", kMiB);
    const LoopDevice first(file);
    const Volume target = must_open(first.path());
    expect_allowed(refuse_if_in_use(target));
    {
        const LoopDevice second(file);
        expect_refused(refuse_if_in_use(target), {second.path(), file});
    }
    const LoopDevice over(first.path());
    expect_refused(refuse_if_in_use(target), {over.path()});
    expect_allowed(refuse_if_in_use(must_open(over.path())));
}

TEST(TargetSafety, DisksAndTheirPartitions) {
    NEEDS_LOOP_DEVICES();
    const TemporaryFolder folder;
    const std::string file = make_file(folder / "image", 32 * kMiB);
    if (!run("printf 'label: gpt\\nsize=12MiB\\nsize=12MiB\\n' | sfdisk " + file))
        GTEST_SKIP() << "needs sfdisk (package fdisk)";
    const LoopDevice loop(file, "--partscan");
    ASSERT_TRUE(loop.show_partitions());
    const Volume disk = must_open(loop.path());
    const Volume one = must_open(loop.path() + "p1");
    const Volume two = must_open(loop.path() + "p2");
    for (const Volume* partition : {&one, &two}) {
        expect_refused(refuse_if_same(disk, *partition), {partition->name()});
        expect_refused(refuse_if_same(*partition, disk), {partition->name()});
        expect_refused(refuse_if_same(*partition, must_open(file)), {file});
    }
    expect_allowed(refuse_if_same(one, two));
    expect_allowed(refuse_if_in_use(disk));

    if (!make_ext4(one.name())) GTEST_SKIP() << "needs mkfs.ext4";
    const Mount mount(one.name(), folder / "mounted");
    ASSERT_TRUE(mount.mounted());
    expect_refused(refuse_if_in_use(disk), {one.name(), "mounted at", disk.name()});
    expect_refused(refuse_if_in_use(one), {one.name() + " is mounted at"});
    expect_allowed(refuse_if_in_use(two));
    expect_refused(refuse_if_in_use(must_open(file)), {loop.path(), "mounted at", "losetup -d"});
}

TEST(TargetSafety, MountsOfOtherNamespacesCount) {
    NEEDS_LOOP_DEVICES();
    const TemporaryFolder folder;
    const std::string file = make_file(folder / "image", 16 * kMiB);
    const LoopDevice loop(file);
    if (!make_ext4(loop.path())) GTEST_SKIP() << "needs mkfs.ext4";
    const HiddenMount mount(loop.path(), folder / "mounted");
    if (!mount.mounted()) GTEST_SKIP() << "mount namespaces are not permitted here";
    expect_refused(refuse_if_in_use(must_open(loop.path())),
                   {"mounted at", std::to_string(mount.process()), "nsenter"});
    expect_refused(refuse_if_in_use(must_open(file)), {loop.path(), "mounted at"});
}

// The mountinfo of a process in a chroot hides all that lies outside of it.
TEST(TargetSafety, AChrootInANamespaceHidesNoMount) {
    NEEDS_LOOP_DEVICES();
    const TemporaryFolder folder;
    const LoopDevice loop(make_file(folder / "image", 16 * kMiB));
    if (!make_ext4(loop.path())) GTEST_SKIP() << "needs mkfs.ext4";
    fs::create_directory(folder / "cage");
    const HiddenMount caged(loop.path(), folder / "mounted", folder / "cage");
    if (!caged.mounted()) GTEST_SKIP() << "mount namespaces are not permitted here";
    expect_refused(refuse_if_in_use(must_open(loop.path())), {"mounted at"});
}

TEST(TargetSafety, SwapIsRefused) {
    NEEDS_LOOP_DEVICES();
    const TemporaryFolder folder;
    const LoopDevice loop(make_file(folder / "image", 8 * kMiB));
    const Swap device(loop.path());
    if (!device.on()) GTEST_SKIP() << "swapon is not permitted here";
    expect_refused(refuse_if_in_use(must_open(loop.path())), {"swap", "swapoff " + loop.path()});

    const std::string file = folder / "swap file";
    ASSERT_TRUE(run("dd if=/dev/zero bs=1M count=4 of='" + file + "'"));
    const Swap of_file("'" + file + "'");
    if (!of_file.on()) GTEST_SKIP() << "swapon of a file is not permitted here";
    expect_refused(refuse_if_in_use(must_open(file)), {"swap", "swapoff " + file});
}

class OnFilesystem : public ::testing::TestWithParam<const char*> {};

TEST_P(OnFilesystem, ATargetStoredOnTheSourceIsRefused) {
    NEEDS_LOOP_DEVICES();
    const TemporaryFolder folder;
    const std::string file = make_file(folder / "image", 512 * kMiB);
    const LoopDevice loop(file);
    if (!run(std::string(GetParam()) + " " + loop.path())) GTEST_SKIP() << "needs " << GetParam();
    const Mount mount(loop.path(), folder / "mounted");
    if (!mount.mounted()) GTEST_SKIP() << "the kernel does not mount it: " << GetParam();
    const Volume device = must_open(loop.path());
    const Volume image = must_open(file);
    const Volume inside = must_open(make_file(mount / "inside", 64 * kMiB));

    expect_refused(refuse_if_in_use(device), {loop.path() + " is mounted at"});
    expect_refused(refuse_if_same(device, inside), {"stored on a filesystem of the source"});
    expect_refused(refuse_if_same(image, inside), {"stored on a filesystem of the source"});
    expect_refused(refuse_if_same(inside, device), {"stored on a filesystem of the target"});
    expect_allowed(refuse_if_same(inside, must_open(make_file(mount / "beside", kMiB))));
    expect_allowed(refuse_if_same(inside, must_open(make_file(folder / "outside", kMiB))));

    // A loop device over a file in there ends on the source as well, two floors down.
    const LoopDevice nested(mount / "inside");
    const Volume deep = must_open(nested.path());
    expect_refused(refuse_if_same(device, deep), {"stored on a filesystem of the source"});
    expect_refused(refuse_if_same(inside, deep), {"the source"});
    expect_refused(refuse_if_in_use(inside), {nested.path()});
    if (!make_ext4(nested.path())) return;
    const Mount within(nested.path(), folder / "within");
    ASSERT_TRUE(within.mounted());
    const Volume deepest = must_open(make_file(within / "deepest", kMiB));
    expect_refused(refuse_if_same(image, deepest), {"stored on a filesystem of the source"});
}

INSTANTIATE_TEST_SUITE_P(Kinds, OnFilesystem,
                         ::testing::Values("mkfs.ext4 -q -F", "mkfs.xfs -q -f",
                                           "mkfs.btrfs -q -f"));

TEST(TargetSafety, EachDeviceOfAMountedBtrfsIsInUse) {
    NEEDS_LOOP_DEVICES();
    const TemporaryFolder folder;
    const LoopDevice one(make_file(folder / "one", 256 * kMiB));
    const LoopDevice two(make_file(folder / "two", 256 * kMiB));
    if (!run("mkfs.btrfs -q -f -d raid1 -m raid1 " + one.path() + " " + two.path()))
        GTEST_SKIP() << "needs mkfs.btrfs";
    const Mount mount(one.path(), folder / "mounted", "-o device=" + two.path());
    if (!mount.mounted()) GTEST_SKIP() << "the kernel does not mount btrfs";
    for (const LoopDevice* device : {&one, &two})
        expect_refused(refuse_if_in_use(must_open(device->path())), {device->path(), "mounted at"});
    const Volume inside = must_open(make_file(mount / "inside", kMiB));
    expect_refused(refuse_if_same(must_open(two.path()), inside), {"of the source"});
}

}  // namespace
}  // namespace towline
