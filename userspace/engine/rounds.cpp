// SPDX-License-Identifier: Apache-2.0
// Each round is a whole run of its own: sealed, and with the next one's changes noted. So a death
// between two rounds leaves a replica of no moment (fuzzy), which the next run brings up to date.
// Only a last round that took longer than its freeze is not sealed: the next one begins with that.

#include "userspace/engine/rounds.hpp"

#include <string>

#include "userspace/engine/convergence.hpp"

namespace towline {

namespace {

// Of last rounds that became one more live one.
constexpr unsigned kRetreatsMax = 5;

std::string mebibytes(double bytes) {
    return std::to_string(static_cast<std::uint64_t>(bytes / (1 << 20))) + " MiB";
}

std::string tenths(Duration span) {
    const auto count = std::chrono::ceil<std::chrono::milliseconds>(span).count() / 100;
    return std::to_string(count / 10) + "." + std::to_string(count % 10) + " s";
}

Error not_converging(const Convergence& convergence, Duration freeze_max) {
    const unsigned count = convergence.overruns();
    const std::string times = count == 1 ? "once" : std::to_string(count) + " times";
    const std::string overruns =
        count == 0 ? ""
                   : " (it was stopped " + times + ", and went on before all of that was read)";
    return {Code::kRefused, 0,
            "not converging: " + mebibytes(convergence.dirty_bytes_per_second()) +
                "/s of the source are written while " +
                mebibytes(convergence.copied_bytes_per_second()) +
                "/s are copied; what is left after " + std::to_string(convergence.rounds()) +
                " rounds (" + mebibytes(convergence.bytes_left()) + ") would stop it for about " +
                tenths(convergence.expected_freeze()) + " of the " + tenths(freeze_max) +
                " that a freeze may last" + overruns +
                "; run when less is written, allow more (--freeze-max), or "
                "have a snapshot made"};
}

Error no_word() {
    return {
        Code::kRefused, 0,
        "the tracker missed something each time that the source was to stand still for the last "
        "round; run again, or have a snapshot made (docs/bpf.md says what it may miss)"};
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
    round.audit_period = Duration::zero();
    return round;
}

// What was asked for is done by the first one; the others bring what changed since.
void make_further(SyncOptions& round) {
    round.kind = RunRequest::Kind::kAuto;
    round.resume = false;
    round.overwrite = false;
}

// `live`: of this round, were it one.
SyncOptions frozen_round(const SyncOptions& live, const SyncOptions& options) {
    SyncOptions round = live;
    round.hooks_folder = options.hooks_folder;
    // The source stands still meanwhile: no more than a sample's worth, of either kind.
    round.audit_blocks = options.audit_blocks;
    round.audit_period = options.audit_period;
    round.audit_part_max = options.audit_blocks;
    round.moment.snapshot = MomentWish::Snapshot::kFrozen;
    return round;
}

RunReport whole(RunReport last, const RunReport& sum, const Convergence& convergence) {
    add(last, sum);
    last.mode = sum.mode;
    last.cause = sum.cause;
    last.resumed = sum.resumed;
    last.rounds = convergence.rounds() + 1;
    last.dirty_bytes_per_second = convergence.dirty_bytes_per_second();
    return last;
}

}  // namespace

Result<RunReport> run_in_rounds(
    const SyncOptions& options,
    const std::function<Result<RunReport>(const SyncOptions&)>& run_round) {
    Convergence convergence(options.freeze_max);
    SyncOptions live = live_round(options);
    RunReport sum;
    unsigned retreats = 0;
    auto next = Convergence::Next::kLive;
    while (true) {
        const bool frozen = next == Convergence::Next::kFrozen;
        RunReport done = TRY(run_round(frozen ? frozen_round(live, options) : live));
        const bool overran = done.moment.overran;
        const bool last = frozen && !overran && !done.moment.retreated;
        if (last) return whole(std::move(done), sum, convergence);
        if (done.moment.retreated && ++retreats == kRetreatsMax) return std::unexpected(no_word());
        const Convergence::Round round = {.bytes = done.bytes_changed,
                                          .elapsed = done.elapsed,
                                          .listed = done.mode == RunMode::kExtents};
        next = overran ? convergence.overran(round) : convergence.after(round);
        if (next == Convergence::Next::kGiveUp)
            return std::unexpected(not_converging(convergence, options.freeze_max));
        if (convergence.rounds() == 1)
            sum = std::move(done);
        else
            add(sum, done);
        make_further(live);
    }
}

}  // namespace towline
