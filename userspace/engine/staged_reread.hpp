// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <vector>

#include "io/buffer_pool.hpp"
#include "userspace/engine/staged_sink.hpp"

namespace towline {

// Reads back what StagedApply wrote, against the journal that it came from: of a run whose own
// session died before it could. Owned by one loop thread.
class StagedReread {
  public:
    enum class End { kEqual, kDiffers, kFailed, kStopped };
    // The error says of kDiffers where, of kFailed why.
    using Done = std::function<void(End, std::optional<Error>)>;

    // `volume` was applied to, and has `volume_bytes` at least.
    StagedReread(IoEngine& engine, const TargetVolume& volume, std::uint64_t volume_bytes,
                 StagedRun run, Done done);
    ~StagedReread();
    StagedReread(const StagedReread&) = delete;
    StagedReread& operator=(const StagedReread&) = delete;

    void start();
    // Nothing new begins; `done` follows when what is under way has ended.
    void stop();
    bool idle() const { return active_ == 0; }

  private:
    // The same bytes, of the volume and as they are staged.
    struct Side {
        WholeRead reading;
        Completion completion;
        Buffer* buffer = nullptr;
    };
    static constexpr std::size_t kPieceBytes = std::size_t{1} << 20;
    static constexpr std::size_t kSides = 2;

    void next();
    void on_read(Side& side, std::int64_t result);
    void compare();
    void end(End end, std::optional<Error> error);

    IoEngine& engine_;
    const VolumeView volume_;
    const StagedRun run_;
    Done done_;
    StagedView view_;
    BufferPool pool_{kSides, kPieceBytes};
    std::array<Side, kSides> sides_;
    std::vector<Extent> left_;  // to be read, the next one last
    Extent piece_;
    std::optional<Error> failed_;
    std::size_t active_ = 0;
    bool stopped_ = false;
};

}  // namespace towline
