// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <thread>

#include "userspace/control/job_service.hpp"

namespace towline {

// Tells everybody who wants to know, each in the order of the events, on a thread of its own. What
// was not told when the daemon ended is told by the next one: once, or, where it died just then,
// twice. A receiver that is away is tried again, ever later; after kTriesMax the event is given up.
class Notifier {
  public:
    static constexpr unsigned kTriesMax = 8;

    explicit Notifier(JobService& service);
    // The service has been stopped.
    ~Notifier();
    Notifier(const Notifier&) = delete;
    Notifier& operator=(const Notifier&) = delete;

    // One try. Blocks for as long as the receiver or program may take.
    static Status tell(const Notification& notification, const JobEventRecord& event);

  private:
    struct Progress {
        std::uint64_t seen = 0;  // all up to this one are told, or not wanted
        std::uint64_t trying = 0;
        unsigned tries = 0;
        Instant next_try{};
    };

    void work();
    bool advance(const Store::Told& told);
    void note_told(const std::string& name, std::uint64_t sequence);

    JobService& service_;
    std::map<std::string, Progress> progress_;  // the thread's
    std::thread thread_;
};

}  // namespace towline
