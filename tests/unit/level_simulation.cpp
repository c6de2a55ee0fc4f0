// SPDX-License-Identifier: Apache-2.0
// The pipeline in fluids: every millisecond each stage moves what its cores, its neighbours' room
// and its rate allow. Coarse, but it has what level control has to see through: buffers that fill
// at the speed of memory, workers that wait for cores, a queue between workers and socket.

#include "tests/unit/level_simulation.hpp"

#include <algorithm>
#include <limits>

namespace towline {
namespace {

constexpr double kTick = 0.001;
constexpr std::uint64_t kWindowTicks = 100;
constexpr double kQueueBytes = 4 << 20;

struct Codes {
    double ratio;
    double compress;
};

// Not the model's own numbers but those of another tree, by up to 15 % lower.
constexpr std::array<Codes, kLevelMax + 1> kOrdinary{{{1, 1e12},
                                                      {1.71, 786e6},
                                                      {1.96, 656e6},
                                                      {2.16, 592e6},
                                                      {2.36, 457e6},
                                                      {2.46, 341e6},
                                                      {2.51, 200e6},
                                                      {2.55, 141e6},
                                                      {2.56, 93e6},
                                                      {2.63, 17.7e6},
                                                      {2.66, 5.4e6}}};
constexpr double kDecompressSeconds = 1 / 1500e6;
constexpr double kSendSeconds = 0.35e-9;
constexpr double kReceiveSeconds = 0.35e-9;

Codes codes_of(Data data, int level) {
    const Codes codes = kOrdinary[static_cast<std::size_t>(level)];
    if (level == kLevelNone || data == Data::kOrdinary) return codes;
    if (data == Data::kLogs) return {1 + (codes.ratio - 1) * 5, codes.compress * 1.6};
    return {1.0, std::min(codes.compress * 1.5, 1.5e9)};
}

}  // namespace

std::string LevelOutcome::text() const {
    std::string text = "windows by level";
    for (const int count : windows)
        text += ' ' + std::to_string(count);
    return text + ", changes " + std::to_string(changes) + ", seconds " + std::to_string(seconds) +
           ", MB sent " + std::to_string(wire_bytes / 1e6);
}

LevelSimulation::LevelSimulation(const Machine& machine, LinkOf link_of, DataOf data_of)
    : machine_(machine), link_of_(std::move(link_of)), data_of_(std::move(data_of)) {}

LevelSimulation::LevelSimulation(const Machine& machine, double link, Data data)
    : LevelSimulation(
          machine, [link](double) { return link; }, [data](double) { return data; }) {}

void LevelSimulation::Pile::move_to(Pile& next, double wire_bytes) {
    if (wire <= 0) return;
    const double raw_bytes = raw * wire_bytes / wire;
    wire -= wire_bytes;
    raw -= raw_bytes;
    next.wire += wire_bytes;
    next.raw += raw_bytes;
}

// Each thread that has work gets the same part of the cores, at most one.
void LevelSimulation::share_cores(double moving, double coding) {
    const double part = std::min(1.0, machine_.cores / std::max(moving + coding, 1e-9));
    core_part_ = part;
    moving_cores_ = moving * part;
    coding_cores_ = coding * part;
}

// What the workers get done of `raw` bytes.
double LevelSimulation::encode(double raw, double ratio, double seconds_per_byte, int level) {
    if (level == kLevelNone) return raw;
    const double done = std::min(raw, coding_cores_ * kTick / seconds_per_byte);
    window_.coded_in += done;
    window_.coded_out += done / ratio;
    // By the clock on the wall: the wait for a core is part of it.
    window_.worker_seconds += done * seconds_per_byte / core_part_;
    return done;
}

double LevelSimulation::room_in_socket() const {
    return std::max(0.0, machine_.socket_buffers - socket_.wire);
}

void LevelSimulation::fill_socket() {
    const double here = machine_.target_here ? 1 : 0;
    const double movable = moving_cores_ * kTick / (kSendSeconds + here * kReceiveSeconds);
    const double moved = std::min({queue_.wire, movable, room_in_socket()});
    // A send is under way as long as something waits, else while its bytes are copied.
    const bool held = moved < 0.999 * queue_.wire;
    window_.busy_seconds += held ? kTick : std::min(kTick, moved * kSendSeconds / core_part_);
    const double raw_before = queue_.raw;
    queue_.move_to(socket_, moved);
    sent_ += raw_before - queue_.raw;
    window_.raw += raw_before - queue_.raw;
    window_.wire += moved;
}

void LevelSimulation::carry() {
    double moved = std::min(socket_.wire, link_of_(sent_) * kTick);
    const double raw = socket_.wire > 0 ? socket_.raw * moved / socket_.wire : 0;
    moved *= std::min(1.0, machine_.target_disk * kTick / std::max(raw, 1e-9));
    socket_.move_to(delivered_, moved);
}

void LevelSimulation::tick(double total_bytes, int level) {
    carry();
    const Codes codes = codes_of(data_of_(sent_), level);
    const double room = std::max(0.0, kQueueBytes - queue_.wire) * codes.ratio;
    const double taken = std::min({machine_.source * kTick, total_bytes - read_, room});
    const double here = machine_.target_here ? 1 : 0;
    // A receiver on these cores takes what it decompresses from the workers.
    const double cost = machine_.slowness / codes.compress + here * kDecompressSeconds;
    const double waiting = queue_.wire + taken / codes.ratio;
    const double moving = std::min(1.0, std::min(waiting, room_in_socket()) * kSendSeconds / kTick);
    const double coding = std::min<double>(machine_.workers, taken * cost / kTick);
    share_cores(moving * (1 + here), level == kLevelNone ? 0 : coding);
    const double done = encode(taken, codes.ratio, cost, level);
    read_ += done;
    queue_.raw += done;
    queue_.wire += done / codes.ratio;
    fill_socket();
}

double LevelSimulation::noisy(double value) {
    std::uniform_real_distribution<double> part(1 - machine_.noise, 1 + machine_.noise);
    return value * part(random_);
}

LevelControl::Window LevelSimulation::take_window(int level) {
    const auto duration = [](double value) {
        return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(value));
    };
    const auto bytes = [](double value) { return static_cast<std::uint64_t>(value); };
    LevelControl::Window window;
    window.length = duration(kWindowTicks * kTick);
    window.raw_bytes = bytes(window_.raw);
    window.wire_bytes = bytes(noisy(window_.wire));
    window.link_busy = std::min(window.length, duration(window_.busy_seconds));
    window.compressed_in = bytes(window_.coded_in);
    window.compressed_out = bytes(noisy(window_.coded_out));
    window.codec_cpu = duration(noisy(window_.worker_seconds));
    window.level = level;
    window_ = {};
    return window;
}

