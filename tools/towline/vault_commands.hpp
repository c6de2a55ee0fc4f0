// SPDX-License-Identifier: Apache-2.0
#pragma once

// Of the group `towline vault`, in files of their own.

#include <functional>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "tools/towline/key_words.hpp"
#include "tools/towline/progress_bar.hpp"
#include "userspace/vault/retention.hpp"
#include "userspace/vault/vault_name.hpp"

namespace towline {

struct VaultWords {
    std::string folder;
    KeyWords keys;
    bool encrypt = false;
    bool dedup = false;
    bool json = false;
    bool quiet = false;
    bool dry_run = false;
    bool repair = false;
    bool resume = false;
    std::string state_dir = "/var/lib/towline";
    double rate_mbit = 0;
    std::string name;  // prune: of this name alone
    RetentionPolicy policy;
    VaultConfig config;  // init: the floor
};

inline std::string bytes_text(std::uint64_t bytes) {
    return human_bytes(static_cast<double>(bytes));
}

inline void print_json(const nlohmann::json& json) {
    std::printf("%s\n", json.dump(2).c_str());
}

// What a long command shows while it works.
class VaultBar {
  public:
    VaultBar(const VaultWords& words, std::string stage)
        : bar_(!words.quiet && !words.json), stage_(std::move(stage)), began_(monotonic_now()) {}
    void show(std::uint64_t done, std::uint64_t total) {
        bar_.show({.stage = stage_,
                   .done_bytes = done,
                   .total_bytes = total,
                   .elapsed = monotonic_now() - began_});
    }
    void clear() { bar_.clear(); }

  private:
    ProgressBar bar_;
    std::string stage_;
    Instant began_;
};

// A vault as a command's words name it: its folder, or tcp://HOST:PORT/vault: where a server keeps
// it. With a NAME behind that, this name of it.
Result<VaultName> find_vault(const std::string& text);
// Where a server gives nothing away that is changed or removed: kRefused for a vault of one.
Status refuse_served(const std::string& text);

using VaultPerform = std::function<Result<int>(const VaultWords&)>;

// A command of the group, with the words that all have.
CLI::App* add_vault_word(CLI::App& group, const char* name, const char* what,
                         std::function<int()>& run, const std::shared_ptr<VaultWords>& words,
                         VaultPerform perform);

void add_vault_scrub_commands(CLI::App& group, std::function<int()>& run,
                              const std::shared_ptr<VaultWords>& words);
void add_vault_key_command(CLI::App& group, std::function<int()>& run);

}  // namespace towline
