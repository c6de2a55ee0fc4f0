// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "io/engine.hpp"

namespace towline {

// What reading a volume through an engine needs to know of it.
struct VolumeView {
    // One of several volumes that a run has side by side; between two of them is a gap.
    struct Part {
        Handle handle;
        std::uint64_t start_bytes = 0;
        std::uint64_t size_bytes = 0;
    };
    Handle handle;
    std::uint64_t size_bytes = 0;
    std::uint32_t alignment_bytes = 512;
    std::vector<Part> parts{};  // in order; empty: all of it is behind `handle`
};

// One stretch of a volume, read whole however short the single reads come. The owner keeps the
// completion and counts what is under way; it hands every result to take().
class WholeRead {
  public:
    enum class Step {
        kAgain,  // the rest was asked for: the completion is under way again
        kWhole,
        kFailed,  // system_errno() and offset_bytes() say why and where
    };

    // `into` has room for the length rounded up to the volume's alignment: the end of a volume is
    // read with the sector that it lies in. Begins in one part and does not reach the next; what is
    // behind the part's end reads as zeros.
    void start(IoEngine& engine, const VolumeView& volume, MutableByteSpan into,
               std::uint64_t offset_bytes, std::size_t length_bytes, Completion& done);
    Step take(std::int64_t result);

    int system_errno() const { return system_errno_; }
    // Where the next read would begin.
    std::uint64_t offset_bytes() const { return offset_bytes_ + have_bytes_; }

  private:
    // A direct read ends short on a sector's border, but for the end of the file; a buffered one
    // may be interrupted anywhere.
    static constexpr int kReadsWithoutProgressMax = 8;

    void ask();
    Step fail(int system_errno);

    IoEngine* engine_ = nullptr;
    Handle file_;
    std::uint32_t alignment_bytes_ = 512;
    std::uint64_t start_bytes_ = 0;  // of the part
    MutableByteSpan into_;
    std::uint64_t offset_bytes_ = 0;
    std::size_t length_bytes_ = 0;
    std::size_t padding_bytes_ = 0;  // behind the part's end
    std::size_t have_bytes_ = 0;
    int reads_without_progress_ = 0;
    int system_errno_ = 0;
    Completion* done_ = nullptr;
};

}  // namespace towline
