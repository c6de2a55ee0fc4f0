// SPDX-License-Identifier: Apache-2.0
// Order: what prepares (locks, what a dead run left, hooks, notes) comes before the filesystems are
// frozen, since while they are nothing may be written to a file; between freeze and thaw there are
// only requests to the kernel. The epoch ends before the image is made, or with it (rule 4).

#include "userspace/engine/live_moment.hpp"

#include <algorithm>
#include <sys/stat.h>
#include <thread>
#include <utility>

#include <nlohmann/json.hpp>

#include "cbt/used_blocks.hpp"
#include "io/document.hpp"
#include "io/durable_file.hpp"
#include "userspace/engine/filesystem_freeze.hpp"
#include "userspace/engine/live_use.hpp"

namespace towline {

namespace {

constexpr TrackerKind kTrackerKinds[] = {TrackerKind::kKmod, TrackerKind::kFuse, TrackerKind::kBpf};
constexpr Duration kRemoveTime = std::chrono::seconds(3);
constexpr Duration kRemovePause = std::chrono::milliseconds(20);

void note(std::string& notes, const std::string& text) {
    if (!notes.empty()) notes += "; ";
    notes += text;
}

std::int64_t modified_ns_of(const Volume& volume) {
    if (volume.kind() != VolumeKind::kImageFile) return 0;
    return std::int64_t{volume.status().st_mtim.tv_sec} * 1'000'000'000 +
           volume.status().st_mtim.tv_nsec;
}

}  // namespace

Result<std::unique_ptr<LiveMoment>> LiveMoment::look(const Volume& source,
                                                     LiveMomentOptions options) {
    std::unique_ptr<LiveMoment> moment(new LiveMoment);
    moment->options_ = std::move(options);
    MomentWish& wish = moment->options_.wish;
    // What is not read needs no image; and what a dry run compares is not kept.
    if (moment->options_.dry_run) wish.snapshot = MomentWish::Snapshot::kNone;
    MomentFindings findings;
    findings.live = TRY(live_use(source));
    moment->live_ = findings.live.has_value();
    // What can't be used is not looked for: a run is short.
    const bool plain = wish.tracker == MomentWish::Tracker::kScan && !findings.live &&
                       wish.snapshot != MomentWish::Snapshot::kNamed;
    if (!plain) moment->find_trackers(source, findings);
    moment->find_snapshots(source, findings);
    if (findings.live) findings.why_no_rounds = moment->why_no_rounds(source);
    moment->choice_ = TRY(choose_moment(wish, findings));
    return moment;
}

Result<std::unique_ptr<LiveMoment>> LiveMoment::choose(const Volume& source,
                                                       LiveMomentOptions options) {
    auto moment = TRY(look(source, std::move(options)));
    TRY_STATUS(moment->use(source));
    return moment;
}

Result<MomentChoice> LiveMoment::foresee(const Volume& source, LiveMomentOptions options) {
    const auto moment = TRY(look(source, std::move(options)));
    return moment->choice_;
}

void LiveMoment::find_trackers(const Volume& source, MomentFindings& findings) {
    for (const TrackerKind kind : kTrackerKinds) {
        TrackerFinding finding{.kind = kind};
        auto tracker = open_tracker(kind, options_.places);
        if (!tracker) {
            finding.why_not = tracker.error().context;
        } else {
            const auto found = (*tracker)->find(source);
            finding.attached = found && *found && !(*found)->gone;
            if (!found)
                finding.why_not = found.error().text();
            else if (const Status usable = (*tracker)->usable_for(source); !usable)
                finding.why_not = usable.error().context;
            trackers_.push_back(std::move(*tracker));
        }
        findings.trackers.push_back(std::move(finding));
    }
}

void LiveMoment::find_snapshots(const Volume& source, MomentFindings& findings) {
    for (const auto& tracker : trackers_) {
        SnapshotProvider* provider = tracker->snapshots();
        if (provider == nullptr) continue;
        const Status usable = provider->usable_for(source);
        // One that is to be attached first can't make any yet, and will be able to.
        const bool later = options_.wish.tracker == MomentWish::Tracker::kNamed &&
                           options_.wish.tracker_kind == tracker->kind() &&
                           tracker->usable_for(source).has_value();
        findings.snapshots.push_back(
            {.kind = provider->kind(),
             .why_not = usable || later ? std::string() : usable.error().context});
    }
    const MomentWish& wish = options_.wish;
    const bool named = wish.snapshot == MomentWish::Snapshot::kNamed;
    if (named ? wish.snapshot_kind != SnapshotKind::kLvm : !findings.live) return;
    SnapshotFinding finding{.kind = SnapshotKind::kLvm};
    auto provider = open_snapshots(finding.kind, options_.places);
    if (!provider) return;
    if (const Status usable = (*provider)->usable_for(source); !usable)
        finding.why_not = usable.error().context;
    else if (!named)
        finding.why_not = (*provider)->only_by_name(source);
    providers_.push_back(std::move(*provider));
    findings.snapshots.push_back(std::move(finding));
}

// A run of rounds ends with the source frozen while it is read, and its own notes are written.
std::string LiveMoment::why_no_rounds(const Volume& source) const {
    if (!options_.why_no_rounds.empty()) return options_.why_no_rounds;
    if (!options_.freeze) return "it freezes the source's filesystems (--no-freeze)";
    if (source.kind() != VolumeKind::kBlockDevice)
        return "the filesystems on an image file cannot be frozen from here";
    const auto mounts = mounts_on_device(source.status().st_rdev);
    if (mounts.empty()) return "no filesystem of the source is mounted here, to be frozen";
    struct stat notes {};
    if (options_.memory_folder.empty()) return {};
    if (::stat(options_.memory_folder.c_str(), &notes) != 0) return "the state folder is missing";
    for (const std::string& mount : mounts) {
        struct stat frozen {};
        if (::stat(mount.c_str(), &frozen) == 0 && frozen.st_dev == notes.st_dev)
            return "the state folder is on the filesystem that would be frozen; put it elsewhere "
                   "(--state-dir)";
    }
    return {};
}

Status LiveMoment::use(const Volume& source) {
    facts_.notes = choice_.notes;
    for (const auto& tracker : trackers_) {
        if (choice_.tracker == tracker->kind()) tracker_ = tracker.get();
        SnapshotProvider* provider = tracker->snapshots();
        if (choice_.snapshot && provider != nullptr && provider->kind() == *choice_.snapshot)
            provider_ = provider;
    }
    for (const auto& provider : providers_) {
        if (choice_.snapshot == provider->kind()) provider_ = provider.get();
    }
    if (provider_ != nullptr) facts_.snapshot = std::string(snapshot_kind_name(provider_->kind()));
    if (frozen_wish()) facts_.snapshot = "converge";
    const bool freeze =
        options_.freeze || (provider_ != nullptr && provider_->freezes_filesystem());
    if (freeze && live_ && (provider_ != nullptr || frozen_wish()) &&
        source.kind() == VolumeKind::kBlockDevice)
        mounts_ = mounts_on_device(source.status().st_rdev);
    if (tracker_ == nullptr) return {};
    facts_.tracker = std::string(tracker_kind_name(tracker_->kind()));
    if (choice_.attach && options_.dry_run) {
        tracker_ = nullptr;
        return {};
    }
    if (choice_.attach) {
        tracked_ = TRY(tracker_->attach(source, {}));
        note(facts_.notes, facts_.tracker + " was attached by this run");
        return {};
    }
    const auto found = TRY(tracker_->find(source));
    if (!found)
        return fail(Code::kIo, "the tracking of " + source.name() + " ended just now; run again");
    tracked_ = found->tracker;
    return {};
}

Status LiveMoment::take() {
    if (tracker_ != nullptr && !options_.dry_run) tracking_lock_ = TRY(options_.lock_tracking());
    if (options_.dry_run) return tracker_ != nullptr ? freeze_epoch() : Status();
    TRY_STATUS(remove_left_over());
    after_due_ = true;
    told_ = options_.hooks.has("pre-snapshot");
    const Status ready = options_.hooks.run("pre-snapshot", hook_words());
    if (ready && frozen_wish()) return stay_frozen();
    Status done = ready ? cut_frozen() : ready;
    tell_after();
    if (done && told_ && facts_.label >= Label::kCrash) facts_.label = Label::kApplication;
    return done;
}

std::map<std::string, std::string> LiveMoment::hook_words() const {
    return {{"TOWLINE_SOURCE", options_.source.string()}, {"TOWLINE_TARGET", options_.target}};
}

// Whatever became of it: what the first program stopped must go on.
void LiveMoment::tell_after() {
    if (!std::exchange(after_due_, false)) return;
    const Status after = options_.hooks.run("post-snapshot", hook_words());
    if (!after) note(facts_.notes, after.error().context);
}

void LiveMoment::conclude() {
    frozen_.reset();
    tell_after();
}

// The last round of several: what is read is the source itself, and it stands still meanwhile.
Status LiveMoment::stay_frozen() {
    if (mounts_.empty() || tracker_ == nullptr)
        return fail(Code::kIo, "the source is not mounted or not tracked any more; run again");
    auto frozen = TRY(FilesystemFreeze::freeze(mounts_, options_.freeze_max));
    frozen_.emplace(std::move(frozen));
    TRY_STATUS(freeze_epoch());
    if (changes_->trust != Trust::kUnknown) return {};
    // All would be compared, and the source would stand still for it: a live round does that, and
    // the next one is the last.
    frozen_.reset();
    facts_.retreated = true;
    note(facts_.notes, "the tracker missed something just before the last round; it was put off");
    return {};
}

// Rule 12: who writes past the filesystems is not stopped by their freeze.
Status LiveMoment::thaw_after_reading() {
    const auto status = tracker_->status(tracked_);
    auto frozen_for = frozen_->thaw();
    frozen_.reset();
    if (!frozen_for) {
        return fail(Code::kRefused, "the source was thawed before all of it was read (" +
                                        frozen_for.error().context +
                                        "); run again, with a longer --freeze-max");
    }
    facts_.frozen = *frozen_for;
    facts_.label = told_ ? Label::kApplication : Label::kFilesystem;
    if (status && status->writes_seen == writes_before_) return {};
    facts_.label = Label::kFuzzy;
    note(facts_.notes, "somebody wrote to the device itself while its filesystems were frozen");
    return {};
}

// The filesystem that is right on the volume; one above it, or of several volumes, is not seen by
// who makes the image.
Status LiveMoment::cut_self_frozen() {
    const Instant began = monotonic_now();
    TRY_STATUS(cut());
    const Volume source = TRY(Volume::open(options_.source, Access::kRead));
    const bool all = std::ranges::all_of(mounts_, [&source](const std::string& mount) {
        struct stat status {};
        return ::stat(mount.c_str(), &status) == 0 && status.st_dev == source.status().st_rdev;
    });
    facts_.label = all ? Label::kFilesystem : Label::kCrash;
    if (all)
        facts_.frozen = monotonic_now() - began;
    else
        note(facts_.notes,
             "not frozen: LVM freezes only what is right on the volume, and no btrfs");
    return {};
}

Status LiveMoment::cut_frozen() {
    if (provider_ != nullptr && provider_->freezes_filesystem() && !mounts_.empty())
        return cut_self_frozen();
    if (mounts_.empty()) {
        facts_.label = provider_ != nullptr ? Label::kCrash : Label::kFuzzy;
        return cut();
    }
    auto frozen = FilesystemFreeze::freeze(mounts_, options_.freeze_max);
    if (!frozen) {
        note(facts_.notes, "not frozen: " + frozen.error().text());
        facts_.label = Label::kCrash;
        return cut();
    }
    const Status done = cut();
    const auto frozen_for = frozen->thaw();
    facts_.label = frozen_for ? Label::kFilesystem : Label::kCrash;
    if (frozen_for)
        facts_.frozen = *frozen_for;
    else
        note(facts_.notes, frozen_for.error().context);
    return done;
}

Status LiveMoment::cut() {
    if (tracker_ != nullptr) TRY_STATUS(freeze_epoch());
    if (provider_ != nullptr && !image_) return make_image();
    return {};
}

Status LiveMoment::freeze_epoch() {
    FreezeRequest request{.trackers = {tracked_}, .drain_max = options_.drain_max};
    if (provider_ != nullptr && provider_ == tracker_->snapshots())
        request.snapshot = options_.store;
    FrozenGroup group = TRY(tracker_->freeze_epoch(request));
    changes_ = std::move(group.sets.front());
    // After a gap it is tracked under another name.
    tracked_ = changes_->tracker;
    if (!group.images.empty()) image_ = std::move(group.images.front());
    facts_.held = group.held;
    facts_.trust = changes_->trust;
    facts_.reasons = changes_->reasons.text();
    writes_before_ = TRY(tracker_->status(tracked_)).writes_seen;
    return {};
}

Status LiveMoment::make_image() {
    const Volume source = TRY(Volume::open(options_.source, Access::kRead));
    const Volume* const volumes[] = {&source};
    image_ = std::move(TRY(provider_->create(volumes, options_.store, options_.drain_max)).front());
    // What was written between the end of the epoch and the image is in the image, and is not
    // marked in the epoch.
    image_is_later_ =
        tracker_ != nullptr && TRY(tracker_->status(tracked_)).writes_seen != writes_before_;
    return {};
}

// A snapshot outlives the run that made it. The lock tells whether that run lives; the note, which
// is there before the snapshot is, that there is one to look for: by its tracker or, where its
// provider is none, by its owner.
Status LiveMoment::remove_left_over() {
    const auto path = options_.memory_folder / "image";
    const auto left = TRY(load_document(path));
    if (provider_ == nullptr && !left) return {};
    image_lock_ = TRY(lock_file(options_.memory_folder / "image.lock",
                                "the snapshot of this source", kHolderDies));
    if (left) TRY_STATUS(remove_noted(*left));
    std::error_code ignored;
    if (provider_ == nullptr) {
        std::filesystem::remove(path, ignored);
        return {};
    }
    const Volume source = TRY(Volume::open(options_.source, Access::kRead));
    for (const auto& tracker : trackers_) {
        if (tracker->snapshots() != provider_) continue;
        const auto found = TRY(tracker->find(source));
        if (found) return save_document(path, {{"tracker", found->tracker.text()}});
    }
    options_.store.owner = Uuid::random().text();
    return save_document(path, {{"owner", options_.store.owner}});
}

Status LiveMoment::remove_noted(const nlohmann::json& note) {
    const auto of = Uuid::parse(note.value("tracker", ""));
    const std::string owner = note.value("owner", "");
    const auto remove_of = [&](SnapshotProvider& provider) -> Status {
        for (const SnapshotStatus& each : TRY(provider.list())) {
            const bool meant =
                owner.empty() ? of && each.image.tracker == *of : each.owner == owner;
            if (meant) TRY_STATUS(provider.remove(each.image.id));
        }
        return {};
    };
    if (!owner.empty()) return remove_of(*TRY(open_snapshots(SnapshotKind::kLvm, options_.places)));
    for (const auto& tracker : trackers_) {
        if (tracker->snapshots() != nullptr) TRY_STATUS(remove_of(*tracker->snapshots()));
    }
    return {};
}

Result<Moment> LiveMoment::open(IoEngine& engine) {
    read_from_ = TRY(Volume::open(image_ ? image_->path : options_.source, Access::kRead));
    Moment moment{.view = {.handle = TRY(engine.attach(read_from_->fd())),
                           .size_bytes = read_from_->size_bytes(),
                           .alignment_bytes = read_from_->alignment_bytes()},
                  .filesystem = TRY(read_from_->filesystem_uuid()),
                  .changes = changes_};
    if (!image_) moment.modified_ns = modified_ns_of(*read_from_);
    for (const DataRange& range : TRY(read_from_->data_ranges()))
        moment.data.push_back({range.offset_bytes, range.length_bytes});
    if (options_.used_only) leave_out_free(moment);
    return moment;
}

// The maps of a filesystem that is written to are those of no moment.
void LiveMoment::leave_out_free(Moment& moment) {
    const bool stands = image_ || frozen_ || !live_;
    const UsedBlocks used =
        stands ? used_blocks(*read_from_)
               : UsedBlocks::all(*read_from_, "", "it is in use, and no image of it is read");
    moment.free_left_out = used.doubt.empty();
    if (moment.free_left_out) moment.data = intersection(moment.data, used.extents);
    facts_.used_only = true;
    facts_.used_filesystem = used.filesystem;
    facts_.used_bytes = used.bytes();
    facts_.used_doubt = used.doubt;
}

Status LiveMoment::settle(bool noted) {
    Status settled = noted ? tracker_->commit(tracked_, changes_->sequence)
                           : tracker_->give_back(tracked_, changes_->sequence);
    // Somebody froze again meanwhile: the epoch is in a later one, and will be handed out with it.
    if (!settled && settled.error().code == Code::kRefused) return {};
    return settled;
}

Status LiveMoment::with_harvests(const std::function<Status()>& change) {
    const bool held = static_cast<bool>(tracking_lock_);
    if (!held) tracking_lock_ = TRY(options_.lock_tracking());
    const Status changed = change();
    if (!held) tracking_lock_.reset();
    return changed;
}

Status LiveMoment::all_read() {
    if (image_) {
        const SnapshotStatus status = TRY(provider_->status(image_->id));
        if (!status.failed) return {};
        return fail(Code::kIo, "the snapshot was given up while it was read (" + status.why +
                                   "); run again, with more room for it (--store)");
    }
    if (frozen_) return thaw_after_reading();
    if (live_) return {};
    const Volume source = TRY(Volume::open(options_.source, Access::kRead));
    bool still = !TRY(live_use(source)) && modified_ns_of(source) == modified_ns_of(*read_from_);
    if (tracker_ != nullptr)
        still = still && TRY(tracker_->status(tracked_)).writes_seen == writes_before_;
    // Never better: what hooks made ready went on before it was read.
    facts_.label = still ? Label::kCrash : Label::kFuzzy;
    return {};
}

bool LiveMoment::steady() {
    if (image_) return !image_is_later_;
    if ((live_ && !frozen_) || tracker_ == nullptr) return false;
    const auto status = tracker_->status(tracked_);
    return status && status->writes_seen == writes_before_;
}

void LiveMoment::remove_image() {
    if (!image_) return;
    read_from_.reset();
    // The engine's last reference may go a little later than the engine.
    const Instant limit = monotonic_now() + kRemoveTime;
    Status removed = provider_->remove(image_->id);
    while (!removed && removed.error().code == Code::kBusy && monotonic_now() < limit) {
        std::this_thread::sleep_for(kRemovePause);
        removed = provider_->remove(image_->id);
    }
    // Else the next run finds the note, and removes it.
    std::error_code ignored;
    if (removed) std::filesystem::remove(options_.memory_folder / "image", ignored);
}

LiveMoment::~LiveMoment() {
    conclude();
    remove_image();
}

}  // namespace towline
