// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "io/engine.hpp"

namespace towline {

// All that another engine does. Who has one file more than it overrides read(), and detach() for
// that file.
class ForwardingEngine : public IoEngine {
  public:
    explicit ForwardingEngine(IoEngine& engine) : engine_(engine) {}

    std::string_view name() const override { return engine_.name(); }
    std::string notes() const override { return engine_.notes(); }
    Result<Handle> attach(int fd) override { return engine_.attach(fd); }
    void detach(Handle handle) override { engine_.detach(handle); }
    void register_buffers(const BufferPool& pool) override { engine_.register_buffers(pool); }
    void read(Handle file, MutableByteSpan into, std::uint64_t offset_bytes,
              Completion& done) override {
        engine_.read(file, into, offset_bytes, done);
    }
    void write(Handle file, ByteSpan from, std::uint64_t offset_bytes, Completion& done) override {
        engine_.write(file, from, offset_bytes, done);
    }
    void flush(Handle file, Completion& done) override { engine_.flush(file, done); }
    void zero(Handle file, std::uint64_t offset_bytes, std::uint64_t length_bytes, ZeroMode mode,
              Completion& done) override {
        engine_.zero(file, offset_bytes, length_bytes, mode, done);
    }
    void send(Handle socket, const msghdr* message, Completion& done) override {
        engine_.send(socket, message, done);
    }
    void receive(Handle socket, msghdr* message, ReceiveMode mode, Completion& done) override {
        engine_.receive(socket, message, mode, done);
    }
    void shut_down(Handle socket) override { engine_.shut_down(socket); }
    Instant now() const override { return engine_.now(); }
    void wait_until(Instant due, Completion& done) override { engine_.wait_until(due, done); }
    void cancel_wait(Completion& done) override { engine_.cancel_wait(done); }
    void post(Completion& done) override { engine_.post(done); }
    void begin_external(Completion& completion) override { engine_.begin_external(completion); }
    std::size_t in_flight() const override { return engine_.in_flight(); }
    Status run_once() override { return engine_.run_once(); }

  protected:
    IoEngine& engine_;
};

}  // namespace towline
