// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "transport/messages.hpp"
#include "userspace/engine/footing.hpp"

namespace towline {

// Tells what a source stands on to a target that may be on the same host, and nothing to one that
// is not: names of devices and files are hashed under a key that only this host has, for as long as
// it is up. Containers of one host are one host.
class StandingKey {
  public:
    // Of this host; none where the kernel does not name its boot.
    static std::optional<StandingKey> of_this_host(const Uuid& source);
    StandingKey(const std::string& boot, const Uuid& source);

    Standing hide(const Footing& footing) const;
    // A footing of this host's as comparable with what a peer told: by hidden names.
    Footing hidden(Footing footing) const;
    bool is_host_of(const Standing& standing) const { return standing.host == host_; }

  private:
    Hash128 name(const std::string& element) const;

    BlockHasher hasher_;
    Hash128 host_;
};

// What a peer may say: a chain that a walk down devices can have made.
Status check_standing(const Standing& standing);
// Of a standing that passed.
Footing told_footing(const Standing& standing);

}  // namespace towline
