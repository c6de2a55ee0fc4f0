// SPDX-License-Identifier: Apache-2.0
#pragma once

// The name of a series as it stands in the names of an encrypted vault's objects: always the same,
// read back by who has the key, and of use to nobody else.

#include <optional>
#include <string>

#include "io/uuid.hpp"
#include "userspace/vault/vault_crypto.hpp"

namespace towline {

class NameHider {
  public:
    NameHider(const Secret& vault_key, const Uuid& vault);

    // `name`: as encode_series() has it. kInvalid when it is longer than kNameBytesMax.
    Result<std::string> hide(const std::string& name) const;
    // Nothing when it is none of this vault's.
    std::optional<std::string> reveal(const std::string& hidden) const;

  private:
    ByteSpan check_key() const { return keys_.bytes().first(kKeyBytes); }
    ByteSpan stream_key() const { return keys_.bytes().last(kKeyBytes); }
    void mix(ByteSpan tag, MutableByteSpan text) const;

    Secret keys_;
};

}  // namespace towline
