// SPDX-License-Identifier: Apache-2.0
// Short reads are taken up at the begin of the sector that they broke off in, since direct reads
// begin nowhere else. A file that was cut off within a sector gives the same piece of it for ever:
// reads that bring nothing are counted, and are an end of file in the end.

#include "io/whole_read.hpp"

#include <cerrno>

#include "io/align.hpp"
#include "io/check.hpp"

namespace towline {

void WholeRead::start(IoEngine& engine, const VolumeView& volume, MutableByteSpan into,
                      std::uint64_t offset_bytes, std::size_t length_bytes, Completion& done) {
    const auto asked_bytes = align_up<std::size_t>(length_bytes, volume.alignment_bytes);
    CHECK(length_bytes > 0 && asked_bytes <= into.size());
    engine_ = &engine;
    volume_ = volume;
    into_ = into.first(asked_bytes);
    offset_bytes_ = offset_bytes;
    length_bytes_ = length_bytes;
    have_bytes_ = 0;
    reads_without_progress_ = 0;
    system_errno_ = 0;
    done_ = &done;
    ask();
}

void WholeRead::ask() {
    engine_->read(volume_.handle, into_.subspan(have_bytes_), offset_bytes(), *done_);
}

WholeRead::Step WholeRead::fail(int system_errno) {
    system_errno_ = system_errno;
    return Step::kFailed;
}

WholeRead::Step WholeRead::take(std::int64_t result) {
    const bool interrupted = result == -EINTR || result == -EAGAIN;
    if (result < 0 && !interrupted) return fail(static_cast<int>(-result));
    if (result == 0) return fail(ENODATA);
    const std::size_t came_bytes = interrupted ? 0 : static_cast<std::size_t>(result);
    const std::size_t began_bytes = have_bytes_;
    if (have_bytes_ + came_bytes >= length_bytes_) {
        have_bytes_ = length_bytes_;
        return Step::kWhole;
    }
    have_bytes_ = align_down<std::size_t>(have_bytes_ + came_bytes, volume_.alignment_bytes);
    if (!interrupted && have_bytes_ == began_bytes) {
        if (++reads_without_progress_ == kReadsWithoutProgressMax) return fail(ENODATA);
    } else {
        reads_without_progress_ = 0;
    }
    ask();
    return Step::kAgain;
}

}  // namespace towline
