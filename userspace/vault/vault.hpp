// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "userspace/vault/key_source.hpp"
#include "userspace/vault/point.hpp"
#include "userspace/vault/sealed_store.hpp"

namespace towline {

struct VaultConfig {
    Uuid vault;
    std::string created_at;
    // What retention leaves of each name, whatever it is told.
    std::uint64_t floor_count = 0;
    std::uint64_t floor_seconds = 0;
    std::optional<VaultEncryption> encryption;
    // Equal blocks are kept once. Drawn; the key of their identities hangs on it.
    std::optional<Uuid> dedup;
    // Of any other: drawn, and the key of proofs hangs on it.
    Uuid proofs{};
    std::uint64_t number = 1;  // of its object
};

// Of a new vault that is encrypted: its key is drawn, and wrapped by this.
Result<VaultConfig> encrypted(VaultConfig config, KeyKind kind, ByteSpan by,
                              const ScryptCost& cost = {});

// A vault as it can be seen without its key.
struct VaultOutside {
    std::shared_ptr<ObjectStore> stored;
    VaultConfig config;
    std::string what;  // for a person

    static Result<VaultOutside> look(const std::filesystem::path& folder);
    static Result<VaultOutside> look(std::shared_ptr<ObjectStore> store,
                                     std::string what = "the vault");
};

// An open vault: its store, and what it is.
class Vault {
  public:
    // A new one in an empty folder, that is made where it is missing. kRefused when there is
    // something in it.
    static Status init(const std::filesystem::path& folder, const VaultConfig& config);
    static Status init(ObjectStore& store, VaultConfig config);
    // kRefused when it is encrypted and nothing in `keys` opens it.
    static Result<std::shared_ptr<Vault>> open(const std::filesystem::path& folder,
                                               const KeySource& keys = {});
    static Result<std::shared_ptr<Vault>> open(std::shared_ptr<ObjectStore> store,
                                               const KeySource& keys = {});
    static Result<std::shared_ptr<Vault>> open(VaultOutside outside, const KeySource& keys);

    const Uuid& id() const { return config_.vault; }
    const VaultConfig& config() const { return config_; }
    ObjectStore& store() const { return *store_; }
    const std::shared_ptr<ObjectStore>& shared_store() const { return store_; }
    // Null when it is not encrypted.
    const SealedStore* sealed() const { return sealed_.get(); }
    // The wrap by which it was opened; empty when it is not encrypted.
    const std::string& opened_by() const { return opened_by_; }
    // Objects as they are stored, and what they are called there.
    ObjectStore& stored() const { return *stored_; }
    Result<std::string> stored_name(const std::string& name) const;
    // The next config takes this one's place.
    Status save(VaultConfig config);

    // Whose the segments of a name are, as an object's name has it: where equal blocks are kept
    // once, they are nobody's in particular.
    std::string segment_series(const std::string& series) const;
    // By which blocks are known in the tables of segments: of a vault that keeps equal blocks
    // once, and of any other.
    ByteSpan identity_key() const { return block_key_.bytes(); }
    ByteSpan proof_key() const { return block_key_.bytes(); }

    // Names that have a log, encoded.
    Result<std::vector<std::string>> series() const;

  private:
    explicit Vault(VaultOutside outside)
        : stored_(std::move(outside.stored)), store_(stored_), config_(std::move(outside.config)) {}

    std::shared_ptr<ObjectStore> stored_;
    std::shared_ptr<SealedStore> sealed_;
    std::shared_ptr<ObjectStore> store_;  // sealed_, or stored_ itself
    VaultConfig config_;
    std::string opened_by_;
    Secret block_key_;
};

}  // namespace towline
