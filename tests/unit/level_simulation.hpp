// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <random>
#include <string>

#include "transport/level_control.hpp"

namespace towline {

struct Machine {
    double cores = 2;
    unsigned workers = 2;
    double slowness = 1;        // the codec takes this much longer than in the table
    bool target_here = false;   // the receiver runs on the same cores
    double source = 2e9;        // bytes a second that the volume gives
    double target_disk = 10e9;  // bytes a second, raw, that the target writes
    double socket_buffers = 6e6;
    double noise = 0;  // windows are measured wrong by up to this part
};

enum class Data { kOrdinary, kRandom, kLogs };

struct LevelOutcome {
    double seconds = 0;
    double wire_bytes = 0;
    int changes = 0;
    int last_level = 0;
    std::array<int, kLevelMax + 1> windows{};  // by level

    std::string text() const;
};

// A run as level control sees it: source, workers, a bounded queue, socket buffers, the link and
// the target, in steps of a millisecond. Link speed (bytes a second) and data may depend on how
// many raw bytes are sent.
class LevelSimulation {
  public:
    using LinkOf = std::function<double(double sent)>;
    using DataOf = std::function<Data(double sent)>;

    LevelSimulation(const Machine& machine, LinkOf link_of, DataOf data_of);
    LevelSimulation(const Machine& machine, double link, Data data);

    LevelOutcome fixed(int level, double total_bytes) const;
    LevelOutcome automatic(double total_bytes, CodecChoice choice = CodecChoice::kAuto) const;
    // Of the fixed levels that are as fast as the fastest, the densest: what an expert would have
    // chosen.
    LevelOutcome best_fixed(double total_bytes) const;

  private:
    using NextLevel = std::function<int(const LevelControl::Window&)>;

    LevelOutcome run(double total_bytes, int level, const NextLevel& next_level) const;
    void tick(double total_bytes, int level);
    void share_cores(double moving, double coding);
    double encode(double raw, double ratio, double seconds_per_byte, int level);
    double room_in_socket() const;
    void fill_socket();
    void carry();
    LevelControl::Window take_window(int level);
    double noisy(double value);

    // Bytes somewhere on their way, and what they were before compression.
    struct Pile {
        double wire = 0;
        double raw = 0;
        void move_to(Pile& next, double wire_bytes);
    };
    struct Measured {
        double raw = 0;
        double wire = 0;
        double busy_seconds = 0;
        double coded_in = 0;
        double coded_out = 0;
        double worker_seconds = 0;
    };

    Machine machine_;
    LinkOf link_of_;
    DataOf data_of_;
    std::mt19937_64 random_{5};
    double read_ = 0;
    double sent_ = 0;
    Pile queue_;
    Pile socket_;
    Pile delivered_;
    double moving_cores_ = 1;
    double coding_cores_ = 1;
    double core_part_ = 1;  // of its demand, what each thread gets
    Measured window_;
};

}  // namespace towline
