// SPDX-License-Identifier: Apache-2.0
// Trackers and snapshots are chosen in the order in which they were found. Whatever better one is
// passed over is named with its reason: a user who does not know what is lost can't get it back.

#include "userspace/engine/moment_choice.hpp"

#include <algorithm>

namespace towline {

namespace {

constexpr SnapshotKind kSnapshotKinds[] = {SnapshotKind::kKmod, SnapshotKind::kFuse,
                                           SnapshotKind::kLvm};

std::string_view cost_of_none() {
    return "without a tracker every run reads the whole volume on both sides";
}

std::string_view cost_of(TrackerKind kind) {
    switch (kind) {
        case TrackerKind::kKmod:
        case TrackerKind::kFuse:
            return {};
        case TrackerKind::kBpf:
            return "bpf makes no snapshots: a live source is read from LVM's, or frozen for the "
                   "last "
                   "round of a run; and a restart of this host costs a comparison";
    }
    return {};
}

void note(std::string& notes, std::string_view text) {
    if (text.empty()) return;
    if (!notes.empty()) notes += "; ";
    notes += text;
}

std::string why_not(const TrackerFinding& finding) {
    const std::string name(tracker_kind_name(finding.kind));
    if (!finding.why_not.empty()) return name + ": " + finding.why_not;
    return name + ": not attached (towline track attach, or --tracker " + name + ")";
}

void choose_attached(const MomentFindings& findings, MomentChoice& choice) {
    for (const TrackerFinding& finding : findings.trackers) {
        if (finding.attached) {
            choice.tracker = finding.kind;
            return note(choice.notes, choice.notes.empty() ? "" : cost_of(finding.kind));
        }
        note(choice.notes, why_not(finding));
    }
    note(choice.notes, cost_of_none());
}

Status choose_named(TrackerKind kind, const MomentFindings& findings, MomentChoice& choice) {
    const auto found =
        std::ranges::find(findings.trackers, kind, [](const auto& each) { return each.kind; });
    const std::string name(tracker_kind_name(kind));
    if (found == findings.trackers.end())
        return fail(Code::kUnsupported, "this host has no " + name + " tracker");
    if (!found->attached && !found->why_not.empty())
        return fail(Code::kUnsupported, "--tracker " + name + ": " + found->why_not);
    choice.tracker = kind;
    choice.attach = !found->attached;
    return {};
}

// The one that was meant, or the best; false: none can be had, and why.
bool choose_image(const MomentWish& wish, const MomentFindings& findings, MomentChoice& choice,
                  std::string& reasons) {
    const bool any = wish.snapshot == MomentWish::Snapshot::kAuto;
    for (const SnapshotFinding& finding : findings.snapshots) {
        const bool meant = any || (wish.snapshot == MomentWish::Snapshot::kNamed &&
                                   wish.snapshot_kind == finding.kind);
        if (!meant) continue;
        if (finding.why_not.empty()) {
            choice.snapshot = finding.kind;
            return true;
        }
        note(reasons, std::string(snapshot_kind_name(finding.kind)) + ": " + finding.why_not);
    }
    return false;
}

bool choose_rounds(const MomentFindings& findings, MomentChoice& choice, std::string& reasons) {
    const std::string why = choice.tracker ? findings.why_no_rounds : "nothing tracks the source";
    choice.converge = why.empty();
    if (!choice.converge) note(reasons, "converge: " + why);
    return choice.converge;
}

Status choose_snapshot(const MomentWish& wish, const MomentFindings& findings,
                       MomentChoice& choice) {
    using Wish = MomentWish::Snapshot;
    if (wish.snapshot == Wish::kNone || wish.snapshot == Wish::kFrozen) return {};
    if (wish.snapshot != Wish::kNamed && !findings.live) return {};
    std::string reasons;
    if (wish.snapshot != Wish::kConverge && choose_image(wish, findings, choice, reasons))
        return {};
    if (wish.snapshot != Wish::kNamed && choose_rounds(findings, choice, reasons)) return {};
    if (!reasons.empty()) reasons = " (" + reasons + ")";
    if (wish.snapshot != Wish::kAuto) {
        const std::string name(
            wish.snapshot == Wish::kConverge ? "converge" : snapshot_kind_name(wish.snapshot_kind));
        return fail(Code::kUnsupported, "--snapshot " + name + " cannot be had" + reasons);
    }
    return fail(Code::kRefused, "the source is " + *findings.live +
                                    ", and what is read while it changes is no moment; have a "
                                    "snapshot made" +
                                    reasons + ", or say --snapshot none to take a fuzzy copy");
}

}  // namespace

std::optional<MomentWish> moment_wish(std::string_view tracker, std::string_view snapshot) {
    MomentWish wish;
    if (tracker == "scan") {
        wish.tracker = MomentWish::Tracker::kScan;
    } else if (tracker != "auto") {
        const auto kind = tracker_kind_of(tracker);
        if (!kind) return std::nullopt;
        wish.tracker = MomentWish::Tracker::kNamed;
        wish.tracker_kind = *kind;
    }
    if (snapshot == "none") {
        wish.snapshot = MomentWish::Snapshot::kNone;
    } else if (snapshot == "converge") {
        wish.snapshot = MomentWish::Snapshot::kConverge;
    } else if (snapshot != "auto") {
        const auto kind = std::ranges::find(kSnapshotKinds, snapshot, snapshot_kind_name);
        if (kind == std::end(kSnapshotKinds)) return std::nullopt;
        wish.snapshot = MomentWish::Snapshot::kNamed;
        wish.snapshot_kind = *kind;
    }
    return wish;
}

Result<MomentChoice> choose_moment(const MomentWish& wish, const MomentFindings& findings) {
    MomentChoice choice;
    switch (wish.tracker) {
        case MomentWish::Tracker::kAuto:
            choose_attached(findings, choice);
            break;
        case MomentWish::Tracker::kNamed:
            TRY_STATUS(choose_named(wish.tracker_kind, findings, choice));
            break;
        case MomentWish::Tracker::kScan:
            break;
    }
    TRY_STATUS(choose_snapshot(wish, findings, choice));
    return choice;
}

}  // namespace towline
