// SPDX-License-Identifier: Apache-2.0
// The thread of a session. Other threads leave mail (a connection that joins, a cancellation) under
// the mutex and wake the loop; the loop takes it. The mail completion is begun before the first
// post and after each delivery, so that a post always finds it ready.

#include "userspace/engine/target_session.hpp"

#include <thread>

#include "io/worker_pool.hpp"
#include "userspace/engine/process_use.hpp"

namespace towline {

Status TargetSession::run(Fd first, TargetStore& store) {
    const auto engine = TRY(make_engine(engine_kind_));
    WorkerPool workers(*engine, std::max(1U, std::thread::hardware_concurrency()));
    const Duration cpu_began = thread_cpu_time();
    config_.cpu_time = [&] { return thread_cpu_time() - cpu_began + workers.cpu_time(); };
    config_.rss_max_bytes = process_rss_max_bytes;
    config_.join_token = join_token_;
    TargetPipeline pipeline(*engine, workers, store, config_);
    pipeline_ = &pipeline;
    sockets_.push_back(std::move(first));
    const Handle socket = TRY(engine->attach(sockets_.back().get()));
    mail_.on_done([this](std::int64_t) { take_mail(); });
    {
        const std::lock_guard lock(mutex_);
        engine->begin_external(mail_);
        engine_ = engine.get();
        if (cancelled_ || !joining_.empty()) post_mail();
    }
    pipeline.start(socket);
    while (!pipeline.finished())
        TRY_STATUS(engine->run_once());
    {
        // No mail from here on; what is posted already, or now, ends the loop.
        const std::lock_guard lock(mutex_);
        engine_ = nullptr;
        if (!mail_posted_) engine->post(mail_);
        mail_posted_ = true;
    }
    while (mail_.busy())
        TRY_STATUS(engine->run_once());
    pipeline_ = nullptr;
    if (pipeline.error()) return std::unexpected(*pipeline.error());
    return {};
}

Uuid TargetSession::join_token() const {
    return join_token_;
}

void TargetSession::post_mail() {
    if (engine_ == nullptr || mail_posted_) return;
    mail_posted_ = true;
    engine_->post(mail_);
}

void TargetSession::join(Fd further) {
    const std::lock_guard lock(mutex_);
    joining_.push_back(std::move(further));
    post_mail();
}

void TargetSession::cancel(Error error) {
    const std::lock_guard lock(mutex_);
    cancelled_ = std::move(error);
    post_mail();
}

void TargetSession::take_mail() {
    std::vector<Fd> joining;
    std::optional<Error> cancelled;
    IoEngine* engine = nullptr;
    {
        const std::lock_guard lock(mutex_);
        engine = engine_;
        if (engine == nullptr) return;
        mail_posted_ = false;
        engine->begin_external(mail_);
        joining.swap(joining_);
        cancelled.swap(cancelled_);
    }
    if (cancelled) pipeline_->cancel(std::move(*cancelled));
    for (Fd& socket : joining) {
        const auto handle = engine->attach(socket.get());
        if (!handle) continue;  // closed by its owner going away; the source hears of it
        sockets_.push_back(std::move(socket));
        pipeline_->join(*handle);
    }
}

}  // namespace towline
