// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "io/engine.hpp"
#include "io/simulated_connection.hpp"
#include "io/simulated_disk.hpp"
#include "io/work_queue.hpp"

namespace towline {

class SimulatedWorld;

// What the peers of a side that is killed see of it.
enum class KillStyle {
    kClose,   // the process died: what was sent arrives, then the end of file
    kReset,   // the same, with ECONNRESET
    kSilent,  // the host died: from some byte under way on nothing more comes, no end either
};

// The loop of one side of a simulated run, on the clock and events of its world. All its disks and
// the world outlive it.
class SimulatedEngine final : public IoEngine {
  public:
    // The name tells the sides apart in the trace.
    SimulatedEngine(SimulatedWorld& world, std::string name);
    // Nothing may be in flight, unless it was killed.
    ~SimulatedEngine() override;

    // Instead of attach(), which has nothing to offer for a real descriptor. A handle's index is
    // never used again, so that one that was detached is noticed.
    Handle attach_disk(SimulatedDisk& disk);
    Handle attach_socket(SimulatedConnection& connection, ConnectionSide side);

    // The process dies, between two events or inside one: nothing of it completes any more, disk
    // operations in flight have happened, or in part, or not. Its objects can be destroyed after,
    // and what they still call here does nothing. A new engine on the same disks is the restart; a
    // power loss is this, then SimulatedDisk::crash.
    void kill(KillStyle style);
    bool killed() const { return killed_; }

    std::string_view name() const override { return name_; }
    Result<Handle> attach(int fd) override;
    // A socket that was not shut down is closed by it.
    void detach(Handle handle) override;
    void register_buffers(const BufferPool&) override {}

    void read(Handle file, MutableByteSpan into, std::uint64_t offset_bytes,
              Completion& completion) override;
    void write(Handle file, ByteSpan from, std::uint64_t offset_bytes,
               Completion& completion) override;
    void flush(Handle file, Completion& completion) override;
    void zero(Handle file, std::uint64_t offset_bytes, std::uint64_t length_bytes, ZeroMode mode,
              Completion& completion) override;

    void send(Handle socket, const msghdr* message, Completion& completion) override;
    void receive(Handle socket, msghdr* message, ReceiveMode mode, Completion& completion) override;
    void shut_down(Handle socket) override;

    Instant now() const override;
    void wait_until(Instant due, Completion& completion) override;
    void cancel_wait(Completion& completion) override;
    void post(Completion& completion) override;
    void begin_external(Completion& completion) override;
    std::size_t in_flight() const override { return operations_.size() + ready_count_; }

    // Lets the whole world run until this engine has delivered something; other sides are served
    // on the way. Fails when nothing can happen any more: this side would hang for ever. A harness
    // of several sides runs the world itself instead. Never from inside a callback.
    Status run_once() override;

  private:
    enum class Kind { kDisk, kSend, kReceive, kWait, kExternal };
    struct Operation {
        Kind kind;
        Completion* completion;
        int handle_index;  // -1: none
        // What becomes of it when the side is killed.
        std::function<void()> interrupt;
    };
    struct Slot {
        SimulatedDisk* disk = nullptr;
        SimulatedConnection* connection = nullptr;
        ConnectionSide side = ConnectionSide::kFirst;
    };

    Slot& slot(Handle handle);
    std::uint64_t begin(Kind kind, Handle handle, Completion& completion,
                        std::function<void()> interrupt = {});
    void finish(std::uint64_t number, std::int64_t result);
    // 0 when there is none such in flight.
    std::uint64_t number_of(const Completion& completion, Kind kind) const;
    void start_disk(Handle file, DiskRequest request, Completion& completion);
    void deliver();
    void end_sockets(KillStyle style);

    SimulatedWorld& world_;
    std::string name_;
    std::vector<Slot> slots_;
    std::map<std::uint64_t, Operation> operations_;  // by number: in the order they were started
    std::uint64_t last_number_ = 0;
    CompletionList ready_;         // finished, their callbacks still to run
    CompletionList batch_;         // being called back
    std::size_t ready_count_ = 0;  // in both
    std::uint64_t delivered_count_ = 0;
    bool wake_scheduled_ = false;
    bool killed_ = false;
};

// Stands for the worker pool: each piece of work runs whole, at some later moment, in any order.
class SimulatedWorkQueue final : public WorkQueue {
  public:
    SimulatedWorkQueue(SimulatedWorld& world, SimulatedEngine& home, unsigned worker_count);
    void submit(Work& work) override;

  private:
    SimulatedWorld& world_;
    SimulatedEngine& home_;
    unsigned worker_count_;
};

}  // namespace towline
