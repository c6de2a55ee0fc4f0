// SPDX-License-Identifier: Apache-2.0
// What there is on this host for the volumes of a run, looked for before anything is changed. One
// kind of tracker and one of snapshot serves all of them or none does (rule 17), and where a better
// one is not to be had, the volume that it is for is named.

#include <algorithm>
#include <sys/stat.h>

#include "userspace/engine/live_moment.hpp"
#include "userspace/engine/live_use.hpp"

namespace towline {

namespace {

constexpr TrackerKind kTrackerKinds[] = {TrackerKind::kKmod, TrackerKind::kFuse, TrackerKind::kBpf};

}  // namespace

Result<std::unique_ptr<LiveMoment>> LiveMoment::look(Volumes sources, LiveMomentOptions options) {
    std::unique_ptr<LiveMoment> moment(new LiveMoment);
    moment->options_ = std::move(options);
    for (std::size_t place = 0; place < sources.size(); ++place) {
        Subject& subject = moment->subjects_.emplace_back();
        if (moment->options_.sources.size() <= place) continue;
        subject.path = moment->options_.sources[place].path;
        subject.memory_folder = moment->options_.sources[place].memory_folder;
    }
    MomentWish& wish = moment->options_.wish;
    // What is not read needs no image; and what a dry run compares is not kept.
    if (moment->options_.dry_run) wish.snapshot = MomentWish::Snapshot::kNone;
    MomentFindings findings;
    for (const Volume* source : sources) {
        if (!findings.live) findings.live = TRY(live_use(*source));
    }
    moment->live_ = findings.live.has_value();
    // What can't be used is not looked for: a run is short.
    const bool plain = wish.tracker == MomentWish::Tracker::kScan && !findings.live &&
                       wish.snapshot != MomentWish::Snapshot::kNamed;
    if (!plain) moment->find_trackers(sources, findings);
    moment->find_snapshots(sources, findings);
    if (findings.live) findings.why_no_rounds = moment->why_no_rounds(sources);
    moment->choice_ = TRY(choose_moment(wish, findings));
    return moment;
}

Result<std::unique_ptr<LiveMoment>> LiveMoment::choose(Volumes sources, LiveMomentOptions options) {
    auto moment = TRY(look(sources, std::move(options)));
    TRY_STATUS(moment->use(sources));
    return moment;
}

Result<MomentChoice> LiveMoment::foresee(Volumes sources, LiveMomentOptions options) {
    const auto moment = TRY(look(sources, std::move(options)));
    return moment->choice_;
}

TrackerFinding LiveMoment::judge(Tracker& tracker, Volumes sources) const {
    TrackerFinding finding{.kind = tracker.kind(), .attached = true};
    for (const Volume* source : sources) {
        const auto found = tracker.find(*source);
        if (found && *found && !(*found)->gone) continue;
        finding.attached = false;
        std::string why;
        if (!found)
            why = found.error().text();
        else if (const Status usable = tracker.usable_for(*source); !usable)
            why = usable.error().context;
        if (why.empty() || !finding.why_not.empty()) continue;
        finding.why_not = several() ? source->name() + ": " + why : why;
    }
    return finding;
}

void LiveMoment::find_trackers(Volumes sources, MomentFindings& findings) {
    for (const TrackerKind kind : kTrackerKinds) {
        auto tracker = open_tracker(kind, options_.places);
        if (!tracker) {
            findings.trackers.push_back({.kind = kind, .why_not = tracker.error().context});
            continue;
        }
        findings.trackers.push_back(judge(**tracker, sources));
        trackers_.push_back(std::move(*tracker));
    }
}

void LiveMoment::find_snapshots(Volumes sources, MomentFindings& findings) {
    for (const auto& tracker : trackers_) {
        SnapshotProvider* provider = tracker->snapshots();
        if (provider == nullptr) continue;
        SnapshotFinding finding{.kind = provider->kind(), .why_not = {}};
        for (const Volume* source : sources) {
            const Status usable = provider->usable_for(*source);
            // One that is to be attached first can't make any yet, and will be able to.
            const bool later = options_.wish.tracker == MomentWish::Tracker::kNamed &&
                               options_.wish.tracker_kind == tracker->kind() &&
                               tracker->usable_for(*source).has_value();
            if (usable || later || !finding.why_not.empty()) continue;
            finding.why_not =
                several() ? source->name() + ": " + usable.error().context : usable.error().context;
        }
        findings.snapshots.push_back(std::move(finding));
    }
    find_lvm(sources, findings);
}

void LiveMoment::find_lvm(Volumes sources, MomentFindings& findings) {
    const MomentWish& wish = options_.wish;
    const bool named = wish.snapshot == MomentWish::Snapshot::kNamed;
    if (named ? wish.snapshot_kind != SnapshotKind::kLvm : !findings.live) return;
    SnapshotFinding finding{.kind = SnapshotKind::kLvm, .why_not = {}};
    auto provider = open_snapshots(finding.kind, options_.places);
    if (!provider) return;
    if (several())
        finding.why_not = "it makes no images of several volumes at one moment";
    else if (const Status usable = (*provider)->usable_for(*sources.front()); !usable)
        finding.why_not = usable.error().context;
    else if (!named)
        finding.why_not = (*provider)->only_by_name(*sources.front());
    providers_.push_back(std::move(*provider));
    findings.snapshots.push_back(std::move(finding));
}

// A run of rounds ends with the source frozen while it is read, and its own notes are written.
std::string LiveMoment::why_no_rounds(Volumes sources) const {
    if (!options_.why_no_rounds.empty()) return options_.why_no_rounds;
    for (std::size_t place = 0; place < sources.size(); ++place) {
        std::string why = why_no_rounds(*sources[place], subjects_[place]);
        if (!why.empty()) return why;
    }
    return {};
}

std::string LiveMoment::why_no_rounds(const Volume& source, const Subject& subject) const {
    if (!options_.freeze) return "it freezes the source's filesystems (--no-freeze)";
    if (source.kind() != VolumeKind::kBlockDevice)
        return "the filesystems on an image file cannot be frozen from here";
    const auto mounts = mounts_on_device(source.status().st_rdev);
    if (mounts.empty()) return "no filesystem of the source is mounted here, to be frozen";
    struct stat notes {};
    if (subject.memory_folder.empty()) return {};
    if (::stat(subject.memory_folder.c_str(), &notes) != 0) return "the state folder is missing";
    for (const std::string& mount : mounts) {
        struct stat frozen {};
        if (::stat(mount.c_str(), &frozen) == 0 && frozen.st_dev == notes.st_dev)
            return "the state folder is on the filesystem that would be frozen; put it elsewhere "
                   "(--state-dir)";
    }
    return {};
}

Status LiveMoment::use(Volumes sources) {
    facts_.notes = choice_.notes;
    for (const auto& tracker : trackers_) {
        if (choice_.tracker == tracker->kind()) tracker_ = tracker.get();
        SnapshotProvider* provider = tracker->snapshots();
        if (choice_.snapshot && provider != nullptr && provider->kind() == *choice_.snapshot)
            provider_ = provider;
    }
    for (const auto& provider : providers_)
        if (choice_.snapshot == provider->kind()) provider_ = provider.get();
    if (provider_ != nullptr) facts_.snapshot = std::string(snapshot_kind_name(provider_->kind()));
    if (frozen_wish()) facts_.snapshot = "converge";
    const bool freeze =
        options_.freeze || (provider_ != nullptr && provider_->freezes_filesystem());
    const bool freezes = freeze && live_ && (provider_ != nullptr || frozen_wish());
    for (const Volume* source : sources) {
        if (!freezes || source->kind() != VolumeKind::kBlockDevice) continue;
        for (std::string& mount : mounts_on_device(source->status().st_rdev))
            if (std::ranges::find(mounts_, mount) == mounts_.end())
                mounts_.push_back(std::move(mount));
    }
    if (tracker_ == nullptr) return {};
    facts_.tracker = std::string(tracker_kind_name(tracker_->kind()));
    if (choice_.attach && options_.dry_run) {
        tracker_ = nullptr;
        return {};
    }
    return use_tracker(sources);
}

Status LiveMoment::use_tracker(Volumes sources) {
    if (choice_.attach) add_note(facts_.notes, facts_.tracker + " was attached by this run");
    for (std::size_t place = 0; place < sources.size(); ++place) {
        const Volume& source = *sources[place];
        const auto found = TRY(tracker_->find(source));
        if (found && !found->gone) {
            subjects_[place].tracked = found->tracker;
        } else if (choice_.attach) {
            subjects_[place].tracked = TRY(tracker_->attach(source, {}));
        } else {
            return fail(Code::kIo,
                        "the tracking of " + source.name() + " ended just now; run again");
        }
    }
    return {};
}

}  // namespace towline
