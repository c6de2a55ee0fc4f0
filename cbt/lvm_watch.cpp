// SPDX-License-Identifier: Apache-2.0
// A thick snapshot that is full is dropped by the kernel, and its origin goes on. A thin one shares
// its pool with its origin: when that is full, writes of the origin wait, and then fail. So it is
// given up before: an error takes its place, which ends the run that reads it, and the pool drops
// what it held. That does not wait for the run: it may be at rest in a slow link, and need not
// notice before the minute (`no_space_timeout`) is over for which a pool that filled up within one
// look holds writes back. LVM keeps the name until the run removes it, and expects that the pool
// has no such device any more.

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
        give_up();
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

void LvmWatch::give_up() const {
    const auto wiped =
        run_program({"dmsetup", "wipe_table", "--force", subject_.path}, kProgramTime);
    // Its name may be gone by now, which is as good; and then the number may be another's.
    if (!wiped || wiped->exit_code != 0) return;
    static_cast<void>(run_program(
        {"dmsetup", "message", subject_.pool_path, "0", "delete", std::to_string(subject_.thin_id)},
        kProgramTime));
}

}  // namespace towline
