// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>

#include "userspace/vault/key_wrap.hpp"

namespace towline {

// What a user has to open encrypted vaults with. Names of files, never what is in them.
struct KeySource {
    std::vector<std::filesystem::path> key_files;
    std::vector<std::filesystem::path> passphrase_files;
    // Asks a person; null: nobody is there to be asked.
    std::function<Result<Secret>(const std::string& prompt)> ask;
    // They were named for this very vault: one that is not encrypted is refused, as somebody may
    // have put it in the place of the one that was.
    bool demanded = false;
    // They are for whatever they open, at other hosts too: a vault that such a host keeps and
    // cannot open itself. One that they do not open is left to that host.
    bool for_any = false;

    bool empty() const { return key_files.empty() && passphrase_files.empty() && !ask; }
};

// What is in a file: kRefused when others than its owner could have read or written it, or there is
// too little of it to be a key.
Result<Secret> read_key_file(const std::filesystem::path& path);
// Its first line.
Result<Secret> read_passphrase_file(const std::filesystem::path& path);

struct UnlockedKey {
    Secret key;
    std::string wrap;  // the id of the one that was opened
};

// kRefused when nothing of the source opens it. `what`: the vault, for a person.
Result<UnlockedKey> unlock(const VaultEncryption& encryption, const Uuid& vault,
                           const KeySource& source, const std::string& what);

}  // namespace towline
