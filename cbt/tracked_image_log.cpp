// SPDX-License-Identifier: Apache-2.0
// Tracked images and their intent log. Rule 6: a region is durable in the log before the first
// write to it is issued, and cools only when no epoch and no write in flight needs it. Rule 7: when
// the log cannot be written, it is made void, and the writes go on.
//
// One thread at a time writes the log, without the mutex; others wait for it, and many are let on
// by one write.

#include "cbt/tracked_image.hpp"

namespace towline {

TrackingRecord TrackedImage::record_now() const {
    TrackingRecord record = record_;
    record.sequence = std::max(epochs_.present().sequence, sequence_reserved_);
    record.committed = epochs_.committed();
    record.frozen = epochs_.frozen().has_value();
    record.trust = epochs_.present().trust;
    if (epochs_.frozen()) record.trust = std::max(record.trust, epochs_.frozen()->trust);
    record.reasons = epochs_.present().reasons;
    record.hot = regions_.wanted();
    return record;
}

Status TrackedImage::start() {
    Lock lock(mutex_);
    regions_.cool(needed_regions());
    return write_log(lock);
}

TrackingRecord TrackedImage::closing_record() const {
    const Lock lock(mutex_);
    TrackingRecord record = record_now();
    record.hot = needed_regions();
    record.clean = true;
    return record;
}

ChangeMap TrackedImage::needed_regions() const {
    ChangeMap regions = regions_of(epochs_.uncommitted(), regions_.region_bytes());
    for (const Write& write : in_flight_)
        regions.mark(write.extent);
    return regions;
}

void TrackedImage::make_hot(Lock& lock, Extent extent) {
    // Also while the log is void, so that it can come back to life with all that it needs.
    if (!regions_.durable(extent)) regions_.want(extent);
    while ((!log_void_ || reviving_) && !regions_.durable(extent)) {
        if (logging_)
            wait(lock);
        else
            (void)write_log(lock);  // a failure makes the log void, and is nothing to this write
    }
}

Status TrackedImage::write_log(Lock& lock) {
    while (logging_)
        wait(lock);
    logging_ = true;
    const TrackingRecord record = record_now();
    lock.unlock();
    const Status stored = log_.store(record);
    // Before anybody is let on by the failure. What cannot be invalidated either is told in the
    // status; a crash before the log is well again would then be taken for one with a good log.
    const Status invalidated = stored ? Status() : log_.invalidate();
    lock.lock();
    logging_ = false;
    if (stored) {
        regions_.written(record.hot);
    } else {
        log_void_ = true;
        log_lost_ = log_lost_ || !invalidated;
    }
    wake();
    return stored;
}

// What was written while the log was void is wanted, and so in what is written now. From here on
// writes wait for the log again: the moment it is valid on its disk comes before we hear of it.
Status TrackedImage::revive_log(Lock& lock) {
    if (!log_void_) return {};
    reviving_ = true;
    const Status written = write_log(lock);
    reviving_ = false;
    if (written) log_void_ = log_lost_ = false;
    wake();
    return written;
}

void TrackedImage::cool(Lock& lock) {
    while (logging_)
        wait(lock);
    if (log_void_) return;
    regions_.cool(needed_regions());
    (void)write_log(lock);  // as in make_hot
}

}  // namespace towline
