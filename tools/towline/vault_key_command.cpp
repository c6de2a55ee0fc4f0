// SPDX-License-Identifier: Apache-2.0
// `towline vault key`: what opens an encrypted vault. The data stays as it is: only the vault's key
// is wrapped anew, in the next config. Whoever changes that must open the vault first, and what
// opens it last cannot be taken away.

#include <algorithm>
#include <cstdio>

#include "tools/towline/error_report.hpp"
#include "tools/towline/vault_commands.hpp"

namespace towline {

namespace {

struct WrapWords {
    std::string folder;
    std::string id;
    KeyWords keys;
    KeyWords new_keys;
    bool json = false;
};

nlohmann::json json_of(const KeyWrap& wrap) {
    return {{"id", wrap.id}, {"kind", key_kind_name(wrap.kind)}, {"created_at", wrap.created_at}};
}

void tell(const VaultEncryption& encryption, const WrapWords& words) {
    if (words.json) {
        nlohmann::json keys = nlohmann::json::array();
        for (const KeyWrap& each : encryption.wraps)
            keys.push_back(json_of(each));
        print_json({{"keys", std::move(keys)}});
        return;
    }
    std::printf("%-8s  %-10s  %s\n", "ID", "KIND", "CREATED");
    for (const KeyWrap& each : encryption.wraps)
        std::printf("%-8s  %-10s  %s\n", each.id.c_str(),
                    std::string(key_kind_name(each.kind)).c_str(), each.created_at.c_str());
}

Result<VaultOutside> look_here(const std::string& folder) {
    TRY_STATUS(refuse_served(folder));
    return VaultOutside::look(folder);
}

std::unexpected<Error> not_encrypted(const std::string& folder) {
    return fail(Code::kRefused, folder +
                                    " is not encrypted, and has no keys; encryption is chosen "
                                    "when a vault is made (towline vault init --encrypt)");
}

Result<int> list(const WrapWords& words) {
    const VaultOutside outside = TRY(look_here(words.folder));
    if (!outside.config.encryption) return not_encrypted(words.folder);
    tell(*outside.config.encryption, words);
    return 0;
}

Result<std::shared_ptr<Vault>> open(const WrapWords& words) {
    VaultOutside outside = TRY(look_here(words.folder));
    if (!outside.config.encryption) return not_encrypted(words.folder);
    return Vault::open(std::move(outside), key_source(words.keys));
}

Result<KeyWrap> new_wrap(const Vault& vault, const WrapWords& words) {
    KeySource named;
    for (const std::string& each : words.new_keys.key_files)
        named.key_files.emplace_back(each);
    for (const std::string& each : words.new_keys.passphrase_files)
        named.passphrase_files.emplace_back(each);
    const NewKey key = TRY(new_key(named, "the new passphrase of the vault: "));
    return KeyWrap::make(key.kind, key.by.bytes(), vault.sealed()->key(), vault.id());
}

Result<int> save(Vault& vault, VaultEncryption encryption, const WrapWords& words) {
    VaultConfig config = vault.config();
    config.encryption = std::move(encryption);
    TRY_STATUS(vault.save(std::move(config)));
    tell(*vault.config().encryption, words);
    return 0;
}

Result<int> add(const WrapWords& words) {
    const auto vault = TRY(open(words));
    VaultEncryption encryption = *vault->config().encryption;
    if (encryption.wraps.size() == VaultEncryption::kWrapsMax) {
        return fail(Code::kRefused, "the vault has " + std::to_string(encryption.wraps.size()) +
                                        " keys, and can have no more; remove one first");
    }
    encryption.wraps.push_back(TRY(new_wrap(*vault, words)));
    return save(*vault, std::move(encryption), words);
}

// In the place of the one by which it was opened.
Result<int> change(const WrapWords& words) {
    const auto vault = TRY(open(words));
    VaultEncryption encryption = *vault->config().encryption;
    const auto used = std::ranges::find(encryption.wraps, vault->opened_by(), &KeyWrap::id);
    *used = TRY(new_wrap(*vault, words));
    return save(*vault, std::move(encryption), words);
}

Result<int> remove(const WrapWords& words) {
    const auto vault = TRY(open(words));
    VaultEncryption encryption = *vault->config().encryption;
    const auto gone = std::ranges::find(encryption.wraps, words.id, &KeyWrap::id);
    if (gone == encryption.wraps.end()) {
        return fail(Code::kInvalid, "the vault has no key " + words.id +
                                        "; see: towline vault key list " + words.folder);
    }
    if (encryption.wraps.size() == 1) {
        return fail(Code::kRefused,
                    "it is the last key, and without one all in the vault would be lost; add "
                    "another first (towline vault key add)");
    }
    encryption.wraps.erase(gone);
    return save(*vault, std::move(encryption), words);
}

// --- words --------------------------------------------------------------------------------------

using Perform = Result<int> (*)(const WrapWords&);

CLI::App* add_word(CLI::App& group, const char* name, const char* what, std::function<int()>& run,
                   const std::shared_ptr<WrapWords>& words, Perform perform) {
    CLI::App* command = group.add_subcommand(name, what);
    command->add_option("DIR", words->folder, "the vault's folder")->required();
    command->add_flag("--json", words->json, "one JSON object on standard output");
    command->callback([words, perform, &run] {
        run = [words, perform] {
            const auto done = perform(*words);
            if (done) return *done;
            return report_error("vault key", done.error(), words->json);
        };
    });
    return command;
}

void add_new_key_options(CLI::App& command, KeyWords& words) {
    command
        .add_option("--new-key-file", words.key_files,
                    "the key file that is to open it from now on")
        ->type_name("FILE");
    command
        .add_option("--new-passphrase-file", words.passphrase_files,
                    "a file whose first line is the passphrase that is to open it from now on")
        ->type_name("FILE");
}

}  // namespace

void add_vault_key_command(CLI::App& group, std::function<int()>& run) {
    auto words = std::make_shared<WrapWords>();
    CLI::App* keys = group.add_subcommand("key", "Looks after what opens an encrypted vault.");
    keys->require_subcommand(1);
    add_word(*keys, "list", "Lists the keys and passphrases, not what they are.", run, words, list);
    CLI::App* added = add_word(*keys, "add",
                               "Adds a key or passphrase; asks for one if no file is "
                               "named.",
                               run, words, add);
    CLI::App* changed = add_word(
        *keys, "change", "Puts another in the place of the one that opens it.", run, words, change);
    CLI::App* removed =
        add_word(*keys, "remove", "Removes a key or passphrase.", run, words, remove);
    removed->add_option("ID", words->id, "as list has it")->required();
    for (CLI::App* each : {added, changed, removed})
        add_key_options(*each, words->keys);
    for (CLI::App* each : {added, changed})
        add_new_key_options(*each, words->new_keys);
}

}  // namespace towline
