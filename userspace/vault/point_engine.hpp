// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "io/forwarding_engine.hpp"
#include "io/work_queue.hpp"
#include "userspace/vault/volume_cache.hpp"

namespace towline {

// An engine that has one file more than the one that it stands on: a volume of a point. Workers
// read it; all else is the other engine's.
class PointEngine final : public ForwardingEngine {
  public:
    static constexpr Handle kPoint{1 << 30};

    PointEngine(IoEngine& engine, WorkQueue& workers, std::shared_ptr<VolumeReader> volume);
    ~PointEngine() override;

    // Of the first read that failed.
    const std::optional<Error>& failure() const { return failure_; }

    void read(Handle file, MutableByteSpan into, std::uint64_t offset_bytes,
              Completion& done) override;

    void detach(Handle handle) override {
        if (handle != kPoint) ForwardingEngine::detach(handle);
    }

  private:
    struct Read {
        Work work;
        Completion* done = nullptr;
        MutableByteSpan into;
        std::uint64_t offset_bytes = 0;
        Status status;  // the worker's until it is done
    };

    Read& take();
    Status carry_out(const Read& read);
    void finish(Read& read);

    WorkQueue& workers_;
    VolumeCache volume_;
    std::optional<Error> failure_;
    std::vector<std::unique_ptr<Read>> reads_;
    std::vector<Read*> free_;
};

}  // namespace towline
