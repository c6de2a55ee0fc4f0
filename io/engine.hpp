// SPDX-License-Identifier: Apache-2.0
#pragma once

// The loop that a side of a run stands on: disk, network, timers and the hand-over from worker
// threads, one thread, no locks. Completions are first all gathered, then called back, so that a
// callback never runs inside the start of another operation. Implementations: io_uring, libaio
// (with epoll), simulated.
//
// The loop thread is the one that first calls run_once(). An engine may be built, and its handles
// attached, elsewhere before that; from then on every call but post() is made on the loop thread.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <sys/socket.h>

#include "io/bytes.hpp"
#include "io/clock.hpp"
#include "io/completion.hpp"
#include "io/result.hpp"

namespace towline {

class BufferPool;

// A file or socket as an engine knows it: an index of its own, registered with the ring where there
// is one.
struct Handle {
    int index = -1;
    explicit operator bool() const { return index >= 0; }
    bool operator==(const Handle&) const = default;
};

// Both leave the range reading as zeros for ever (never a discard that may read back otherwise):
// kFree may give the space back where that is certain (image files), kKeep never does.
enum class ZeroMode { kFree, kKeep };

// kAll asks the engine to complete only when everything is there; it may still be short (an engine
// that cannot, an interruption, the end), so callers go on from what they got.
enum class ReceiveMode { kSome, kAll };

enum class EngineKind { kAuto, kUring, kAio };

class IoEngine {
  public:
    // Nothing may be in flight: the owner shuts its sockets down, cancels its waits, and runs the
    // loop until in_flight() is 0. What the kernel still writes into memory cannot be called back.
    virtual ~IoEngine() = default;

    virtual std::string_view name() const = 0;
    // What a person should know of this engine: "registered buffers refused (memlock 8 MiB)" and
    // the like.
    virtual std::string notes() const { return {}; }

    // The descriptor stays the caller's and must outlive its handle. A handle holds the file open
    // by itself: closing the descriptor alone neither ends a connection nor frees a file.
    virtual Result<Handle> attach(int fd) = 0;
    // Nothing may be in flight on it.
    virtual void detach(Handle handle) = 0;
    // Makes transfers from and to the pool's buffers cheaper where the system allows it; never
    // required. One pool an engine; it must outlive the engine.
    virtual void register_buffers(const BufferPool& pool) = 0;

    virtual void read(Handle file, MutableByteSpan into, std::uint64_t offset_bytes,
                      Completion&) = 0;
    virtual void write(Handle file, ByteSpan from, std::uint64_t offset_bytes, Completion&) = 0;
    virtual void flush(Handle file, Completion&) = 0;
    virtual void zero(Handle file, std::uint64_t offset_bytes, std::uint64_t length_bytes, ZeroMode,
                      Completion&) = 0;

    // `message` and what it points to stay valid until the completion. Short transfers happen.
    virtual void send(Handle socket, const msghdr* message, Completion&) = 0;
    virtual void receive(Handle socket, msghdr* message, ReceiveMode, Completion&) = 0;
    // Makes whatever waits on the socket complete, with an error or end of file. Callable twice.
    virtual void shut_down(Handle socket) = 0;

    virtual Instant now() const = 0;
    // Completes with 0 at `due`, or with -ECANCELED when cancelled. One operation like any other.
    virtual void wait_until(Instant due, Completion&) = 0;
    virtual void cancel_wait(Completion&) = 0;

    // The only call that other threads may make: delivers the completion with 0 on the loop's
    // thread. begin_external() must have been called for it on the loop's thread before.
    virtual void post(Completion&) = 0;
    virtual void begin_external(Completion& completion) { completion.begin(); }

    // Operations that were begun (posts and waits too) and not yet delivered.
    virtual std::size_t in_flight() const = 0;

    // Submits what was started, waits for at least one completion, delivers all that are there. May
    // come back with none (a signal). To call it with nothing in flight is a bug: it would never
    // end.
    virtual Status run_once() = 0;
};

// kAuto: io_uring where the kernel lets us, else libaio; name() and notes() say which and why.
Result<std::unique_ptr<IoEngine>> make_engine(EngineKind kind);

}  // namespace towline
