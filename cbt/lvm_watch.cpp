// SPDX-License-Identifier: Apache-2.0
// A thick snapshot that is full is dropped by the kernel, and its origin goes on. A thin one shares
// its pool with its origin: when that is full, writes of the origin wait, and then fail. So it is
// given up before: an error takes its place, which ends the run that reads it, and the run removes
// it, which gives its room back. Should the pool fill up within one look, it holds its writes back
// for a minute (`no_space_timeout`), and goes on when the image is gone.

#include "cbt/lvm_watch.hpp"

#include "io/program.hpp"

namespace towline {

namespace {

constexpr Duration kLookEvery = std::chrono::milliseconds(500);
constexpr Duration kProgramTime = std::chrono::minutes(5);
constexpr double kThickShareMax = 0.70;
constexpr unsigned kUnseenMax = 5;  // looks at a pool in a row that told nothing

}  // namespace

Result<std::optional<SnapshotRoom>> lvm_room(const std::string& path) {
    const ProgramEnd end = TRY(run_program({"dmsetup", "status", path}, kProgramTime));
    if (end.exit_code != 0) return fail(Code::kIo, "no status of " + path + ": " + end.complaint);
    return parse_snapshot_room(end.output);
}

LvmWatch::LvmWatch(Subject subject)
    : subject_(std::move(subject)), grows_(subject_.step_bytes > 0), thread_([this] { watch(); }) {}

LvmWatch::~LvmWatch() {
    {
        const std::lock_guard lock(mutex_);
        end_ = true;
    }
    ended_.notify_one();
    thread_.join();
}

void LvmWatch::watch() {
    std::unique_lock lock(mutex_);
    while (!ended_.wait_for(lock, kLookEvery, [this] { return end_; })) {
        lock.unlock();
        const bool more = look();
        lock.lock();
        if (!more) return;
    }
}

bool LvmWatch::look() {
    const bool thick = subject_.pool_path.empty();
    if (thick && !grows_) return false;
    const auto room = lvm_room(thick ? subject_.path : subject_.pool_path);
    const bool known = room && *room;
    unseen_ = known ? 0 : unseen_ + 1;
    if (!known && (thick || unseen_ < kUnseenMax)) return true;
    if (!thick) {
        // A pool that cannot be looked after is taken for a full one.
        if (known && !(*room)->lost && (*room)->share() < kPoolShareMax) return true;
        // Its name may be gone by now, which is as good.
        static_cast<void>(
            run_program({"dmsetup", "wipe_table", "--force", subject_.path}, kProgramTime));
        return false;
    }
    if ((*room)->lost) return false;
    if ((*room)->share() < kThickShareMax) return true;
    const auto grown = run_program({"lvextend", "--quiet", "--size",
                                    "+" + std::to_string(subject_.step_bytes) + "b", subject_.name},
                                   kProgramTime);
    // The group has no more: the kernel drops the image when it is full.
    grows_ = grown && grown->exit_code == 0;
    return true;
}

}  // namespace towline
