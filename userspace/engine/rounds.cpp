// SPDX-License-Identifier: Apache-2.0
// Each round is a whole run of its own: sealed, and with the next one's changes noted. So a death
// between two rounds leaves a replica of no moment (fuzzy), which the next run brings up to date.

#include "userspace/engine/rounds.hpp"

#include <string>

#include "userspace/engine/convergence.hpp"

namespace towline {

namespace {

std::string mebibytes(double bytes) {
    return std::to_string(static_cast<std::uint64_t>(bytes / (1 << 20))) + " MiB";
}

std::string tenths(Duration span) {
    const auto count = std::chrono::ceil<std::chrono::milliseconds>(span).count() / 100;
    return std::to_string(count / 10) + "." + std::to_string(count % 10) + " s";
}

Error not_converging(const Convergence& convergence, Duration freeze_max) {
    return {Code::kRefused, 0,
            "not converging: " + mebibytes(convergence.dirty_bytes_per_second()) +
                "/s of the source are written while " +
                mebibytes(convergence.copied_bytes_per_second()) +
                "/s are copied; what is left after " + std::to_string(convergence.rounds()) +
                " rounds (" + mebibytes(convergence.bytes_left()) + ") would stop it for about " +
                tenths(convergence.expected_freeze()) + " of the " + tenths(freeze_max) +
                " that a freeze may last; run when less is written, allow more (--freeze-max), or "
                "have a snapshot made"};
}

void add(RunReport& sum, const RunReport& round) {
    sum.bytes_changed += round.bytes_changed;
    sum.bytes_zero += round.bytes_zero;
    sum.bytes_read += round.bytes_read;
    sum.bytes_sent += round.bytes_sent;
    sum.bytes_received += round.bytes_received;
    sum.elapsed += round.elapsed;
    sum.cpu_source += round.cpu_source;
    sum.cpu_target += round.cpu_target;
}

SyncOptions live_round(const SyncOptions& options) {
    SyncOptions round = options;
    round.moment.snapshot = MomentWish::Snapshot::kNone;
    // What they stop must not stand still for all that time.
    round.hooks_folder.clear();
    // A block that differs proves nothing while it can be written to.
    round.audit_blocks = 0;
    return round;
}

// What was asked for is done by the first one; the others bring what changed since.
void make_further(SyncOptions& round) {
    round.kind = RunRequest::Kind::kAuto;
    round.resume = false;
    round.overwrite = false;
}

}  // namespace

Result<RunReport> run_in_rounds(
    const SyncOptions& options,
    const std::function<Result<RunReport>(const SyncOptions&)>& run_round) {
    Convergence convergence(options.freeze_max);
    SyncOptions round = live_round(options);
    RunReport sum;
    auto next = Convergence::Next::kLive;
    while (next == Convergence::Next::kLive) {
        RunReport done = TRY(run_round(round));
        next = convergence.after({.bytes = done.bytes_changed,
                                  .elapsed = done.elapsed,
                                  .listed = done.mode == RunMode::kExtents});
        if (convergence.rounds() == 1)
            sum = std::move(done);
        else
            add(sum, done);
        make_further(round);
    }
    if (next == Convergence::Next::kGiveUp)
        return std::unexpected(not_converging(convergence, options.freeze_max));
    round.hooks_folder = options.hooks_folder;
    round.audit_blocks = options.audit_blocks;
    round.moment.snapshot = MomentWish::Snapshot::kFrozen;
    RunReport last = TRY(run_round(round));
    add(last, sum);
    last.mode = sum.mode;
    last.cause = sum.cause;
    last.resumed = sum.resumed;
    last.rounds = convergence.rounds() + 1;
    last.dirty_bytes_per_second = convergence.dirty_bytes_per_second();
    return last;
}

}  // namespace towline
