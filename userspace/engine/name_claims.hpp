// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "io/uuid.hpp"

namespace towline {

// Which of a server's sessions has which name. One has it, or none. A session of the same source
// that came later takes it over: the source holds a lock of its own while it runs, so the earlier
// one is dead at its other end, however alive the link may look. What wakes up late never takes a
// name from a later session. Pure: the server asks under its mutex, and does what is said.
class NameClaims {
  public:
    using Session = std::uint64_t;  // in the order in which they came
    enum class Verdict {
        kYours,
        kBusy,    // another source has it, or somebody whom a dry run does not end
        kFenced,  // a later session of the same source has it, or waits for it
        kWait,    // until `end` has left, which is to be told to; then ask again
    };
    struct Answer {
        Verdict verdict{};
        std::optional<Session> end{};
    };

    Session arrive() { return ++last_; }
    Answer ask(Session session, const std::string& name, const Uuid& source, bool dry_run);
    // Nothing of it will touch what is under the name any more, or it waits no longer.
    void leave(Session session) { claims_.erase(session); }

  private:
    struct Claim {
        std::string name;
        Uuid source;
        bool holds = false;  // else it waits
    };
    Session last_ = 0;
    std::map<Session, Claim> claims_;
};

}  // namespace towline
