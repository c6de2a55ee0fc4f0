// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "io/volume.hpp"
#include "transport/messages.hpp"
#include "userspace/engine/root_folder.hpp"

namespace towline {

// Where a target's name leads: beneath a daemon's root for a peer, to any path for a local user.
class TargetPlace {
  public:
    virtual ~TargetPlace() = default;
    virtual Result<bool> exists(const std::string& name) const = 0;
    virtual Result<Volume> open(const std::string& name, Access access) const = 0;
    virtual Result<Volume> create(const std::string& name, std::uint64_t size_bytes) const = 0;
    // Where an image of that name is, or would be.
    virtual Result<Fd> open_folder(const std::string& name) const = 0;
    // Where a replica's staged run is kept if nobody says another place; nothing: among the
    // records.
    virtual std::optional<std::filesystem::path> beside(const Volume& /*target*/) const {
        return std::nullopt;
    }
    // Refuses a target that shares bytes with the source, or is stored on it, where the source is
    // on this host. `standing`: what a peer's stands on.
    virtual Status refuse_same(const Volume& target, const Uuid& source,
                               const Standing& standing) const = 0;
};

std::unique_ptr<TargetPlace> place_beneath(RootFolder root);
// `refuse_same`: what a target that is to be written to is asked first.
std::unique_ptr<TargetPlace> local_place(std::function<Status(const Volume& target)> refuse_same);

}  // namespace towline
