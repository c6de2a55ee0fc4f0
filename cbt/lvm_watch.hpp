// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "cbt/lvm_report.hpp"

namespace towline {

// The status of a device-mapper device; nothing: it is of no kind that is known here.
Result<std::optional<SnapshotRoom>> lvm_room(const std::string& path);

// Looks after the room of one snapshot for as long as it stands: gives a thick one more while its
// group has any, and gives a thin one up before its pool is full, since a full pool fails the
// writes of its volumes. One thread, which touches nothing of its owner's.
class LvmWatch {
  public:
    struct Subject {
        std::string name;              // GROUP/NAME
        std::string path;              // of the image
        std::string pool_path;         // thin: of its pool's device; empty: it is thick
        std::uint64_t thin_id = 0;     // thin: the image's own, within its pool
        std::uint64_t step_bytes = 0;  // thick: by how much it grows; 0: it does not
    };
    explicit LvmWatch(Subject subject);
    ~LvmWatch();
    LvmWatch(const LvmWatch&) = delete;
    LvmWatch& operator=(const LvmWatch&) = delete;

  private:
    void watch();
    // False: there is nothing left to be done.
    bool look();
    void give_up() const;

    const Subject subject_;
    bool grows_;  // the thread's, as is the next
    unsigned unseen_ = 0;
    std::mutex mutex_;
    std::condition_variable ended_;
    bool end_ = false;
    std::thread thread_;  // last: it uses the others
};

// At which a pool's images are given up; and at which none is made any more.
inline constexpr double kPoolShareMax = 0.95;
inline constexpr double kPoolShareBegin = 0.80;

}  // namespace towline
