// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "userspace/vault/key_source.hpp"

namespace towline {

// What a command line says of keys: names of files. No key is ever a word of it.
struct KeyWords {
    std::vector<std::string> key_files;
    std::vector<std::string> passphrase_files;
};

void add_key_options(CLI::App& command, KeyWords& words);

// What the words name, else the environment, else systemd's credentials; and the terminal, if there
// is one. Before the process leaves its terminal.
KeySource key_source(const KeyWords& words);

// What is to open a vault from now on.
struct NewKey {
    KeyKind kind{};
    Secret by;
};
// The one file that is named, or a new passphrase, asked for twice.
Result<NewKey> new_key(const KeySource& source, const std::string& prompt);

}  // namespace towline
