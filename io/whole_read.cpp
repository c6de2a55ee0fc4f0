// SPDX-License-Identifier: Apache-2.0
// Short reads are taken up at the begin of the sector that they broke off in, since direct reads
// begin nowhere else. A file that was cut off within a sector gives the same piece of it for ever:
// reads that bring nothing are counted, and are an end of file in the end.

#include "io/whole_read.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "io/align.hpp"
#include "io/check.hpp"

namespace towline {

namespace {

const VolumeView::Part& part_at(const std::vector<VolumeView::Part>& parts,
                                std::uint64_t offset_bytes) {
    const auto behind =
        std::ranges::upper_bound(parts, offset_bytes, {}, &VolumeView::Part::start_bytes);
    CHECK(behind != parts.begin());
    return *std::prev(behind);
}

}  // namespace

void WholeRead::start(IoEngine& engine, const VolumeView& volume, MutableByteSpan into,
                      std::uint64_t offset_bytes, std::size_t length_bytes, Completion& done) {
    engine_ = &engine;
    file_ = volume.handle;
    alignment_bytes_ = volume.alignment_bytes;
    start_bytes_ = 0;
    padding_bytes_ = 0;
    if (!volume.parts.empty()) {
        const VolumeView::Part& part = part_at(volume.parts, offset_bytes);
        const std::uint64_t within = offset_bytes - part.start_bytes;
        CHECK(within < part.size_bytes);
        file_ = part.handle;
        start_bytes_ = part.start_bytes;
        const std::size_t whole = length_bytes;
        length_bytes = std::min<std::uint64_t>(length_bytes, part.size_bytes - within);
        padding_bytes_ = whole - length_bytes;
    }
    const auto asked_bytes = align_up<std::size_t>(length_bytes, alignment_bytes_);
    CHECK(length_bytes > 0 && asked_bytes <= into.size() &&
          length_bytes + padding_bytes_ <= into.size());
    into_ = into;
    offset_bytes_ = offset_bytes;
    length_bytes_ = length_bytes;
    have_bytes_ = 0;
    reads_without_progress_ = 0;
    system_errno_ = 0;
    done_ = &done;
    ask();
}

void WholeRead::ask() {
    const auto end = align_up<std::size_t>(length_bytes_, alignment_bytes_);
    engine_->read(file_, into_.subspan(have_bytes_, end - have_bytes_),
                  offset_bytes() - start_bytes_, *done_);
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
        std::memset(into_.data() + length_bytes_, 0, padding_bytes_);
        return Step::kWhole;
    }
    have_bytes_ = align_down<std::size_t>(have_bytes_ + came_bytes, alignment_bytes_);
    if (!interrupted && have_bytes_ == began_bytes) {
        if (++reads_without_progress_ == kReadsWithoutProgressMax) return fail(ENODATA);
    } else {
        reads_without_progress_ = 0;
    }
    ask();
    return Step::kAgain;
}

}  // namespace towline
