// SPDX-License-Identifier: Apache-2.0
// From a path to a tracked image, and back: opening, telling how far the log can be believed, and
// the clean end. The order at the end is maps, record; at the beginning the record says "running"
// before a byte can be written.

#include "cbt/fuse/image_tracking.hpp"

#include <algorithm>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "cbt/change_map_format.hpp"

namespace towline {

namespace {

// No file but ours is open: the kernel grants a write lease only then.
Status refuse_opened(const Volume& image) {
    if (::fcntl(image.fd(), F_SETLEASE, F_WRLCK) == 0) {
        ::fcntl(image.fd(), F_SETLEASE, F_UNLCK);
        return {};
    }
    if (errno != EAGAIN) return {};  // this filesystem grants none: the locks below remain
    return fail(Code::kRefused, image.name() +
                                    " is open in another program, whose writes would not be "
                                    "tracked; stop that first (fuser -v " +
                                    image.name() + ")");
}

// QEMU and others that lock what they open keep off an image that is tracked.
Status lock_image(const Volume& image) {
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    if (::fcntl(image.fd(), F_OFD_SETLK, &lock) == 0) return {};
    if (errno != EAGAIN && errno != EACCES) return fail_errno("locking " + image.name());
    return fail(
        Code::kRefused,
        image.name() + " is locked by another program (a virtual machine?); stop that first");
}

std::string folder_name_of(const std::filesystem::path& image) {
    const std::string path = std::filesystem::weakly_canonical(image).string();
    const XXH128_hash_t hash = XXH3_128bits(path.data(), path.size());
    char text[33];
    std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(hash.high64),
                  static_cast<unsigned long long>(hash.low64));
    return text;
}

Resume resume_of(const Kept& kept, const ImageFacts& facts) {
    if (kept.damaged) return Resume::kDamaged;
    if (!kept.record) return Resume::kFirst;
    return decide_resume(*kept.record, facts);
}

std::uint32_t block_bytes_of(const TrackingOptions& options, std::uint64_t volume_bytes) {
    return options.block_bytes != 0 ? options.block_bytes : block_bytes_for(volume_bytes);
}

struct Start {
    TrackingRecord record;
    Epochs epochs;
};

// A tracking that begins now. What was before is not known, and the new uuid says so.
Start begin_anew(const TrackingOptions& options, const ImageFacts& facts, Resume why) {
    TrackingRecord record;
    record.tracker = Uuid::random();
    record.block_bytes = block_bytes_of(options, facts.volume_bytes);
    Epoch present{.sequence = 1,
                  .trust = why == Resume::kFirst ? Trust::kExact : Trust::kUnknown,
                  .reasons = {},
                  .marks = ChangeMap(facts.volume_bytes, record.block_bytes)};
    present.reasons.add(ChangeReason::kFirst);
    if (why == Resume::kForeign) present.reasons.add(ChangeReason::kForeign);
    if (why == Resume::kVoid || why == Resume::kDamaged) present.reasons.add(ChangeReason::kGap);
    return {std::move(record), Epochs(std::move(present))};
}

Start go_on(const TrackingOptions& options, TrackingRecord record, Kept& kept,
            const ImageFacts& facts, Resume how) {
    if (how == Resume::kExact) {
        const std::uint64_t committed = record.committed;
        record.block_bytes = kept.maps->first.marks.block_bytes();
        return {std::move(record),
                Epochs(std::move(kept.maps->first), std::move(kept.maps->second), committed)};
    }
    if (options.block_bytes != 0) record.block_bytes = options.block_bytes;
    Epoch present{.sequence = record.sequence,
                  .trust = std::max(record.trust, Trust::kSuperset),
                  .reasons = record.reasons,
                  .marks = record.hot.resampled(facts.volume_bytes, record.hot.block_bytes())
                               .resampled(facts.volume_bytes, record.block_bytes)};
    present.reasons.add(ChangeReason::kCrash);
    if (record.frozen) present.reasons.add(ChangeReason::kMerged);
    const std::uint64_t committed = record.committed;
    return {std::move(record), Epochs(std::move(present), std::nullopt, committed)};
}

}  // namespace

Result<std::unique_ptr<ImageTracking>> ImageTracking::open(const TrackingOptions& options) {
    Volume volume = TRY(Volume::open(options.image, Access::kReadWrite));
    if (volume.kind() != VolumeKind::kImageFile)
        return fail(Code::kRefused, volume.name() +
                                        " is a device; only an image file can be served tracked. "
                                        "A device is tracked in place: towline track attach");
    if (volume.alignment_bytes() > 4096)
        return fail(Code::kUnsupported, volume.name() +
                                            " is on a filesystem that wants direct I/O "
                                            "in units of more than 4096 bytes");
    std::unique_ptr<ImageTracking> tracking(new ImageTracking());
    tracking->backend_ = std::make_unique<FileImage>(std::move(volume));
    const Volume& image = tracking->backend_->volume();
    // The log first: that another daemon has the image says more than that it is open.
    tracking->log_ = std::make_unique<FileIntentLog>(TRY(
        FileIntentLog::open(options.state_folder / "fuse" / folder_name_of(options.image), image)));
    TRY_STATUS(refuse_opened(image));
    TRY_STATUS(lock_image(image));

    Kept kept = tracking->log_->load();
    const ImageFacts facts = TRY(tracking->log_->facts(kept));
    const Resume resume = resume_of(kept, facts);
    tracking->resume_ = resume;
    const bool goes_on = resume == Resume::kExact || resume == Resume::kSuperset;
    Start start = goes_on ? go_on(options, *kept.record, kept, facts, resume)
                          : begin_anew(options, facts, resume);
    start.record.clean = false;
    start.record.volume_bytes = start.record.resize_bytes = facts.volume_bytes;
    start.record.identity = facts.identity;
    start.record.sealed = facts.can_seal;
    start.record.hot = ChangeMap(facts.volume_bytes, options.region_bytes);
    tracking->image_ = std::make_unique<TrackedImage>(
        *tracking->backend_, *tracking->log_, std::move(start.record), std::move(start.epochs));
    tracking->log_->say_alive();
    TRY_STATUS(tracking->image_->start());
    return tracking;
}

Status ImageTracking::close() {
    TRY_STATUS(image_->flush());
    TrackingRecord record = image_->closing_record();
    record.maps_digest = TRY(log_->save_maps(image_->epochs()));
    record.modified_ns = TRY(log_->image_modified_ns());
    return log_->store(record);
}

}  // namespace towline
