// SPDX-License-Identifier: Apache-2.0
#pragma once

// The vault's key as its config has it: wrapped, once for each passphrase or key file that opens
// it.

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "io/uuid.hpp"
#include "userspace/vault/vault_crypto.hpp"

namespace towline {

enum class KeyKind { kPassphrase, kKeyFile };

std::string_view key_kind_name(KeyKind kind);

struct KeyWrap {
    std::string id;  // 8 digits of hex, drawn
    KeyKind kind{};
    std::string created_at;
    ScryptCost cost;  // of a passphrase
    std::vector<std::byte> salt;
    std::vector<std::byte> nonce;
    std::vector<std::byte> wrapped;  // the key, sealed
    bool operator==(const KeyWrap&) const = default;

    // `by`: the passphrase, or what is in the key file.
    static Result<KeyWrap> make(KeyKind kind, ByteSpan by, const Secret& vault_key,
                                const Uuid& vault, const ScryptCost& cost = {});
    // Nothing when it was wrapped by something else.
    Result<std::optional<Secret>> unwrap(ByteSpan by, const Uuid& vault) const;
};

// The `encryption` of a config.
struct VaultEncryption {
    static constexpr std::size_t kWrapsMax = 16;
    std::vector<KeyWrap> wraps;
    bool operator==(const VaultEncryption&) const = default;
};

nlohmann::json to_json(const VaultEncryption& encryption);
// kCorrupt; kUnsupported for a cipher that is not known here. `name` is the config's.
Result<VaultEncryption> encryption_from_json(const nlohmann::json& json, const std::string& name);

}  // namespace towline
