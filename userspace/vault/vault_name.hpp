// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/address.hpp"
#include "userspace/vault/vault.hpp"

namespace towline {

// What a user calls a name in a vault, or a point of it, or the vault itself (with an empty name).
struct VaultName {
    std::filesystem::path folder;   // empty: a server keeps the vault
    std::optional<Address> server;  // that keeps it, and has no key
    std::string name;
    std::string point;
    // Of this host: what was seen of a server's vault is noted there. Empty: nowhere.
    std::filesystem::path records;

    // "vault:DIR/NAME" or "vault:DIR/NAME@ID": DIR is the first folder on the way that is a vault.
    // Nothing when the text does not begin with "vault:".
    static Result<std::optional<VaultName>> parse(const std::string& text);
    // The same, or "tcp://HOST:PORT/vault:NAME@ID" and "unix:PATH:/vault:NAME@ID". Nothing when it
    // is none of them.
    static Result<std::optional<VaultName>> parse_any(const std::string& text);
    // One that names a point; kInvalid when it is none.
    static Result<VaultName> parse_point(const std::string& text,
                                         const std::filesystem::path& records);

    std::string text() const;
    Result<VaultOutside> look() const;
    Result<std::shared_ptr<Vault>> open(const KeySource& keys) const;
};

}  // namespace towline
