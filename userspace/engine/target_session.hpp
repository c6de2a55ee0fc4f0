// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "io/engine.hpp"
#include "io/fd.hpp"
#include "userspace/engine/target_pipeline.hpp"

namespace towline {

// One target pipeline on a thread and an engine of its own. run() is that thread; join() and
// cancel() may be called from any other.
class TargetSession {
  public:
    TargetSession(EngineKind engine_kind, TargetPipeline::Config config)
        : engine_kind_(engine_kind), config_(std::move(config)) {}

    // Blocks until the session has ended. The error is why it failed.
    Status run(Fd first, TargetStore& store);

    void join(Fd further);
    void cancel(Error error);
    // Known once the pipeline stands; lets connections find their session.
    Uuid join_token() const;

  private:
    void take_mail();
    void post_mail();

    EngineKind engine_kind_;
    TargetPipeline::Config config_;

    mutable std::mutex mutex_;
    IoEngine* engine_ = nullptr;      // under mutex_; null while the loop does not run
    std::vector<Fd> joining_;         // under mutex_
    std::optional<Error> cancelled_;  // under mutex_
    bool mail_posted_ = false;        // under mutex_
    Uuid join_token_ = Uuid::random();
    Completion mail_;
    TargetPipeline* pipeline_ = nullptr;  // loop thread only
    std::vector<Fd> sockets_;             // loop thread only
};

}  // namespace towline
