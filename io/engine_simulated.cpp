// SPDX-License-Identifier: Apache-2.0
// An operation is a number, its completion, and what to do when the side is killed; what happens to
// it are events of the world that know it by its number. finish() only gathers: the callbacks run
// in deliver(), an event of its own a little later, so that several completions come in one batch
// as they do from a ring, and none comes from inside the start of another operation.

#include "io/engine_simulated.hpp"

#include <cerrno>
#include <memory>
#include <utility>

#include "io/check.hpp"
#include "io/simulated_world.hpp"

namespace towline {

SimulatedEngine::SimulatedEngine(SimulatedWorld& world, std::string name)
    : world_(world), name_(std::move(name)) {}

SimulatedEngine::~SimulatedEngine() {
    CHECK(in_flight() == 0);
    if (!killed_) kill(KillStyle::kClose);
}

// ---- handles

Result<Handle> SimulatedEngine::attach(int) {
    return fail(Code::kUnsupported, "a simulated engine has no real descriptors");
}

Handle SimulatedEngine::attach_disk(SimulatedDisk& disk) {
    slots_.push_back({.disk = &disk});
    return {static_cast<int>(slots_.size()) - 1};
}

Handle SimulatedEngine::attach_socket(SimulatedConnection& connection, ConnectionSide side) {
    slots_.push_back({.connection = &connection, .side = side});
    return {static_cast<int>(slots_.size()) - 1};
}

void SimulatedEngine::detach(Handle handle) {
    if (killed_) return;
    for (const auto& [number, operation] : operations_) {
        CHECK(operation.handle_index != handle.index);
    }
    const Slot emptied = std::exchange(slot(handle), {});
    if (emptied.connection != nullptr) emptied.connection->shut_down(emptied.side);
}

SimulatedEngine::Slot& SimulatedEngine::slot(Handle handle) {
    CHECK(handle && static_cast<std::size_t>(handle.index) < slots_.size());
    Slot& found = slots_[static_cast<std::size_t>(handle.index)];
    CHECK(found.disk != nullptr || found.connection != nullptr);
    return found;
}

// ---- operations

std::uint64_t SimulatedEngine::begin(Kind kind, Handle handle, Completion& completion,
                                     std::function<void()> interrupt) {
    completion.begin();
    operations_.emplace(++last_number_,
                        Operation{kind, &completion, handle.index, std::move(interrupt)});
    return last_number_;
}

void SimulatedEngine::finish(std::uint64_t number, std::int64_t result) {
    const auto operation = operations_.extract(number);
    CHECK(!operation.empty());
    Completion& completion = *operation.mapped().completion;
    completion.finish(result);
    ready_.push_back(completion);
    ++ready_count_;
    world_.note(name_, number, static_cast<std::uint64_t>(result));
    if (std::exchange(wake_scheduled_, true)) return;
    const Duration delay = world_.random().between(Duration(0), world_.timings().wake_max);
    world_.at(world_.now() + delay, this, [this] { deliver(); });
}

std::uint64_t SimulatedEngine::number_of(const Completion& completion, Kind kind) const {
    for (const auto& [number, operation] : operations_) {
        if (operation.completion == &completion && operation.kind == kind) return number;
    }
    return 0;
}

// The batch is a member because a callback may kill the engine, and with it the rest of the batch.
void SimulatedEngine::deliver() {
    wake_scheduled_ = false;
    batch_.swap(ready_);
    while (!batch_.empty()) {
        Completion& completion = batch_.front();
        batch_.pop_front();
        --ready_count_;
        ++delivered_count_;
        completion.deliver();
    }
}

Status SimulatedEngine::run_once() {
    CHECK(in_flight() > 0);
    const std::uint64_t before = delivered_count_;
    while (delivered_count_ == before) {
        if (killed_) return fail(Code::kCancelled, name_ + " was killed");
        if (!world_.step()) return fail(Code::kTimeout, name_ + " waits for what cannot come");
    }
    return {};
}

// ---- disks

void SimulatedEngine::start_disk(Handle file, DiskRequest request, Completion& completion) {
    if (killed_) return;
    CHECK(slot(file).disk != nullptr);
    SimulatedDisk& disk = *slot(file).disk;
    const auto shared = std::make_shared<DiskRequest>(request);
    disk.begin(*shared);
    const std::uint64_t number =
        begin(Kind::kDisk, file, completion, [&disk, shared] { disk.interrupt(*shared); });
    world_.at(shared->effect_at, this, [&disk, shared] { disk.take_effect(*shared); });
    world_.at(shared->done_at, this,
              [this, &disk, shared, number] { finish(number, disk.complete(*shared)); });
}

void SimulatedEngine::read(Handle file, MutableByteSpan into, std::uint64_t offset_bytes,
                           Completion& completion) {
    start_disk(file,
               {.operation = DiskOperation::kRead,
                .into = into,
                .offset_bytes = offset_bytes,
                .length_bytes = into.size()},
               completion);
}

void SimulatedEngine::write(Handle file, ByteSpan from, std::uint64_t offset_bytes,
                            Completion& completion) {
    start_disk(file,
               {.operation = DiskOperation::kWrite,
                .from = from,
                .offset_bytes = offset_bytes,
                .length_bytes = from.size()},
               completion);
}

void SimulatedEngine::flush(Handle file, Completion& completion) {
    start_disk(file, {.operation = DiskOperation::kFlush}, completion);
}

// The mode makes no difference to what is read back, and nothing else is promised.
void SimulatedEngine::zero(Handle file, std::uint64_t offset_bytes, std::uint64_t length_bytes,
                           ZeroMode, Completion& completion) {
    start_disk(file,
               {.operation = DiskOperation::kZero,
                .offset_bytes = offset_bytes,
                .length_bytes = length_bytes},
               completion);
}

// ---- sockets

void SimulatedEngine::send(Handle socket, const msghdr* message, Completion& completion) {
    if (killed_) return;
    const Slot& used = slot(socket);
    CHECK(used.connection != nullptr);
    SimulatedStream& stream = used.connection->outgoing(used.side);
    const std::uint64_t number =
        begin(Kind::kSend, socket, completion, [&stream] { stream.forget_sender(); });
    stream.send(message, [this, number](std::int64_t result) { finish(number, result); });
}

void SimulatedEngine::receive(Handle socket, msghdr* message, ReceiveMode mode,
                              Completion& completion) {
    if (killed_) return;
    const Slot& used = slot(socket);
    CHECK(used.connection != nullptr);
    SimulatedStream& stream = used.connection->incoming(used.side);
    const std::uint64_t number =
        begin(Kind::kReceive, socket, completion, [&stream] { stream.forget_receiver(); });
    stream.receive(message, mode, [this, number](std::int64_t result) { finish(number, result); });
}

void SimulatedEngine::shut_down(Handle socket) {
    if (killed_) return;
    const Slot& used = slot(socket);
    CHECK(used.connection != nullptr);
    used.connection->shut_down(used.side);
}

// ---- time, and other threads

Instant SimulatedEngine::now() const {
    return world_.now();
}

void SimulatedEngine::wait_until(Instant due, Completion& completion) {
    if (killed_) return;
    const std::uint64_t number = begin(Kind::kWait, {}, completion);
    const auto ring = [this, number] {
        if (operations_.contains(number)) finish(number, 0);
    };
    world_.at(due, this, ring);
}

// One that is already due, or was cancelled before, stays as it is.
void SimulatedEngine::cancel_wait(Completion& completion) {
    if (const std::uint64_t number = number_of(completion, Kind::kWait)) finish(number, -ECANCELED);
}

void SimulatedEngine::begin_external(Completion& completion) {
    if (!killed_) begin(Kind::kExternal, {}, completion);
}

void SimulatedEngine::post(Completion& completion) {
    if (killed_) return;
    const std::uint64_t number = number_of(completion, Kind::kExternal);
    CHECK(number != 0);
    const Duration delay = world_.random().between(Duration(0), world_.timings().post_max);
    world_.at(world_.now() + delay, this, [this, number] { finish(number, 0); });
}

SimulatedWorkQueue::SimulatedWorkQueue(SimulatedWorld& world, SimulatedEngine& home,
                                       unsigned worker_count)
    : world_(world), home_(home), worker_count_(worker_count) {
    CHECK(worker_count > 0);
}

void SimulatedWorkQueue::submit(Work& work) {
    if (home_.killed()) return;
    home_.begin_external(work.done);
    const SimulatedTimings& timings = world_.timings();
    const Duration delay = world_.random().between(timings.work_min, timings.work_max);
    const auto worker_index = static_cast<unsigned>(world_.random().below(worker_count_));
    // The engine owns the event: work of a side that was killed does not run.
    world_.at(world_.now() + delay, &home_, [this, &work, worker_index] {
        work.run(worker_index);
        home_.post(work.done);
    });
}

// ---- death

void SimulatedEngine::kill(KillStyle style) {
    CHECK(!killed_);
    killed_ = true;
    world_.note("kill " + name_, static_cast<std::uint64_t>(style), in_flight());
    world_.cancel_all(this);
    for (auto& [number, operation] : operations_) {
        if (operation.interrupt) operation.interrupt();
        operation.completion->abandon();
    }
    operations_.clear();
    ready_.splice(ready_.end(), batch_);
    ready_.clear_and_dispose([](Completion* completion) { completion->abandon(); });
    ready_count_ = 0;
    end_sockets(style);
}

void SimulatedEngine::end_sockets(KillStyle style) {
    for (const Slot& used : slots_) {
        if (used.connection == nullptr) continue;
        if (style == KillStyle::kClose) used.connection->shut_down(used.side);
        if (style == KillStyle::kReset) used.connection->reset();
        if (style == KillStyle::kSilent) used.connection->outgoing(used.side).fall_silent();
    }
}

}  // namespace towline