LevelOutcome LevelSimulation::run(double total_bytes, int level,
                                  const NextLevel& next_level) const {
    LevelSimulation state = *this;
    LevelOutcome outcome;
    for (std::uint64_t ticks = 1; state.delivered_.raw < total_bytes - 1; ++ticks) {
        state.tick(total_bytes, level);
        outcome.seconds += kTick;
        if (ticks % kWindowTicks != 0) continue;
        ++outcome.windows[static_cast<std::size_t>(level)];
        const int next = next_level(state.take_window(level));
        outcome.changes += next != level ? 1 : 0;
        level = next;
    }
    outcome.wire_bytes = state.delivered_.wire;
    outcome.last_level = level;
    return outcome;
}

LevelOutcome LevelSimulation::fixed(int level, double total_bytes) const {
    return run(total_bytes, level, [level](const LevelControl::Window&) { return level; });
}

LevelOutcome LevelSimulation::automatic(double total_bytes, CodecChoice choice) const {
    LevelControl control(choice, machine_.workers);
    return run(total_bytes, kLevelNone,
               [&control](const LevelControl::Window& window) { return control.step(window); });
}

LevelOutcome LevelSimulation::best_fixed(double total_bytes) const {
    std::array<LevelOutcome, kLevelMax + 1> outcomes;
    double fastest = std::numeric_limits<double>::max();
    for (int level = 0; level <= kLevelMax; ++level) {
        outcomes[static_cast<std::size_t>(level)] = fixed(level, total_bytes);
        fastest = std::min(fastest, outcomes[static_cast<std::size_t>(level)].seconds);
    }
    LevelOutcome best{.wire_bytes = std::numeric_limits<double>::max()};
    for (const LevelOutcome& outcome : outcomes) {
        const bool as_fast = outcome.seconds < fastest * 1.03;
        if (as_fast && outcome.wire_bytes < best.wire_bytes) best = outcome;
    }
    return best;
}

}  // namespace towline
