// SPDX-License-Identifier: Apache-2.0
// Order: what prepares (locks, what a dead run left, hooks, notes) comes before the filesystems are
// frozen, since while they are nothing may be written to a file; between freeze and thaw there are
// only requests to the kernel. The epoch ends before the image is made, or with it (rule 4).

#include "userspace/engine/live_moment.hpp"

#include <algorithm>
#include <fcntl.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include <nlohmann/json.hpp>

#include "cbt/used_blocks.hpp"
#include "cbt/used_blocks_thin.hpp"
#include "io/document.hpp"
#include "io/durable_file.hpp"
#include "userspace/engine/filesystem_freeze.hpp"
#include "userspace/engine/live_use.hpp"

namespace towline {

namespace {

constexpr Duration kRemoveTime = std::chrono::seconds(3);
constexpr Duration kRemovePause = std::chrono::milliseconds(20);

std::int64_t modified_ns_of(const Volume& volume) {
    if (volume.kind() != VolumeKind::kImageFile) return 0;
    return std::int64_t{volume.status().st_mtim.tv_sec} * 1'000'000'000 +
           volume.status().st_mtim.tv_nsec;
}

}  // namespace

void add_note(std::string& notes, const std::string& text) {
    if (!notes.empty()) notes += "; ";
    notes += text;
}

bool LiveMoment::unseen() const {
    return tracker_ == nullptr && provider_ == nullptr && !frozen_wish() && mounts_.empty() &&
           !options_.hooks.has("pre-snapshot") && !options_.hooks.has("post-snapshot");
}

Status LiveMoment::take() {
    TRY_STATUS(take_moment());
    for (std::size_t place = 0; place < subjects_.size(); ++place)
        TRY_STATUS(look_at(subjects_[place], options_.layout.parts()[place]));
    return {};
}

Status LiveMoment::take_moment() {
    if (tracker_ != nullptr && !options_.dry_run) tracking_locks_ = TRY(options_.lock_tracking());
    if (options_.dry_run) return tracker_ != nullptr ? freeze_epoch() : Status();
    for (Subject& each : subjects_)
        TRY_STATUS(remove_left_over(each));
    after_due_ = true;
    told_ = options_.hooks.has("pre-snapshot");
    const Status ready = options_.hooks.run("pre-snapshot", hook_words());
    if (ready && frozen_wish()) return stay_frozen();
    Status done = ready ? cut_frozen() : ready;
    if (!done) abandon();
    tell_after();
    if (done && options_.used_only) TRY_STATUS(ask_pools());
    if (done && told_ && facts_.label >= Label::kCrash) facts_.label = Label::kApplication;
    facts_.group = several() && imaged();
    return done;
}

// Of a volume that is live and of which no image is read, a pool tells of no moment.
Status LiveMoment::ask_pools() {
    for (Subject& each : subjects_) {
        if (live_ && !each.image) continue;
        const Volume volume =
            TRY(Volume::open(each.image ? each.image->path : each.path, Access::kRead));
        each.allocated = used_blocks_thin(volume, each.memory_folder / "pool");
    }
    return {};
}

// There is no moment: what was marked up to where it failed is to be marked further on, of every
// volume.
void LiveMoment::abandon() {
    for (Subject& each : subjects_) {
        if (tracker_ != nullptr && each.changes)
            static_cast<void>(tracker_->give_back(each.tracked, each.changes->sequence));
        each.changes.reset();
    }
}

std::map<std::string, std::string> LiveMoment::hook_words() const {
    std::string paths;  // one a line
    for (const Subject& each : subjects_)
        paths += (paths.empty() ? "" : "\n") + each.path.string();
    return {{"TOWLINE_SOURCE", paths}, {"TOWLINE_TARGET", options_.target}};
}

// Whatever became of it: what the first program stopped must go on.
void LiveMoment::tell_after() {
    if (!std::exchange(after_due_, false)) return;
    const Status after = options_.hooks.run("post-snapshot", hook_words());
    if (!after) add_note(facts_.notes, after.error().context);
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
    if (facts_.trust != Trust::kUnknown) return {};
    // All would be compared, and the source would stand still for it: a live round does that, and
    // the next one is the last.
    frozen_.reset();
    facts_.retreated = true;
    add_note(facts_.notes,
             "the tracker missed something just before the last round; it was put off");
    return {};
}

// Rule 12: who writes past the filesystems is not stopped by their freeze.
Status LiveMoment::thaw_after_reading() {
    bool untouched = true;
    for (const Subject& each : subjects_) {
        const auto status = tracker_->status(each.tracked);
        untouched = untouched && status && status->writes_seen == each.writes_before;
    }
    auto frozen_for = frozen_->thaw();
    frozen_.reset();
    if (!frozen_for) {
        facts_.overran = true;
        return fail(Code::kRefused, "the source was thawed before all of it was read (" +
                                        frozen_for.error().context +
                                        "); run again, with a longer --freeze-max");
    }
    facts_.frozen = *frozen_for;
    facts_.label = told_ ? Label::kApplication : Label::kFilesystem;
    facts_.group = several() && untouched;
    if (untouched) return {};
    facts_.label = Label::kFuzzy;
    add_note(facts_.notes, "somebody wrote to the device itself while its filesystems were frozen");
    return {};
}

// The filesystem that is right on the volume; one above it, or of several volumes, is not seen by
// who makes the image.
Status LiveMoment::cut_self_frozen() {
    const Instant began = monotonic_now();
    TRY_STATUS(cut());
    const Volume source = TRY(Volume::open(subjects_.front().path, Access::kRead));
    const bool all = std::ranges::all_of(mounts_, [&source](const std::string& mount) {
        struct stat status {};
        return ::stat(mount.c_str(), &status) == 0 && status.st_dev == source.status().st_rdev;
    });
    facts_.label = all ? Label::kFilesystem : Label::kCrash;
    if (all)
        facts_.frozen = monotonic_now() - began;
    else
        add_note(facts_.notes,
                 "not frozen: LVM freezes only what is right on the volume, and no btrfs");
    return {};
}

// A live round: what filesystems have not written yet would be left for the one in which they are
// frozen, and they would stand still for it.
void LiveMoment::write_back() const {
    for (const Subject& each : subjects_) {
        struct stat status {};
        if (::stat(each.path.c_str(), &status) != 0 || !S_ISBLK(status.st_mode)) continue;
        for (const std::string& mount : mounts_on_device(status.st_rdev)) {
            const Fd folder(::open(mount.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
            if (folder) static_cast<void>(::syncfs(folder.get()));
        }
    }
}

Status LiveMoment::cut_frozen() {
    if (provider_ != nullptr && provider_->freezes_filesystem() && !mounts_.empty())
        return cut_self_frozen();
    if (mounts_.empty()) {
        if (live_ && provider_ == nullptr && tracker_ != nullptr) write_back();
        facts_.label = provider_ != nullptr ? Label::kCrash : Label::kFuzzy;
        return cut();
    }
    auto frozen = FilesystemFreeze::freeze(mounts_, options_.freeze_max);
    if (!frozen) {
        add_note(facts_.notes, "not frozen: " + frozen.error().text());
        facts_.label = Label::kCrash;
        return cut();
    }
    const Status done = cut();
    const auto frozen_for = frozen->thaw();
    facts_.label = frozen_for ? Label::kFilesystem : Label::kCrash;
    if (frozen_for)
        facts_.frozen = *frozen_for;
    else
        add_note(facts_.notes, frozen_for.error().context);
    return done;
}

Status LiveMoment::cut() {
    if (tracker_ != nullptr) TRY_STATUS(freeze_epoch());
    if (provider_ != nullptr && !imaged()) return make_images();
    return {};
}

Status LiveMoment::freeze_epoch() {
    FreezeRequest request{.trackers = {}, .drain_max = options_.drain_max};
    request.trackers.reserve(subjects_.size());
    for (const Subject& each : subjects_)
        request.trackers.push_back(each.tracked);
    if (provider_ != nullptr && provider_ == tracker_->snapshots())
        request.snapshot = options_.store;
    FrozenGroup group = TRY(tracker_->freeze_epoch(request));
    ChangeReasons reasons;
    facts_.held = group.held;
    facts_.trust = Trust::kExact;
    for (std::size_t place = 0; place < subjects_.size(); ++place) {
        Subject& subject = subjects_[place];
        subject.changes = std::move(group.sets[place]);
        // After a gap it is tracked under another name.
        subject.tracked = subject.changes->tracker;
        if (!group.images.empty()) subject.image = std::move(group.images[place]);
        facts_.trust = std::max(*facts_.trust, subject.changes->trust);
        reasons.add(subject.changes->reasons);
    }
    facts_.reasons = reasons.text();
    for (Subject& each : subjects_)
        each.writes_before = TRY(tracker_->status(each.tracked)).writes_seen;
    return {};
}

Status LiveMoment::make_images() {
    std::vector<Volume> volumes;
    volumes.reserve(subjects_.size());
    std::vector<const Volume*> sources;
    sources.reserve(subjects_.size());
    for (const Subject& each : subjects_) {
        volumes.push_back(TRY(Volume::open(each.path, Access::kRead)));
        sources.push_back(&volumes.back());
    }
    auto images = TRY(provider_->create(sources, options_.store, options_.drain_max));
    for (std::size_t place = 0; place < subjects_.size(); ++place)
        subjects_[place].image = std::move(images[place]);
    // What was written between the end of the epochs and the images is in the images, and is not
    // marked in the epochs.
    for (Subject& each : subjects_) {
        each.image_is_later = tracker_ != nullptr &&
                              TRY(tracker_->status(each.tracked)).writes_seen != each.writes_before;
    }
    return {};
}

// A snapshot outlives the run that made it. The lock tells whether that run lives; the note, which
// is there before the snapshot is, that there is one to look for: by its tracker or, where its
// provider is none, by its owner.
Status LiveMoment::remove_left_over(Subject& subject) {
    const auto path = subject.memory_folder / "image";
    const auto left = TRY(load_document(path));
    if (provider_ == nullptr && !left) return {};
    subject.image_lock = TRY(lock_file(subject.memory_folder / "image.lock",
                                       "the snapshot of " + subject.path.string(), kHolderDies));
    if (left) TRY_STATUS(remove_noted(*left));
    std::error_code ignored;
    if (provider_ == nullptr) {
        std::filesystem::remove(path, ignored);
        return {};
    }
    const Volume source = TRY(Volume::open(subject.path, Access::kRead));
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
    Moment moment;
    moment.view.alignment_bytes = 1;
    for (std::size_t place = 0; place < subjects_.size(); ++place)
        TRY_STATUS(open_part(engine, place, moment));
    if (several()) {
        moment.view.size_bytes = options_.layout.size_bytes();
    } else {
        moment.view.handle = moment.view.parts.front().handle;
        moment.view.size_bytes = moment.view.parts.front().size_bytes;
        moment.view.parts.clear();
        if (!imaged()) moment.modified_ns = modified_ns_of(*subjects_.front().read_from);
    }
    moment.free_left_out = free_left_out_;
    return moment;
}

Status LiveMoment::look_at(Subject& subject, const VolumePart& part) {
    subject.read_from =
        TRY(Volume::open(subject.image ? subject.image->path : subject.path, Access::kRead));
    const Volume& volume = *subject.read_from;
    if (volume.size_bytes() != part.bytes)
        return fail(Code::kIo, "the source " + subject.path.string() +
                                   " changed its size while the run began; run again");
    subject.filesystem = TRY(volume.filesystem_uuid());
    for (const DataRange& range : TRY(volume.data_ranges()))
        subject.data.push_back({range.offset_bytes, range.length_bytes});
    if (options_.used_only) leave_out_free(subject);
    return {};
}

Status LiveMoment::open_part(IoEngine& engine, std::size_t place, Moment& moment) {
    Subject& subject = subjects_[place];
    const Volume& volume = *subject.read_from;
    const VolumePart& part = options_.layout.parts()[place];
    moment.view.parts.push_back({.handle = TRY(engine.attach(volume.fd())),
                                 .start_bytes = part.start_bytes,
                                 .size_bytes = part.bytes});
    moment.view.alignment_bytes = std::max(moment.view.alignment_bytes, volume.alignment_bytes());
    if (place > 0) moment.filesystem += ",";
    moment.filesystem += subject.filesystem;
    if (subject.changes) moment.changes.push_back(*subject.changes);
    for (const Extent& each : subject.data)
        moment.data.push_back({part.start_bytes + each.offset_bytes, each.length_bytes});
    return {};
}

// The maps of a filesystem that is written to are those of no moment.
void LiveMoment::leave_out_free(Subject& subject) {
    const bool stands = subject.image || frozen_ || !live_;
    UsedBlocks used = stands ? used_blocks(*subject.read_from)
                             : UsedBlocks::all(*subject.read_from, "",
                                               "it is in use, and no image of it is read");
    free_left_out_ = free_left_out_ || used.doubt.empty();
    const std::string of = several() ? subject.path.string() + ": " : "";
    facts_.used_only = true;
    if (!used.filesystem.empty()) {
        facts_.used_filesystem += (facts_.used_filesystem.empty() ? "" : ", ") + used.filesystem;
    }
    if (!used.doubt.empty()) add_note(facts_.used_doubt, of + used.doubt);
    if (subject.allocated) {
        const UsedBlocks& allocated = *subject.allocated;
        used.extents = intersection(used.extents, allocated.extents);
        if (allocated.doubt.empty())
            facts_.pool_bytes = facts_.pool_bytes.value_or(0) + allocated.bytes();
        else
            add_note(facts_.used_doubt, of + "of its thin pool: " + allocated.doubt);
    }
    subject.data = intersection(subject.data, used.extents);
    facts_.used_bytes += used.bytes();
}

Status LiveMoment::settle(bool noted) {
    Status all;
    for (const Subject& each : subjects_) {
        Status settled = noted ? tracker_->commit(each.tracked, each.changes->sequence)
                               : tracker_->give_back(each.tracked, each.changes->sequence);
        // Somebody froze again meanwhile: the epoch is in a later one, and will be handed out with
        // it.
        if (!settled && settled.error().code != Code::kRefused && all) all = std::move(settled);
    }
    return all;
}

Status LiveMoment::with_harvests(const std::function<Status()>& change) {
    const bool held = !tracking_locks_.empty();
    if (!held) tracking_locks_ = TRY(options_.lock_tracking());
    const Status changed = change();
    if (!held) tracking_locks_.clear();
    return changed;
}

Status LiveMoment::stands() {
    for (const Subject& each : subjects_) {
        if (!each.image) continue;
        const SnapshotStatus status = TRY(provider_->status(each.image->id));
        if (!status.failed) continue;
        return fail(Code::kIo, "the snapshot was given up while it was read (" + status.why +
                                   "); run again, with more room for it (" + status.remedy + ")");
    }
    return {};
}

Status LiveMoment::all_read() {
    if (imaged()) return stands();
    if (frozen_) return thaw_after_reading();
    if (live_) return {};
    bool still = true;
    for (const Subject& each : subjects_)
        TRY_STATUS(still_unwritten(each, still));
    // Never better: what hooks made ready went on before it was read.
    facts_.label = still ? Label::kCrash : Label::kFuzzy;
    facts_.group = several() && still;
    return {};
}

Status LiveMoment::still_unwritten(const Subject& subject, bool& still) const {
    const Volume source = TRY(Volume::open(subject.path, Access::kRead));
    const bool used = TRY(live_use(source)).has_value();
    still = still && !used && modified_ns_of(source) == modified_ns_of(*subject.read_from);
    if (tracker_ != nullptr)
        still =
            still && TRY(tracker_->status(subject.tracked)).writes_seen == subject.writes_before;
    return {};
}

bool LiveMoment::steady() {
    if (imaged())
        return std::ranges::none_of(subjects_,
                                    [](const Subject& each) { return each.image_is_later; });
    if ((live_ && !frozen_) || tracker_ == nullptr) return false;
    return std::ranges::all_of(subjects_, [this](const Subject& each) {
        const auto status = tracker_->status(each.tracked);
        return status && status->writes_seen == each.writes_before;
    });
}

void LiveMoment::remove_image(Subject& subject) {
    if (!subject.image) return;
    subject.read_from.reset();
    // The engine's last reference may go a little later than the engine.
    const Instant limit = monotonic_now() + kRemoveTime;
    Status removed = provider_->remove(subject.image->id);
    while (!removed && removed.error().code == Code::kBusy && monotonic_now() < limit) {
        std::this_thread::sleep_for(kRemovePause);
        removed = provider_->remove(subject.image->id);
    }
    // Else the next run finds the note, and removes it.
    std::error_code ignored;
    if (removed) std::filesystem::remove(subject.memory_folder / "image", ignored);
}

LiveMoment::~LiveMoment() {
    conclude();
    for (Subject& each : subjects_)
        remove_image(each);
}

}  // namespace towline
