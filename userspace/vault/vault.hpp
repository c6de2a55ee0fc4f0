// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "userspace/vault/point.hpp"

namespace towline {

struct VaultConfig {
    Uuid vault;
    std::string created_at;
    // What retention leaves of each name, whatever it is told.
    std::uint64_t floor_count = 0;
    std::uint64_t floor_seconds = 0;
    std::uint64_t number = 1;  // of its object
};

// An open vault: its store, and what it is.
class Vault {
  public:
    // A new one in an empty folder, that is made where it is missing. kRefused when there is
    // something in it.
    static Status init(const std::filesystem::path& folder, const VaultConfig& config);
    static Status init(ObjectStore& store, VaultConfig config);
    static Result<std::shared_ptr<Vault>> open(const std::filesystem::path& folder);
    static Result<std::shared_ptr<Vault>> open(std::shared_ptr<ObjectStore> store);

    const Uuid& id() const { return config_.vault; }
    const VaultConfig& config() const { return config_; }
    ObjectStore& store() const { return *store_; }
    const std::shared_ptr<ObjectStore>& shared_store() const { return store_; }
    // The next config takes this one's place.
    Status save(VaultConfig config);

    // Names that have a log, encoded.
    Result<std::vector<std::string>> series() const;

  private:
    Vault(std::shared_ptr<ObjectStore> store, VaultConfig config)
        : store_(std::move(store)), config_(std::move(config)) {}

    std::shared_ptr<ObjectStore> store_;
    VaultConfig config_;
};

// "DIR/NAME" or "DIR/NAME@ID" of a user's `vault:...`: DIR is the first folder on the way that is a
// vault. With an empty name for a vault itself.
struct VaultName {
    std::filesystem::path folder;
    std::string name;
    std::string point;

    // Nothing when the text does not begin with "vault:".
    static Result<std::optional<VaultName>> parse(const std::string& text);
};

}  // namespace towline
