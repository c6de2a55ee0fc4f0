// SPDX-License-Identifier: Apache-2.0
// A vault is what its config says; the config with the highest number counts, and is put like any
// other object, so that of two who change it one fails.

#include "userspace/vault/vault.hpp"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "io/durable_file.hpp"
#include "userspace/vault/folder_store.hpp"

namespace towline {

using vault_format::ObjectKind;

namespace {

namespace fs = std::filesystem;

ObjectId config_id(std::uint64_t number) {
    return {.kind = ObjectKind::kConfig, .series = "", .writer = {}, .number = number};
}

nlohmann::json to_json(const VaultConfig& config) {
    nlohmann::json json{{"vault", config.vault.text()},
                        {"created_at", config.created_at},
                        {"floor_count", config.floor_count},
                        {"floor_seconds", config.floor_seconds}};
    if (config.encryption) json["encryption"] = to_json(*config.encryption);
    if (config.dedup)
        json["dedup"] = config.dedup->text();
    else
        json["proofs"] = config.proofs.text();
    return json;
}

Result<bool> put_config(ObjectStore& store, const VaultConfig& config) {
    return put_document(store, config.vault, config_id(config.number), to_json(config));
}

std::optional<Uuid> uuid_in(const nlohmann::json& json, const char* field) {
    const auto found = json.find(field);
    if (found == json.end() || !found->is_string()) return std::nullopt;
    return Uuid::parse(found->get<std::string>());
}

Result<VaultConfig> config_from_json(const nlohmann::json& json, std::uint64_t number) {
    const std::string name = config_id(number).object_name();
    const auto vault = Uuid::parse(json.value("vault", ""));
    const auto count = json.find("floor_count");
    const auto floor = json.find("floor_seconds");
    if (!vault || count == json.end() || floor == json.end() || !count->is_number_unsigned() ||
        !floor->is_number_unsigned())
        return object_damaged(name, "it is not of its form");
    VaultConfig config{.vault = *vault,
                       .created_at = json.value("created_at", ""),
                       .floor_count = *count,
                       .floor_seconds = *floor,
                       .encryption = std::nullopt,
                       .dedup = std::nullopt,
                       .proofs = {},
                       .number = number};
    const auto encryption = json.find("encryption");
    if (encryption != json.end()) config.encryption = TRY(encryption_from_json(*encryption, name));
    const bool dedup = json.contains("dedup");
    const auto drawn = uuid_in(json, dedup ? "dedup" : "proofs");
    if (!drawn) return object_damaged(name, "it is not of its form");
    if (dedup)
        config.dedup = drawn;
    else
        config.proofs = *drawn;
    return config;
}

// In an encrypted vault nobody without its key can tell whether it has a block. Who can read one
// that is not can read its blocks: nothing is hidden from him.
Secret make_block_key(const VaultConfig& config, std::optional<ByteSpan> vault_key) {
    const std::string_view purpose =
        config.dedup ? "towline vault identities 1" : "towline vault proofs 1";
    const Uuid& drawn = config.dedup ? *config.dedup : config.proofs;
    std::vector<std::byte> info(purpose.size());
    std::ranges::copy(std::as_bytes(std::span(purpose)), info.begin());
    info.insert(info.end(), config.vault.bytes.begin(), config.vault.bytes.end());
    return hkdf_sha256(vault_key.value_or(drawn.bytes), drawn.bytes, info, kKeyBytes);
}

}  // namespace

Result<VaultConfig> encrypted(VaultConfig config, KeyKind kind, ByteSpan by,
                              const ScryptCost& cost) {
    keep_memory_private();
    if (config.vault.is_nil()) config.vault = Uuid::random();
    Secret key(kKeyBytes);
    fill_random(key.bytes());
    config.encryption = VaultEncryption{};
    config.encryption->wraps.push_back(TRY(KeyWrap::make(kind, by, key, config.vault, cost)));
    return config;
}

Status Vault::init(const fs::path& folder, const VaultConfig& config) {
    TRY_STATUS(make_folder(folder));
    std::error_code error;
    const bool empty = fs::is_empty(folder, error);
    if (error) return fail_errno(error.value(), "cannot look at " + folder.string());
    if (!empty) {
        return fail(Code::kRefused,
                    folder.string() + " is not empty; choose a new folder for the vault");
    }
    const auto store = TRY(FolderStore::open(folder));
    return init(*store, config);
}

Status Vault::init(ObjectStore& store, VaultConfig config) {
    config.number = 1;
    if (config.vault.is_nil()) config.vault = Uuid::random();
    if (config.created_at.empty()) config.created_at = utc_now();
    if (!config.dedup) config.proofs = Uuid::random();
    if (!TRY(put_config(store, config))) return fail(Code::kRefused, "there is a vault already");
    return {};
}

// --- opening ------------------------------------------------------------------------------------

Result<VaultOutside> VaultOutside::look(const fs::path& folder) {
    std::error_code error;
    if (!fs::is_directory(folder / "config", error)) {
        return fail(
            Code::kRefused,
            folder.string() + " is no vault; make one with: towline vault init " + folder.string());
    }
    return look(std::shared_ptr(TRY(FolderStore::open(folder))), "the vault " + folder.string());
}

Result<VaultOutside> VaultOutside::look(std::shared_ptr<ObjectStore> store, std::string what) {
    std::optional<ObjectId> newest;
    for (const ObjectInfo& each : TRY(store->list(object_folder(ObjectKind::kConfig, "")))) {
        const auto id = parse_object_name(ObjectKind::kConfig, "", each.name);
        if (id && (!newest || id->number > newest->number)) newest = id;
    }
    if (!newest) return fail(Code::kRefused, "this is no vault: it has no config");
    const auto json = TRY(get_document(*store, Uuid{}, *newest));
    VaultConfig config = TRY(config_from_json(json, newest->number));
    // Now that the vault's uuid is known: is it that of the object's head?
    TRY_STATUS(get_document(*store, config.vault, *newest));
    return VaultOutside{std::move(store), std::move(config), std::move(what)};
}

Result<std::shared_ptr<Vault>> Vault::open(const fs::path& folder, const KeySource& keys) {
    return open(TRY(VaultOutside::look(folder)), keys);
}

Result<std::shared_ptr<Vault>> Vault::open(std::shared_ptr<ObjectStore> store,
                                           const KeySource& keys) {
    return open(TRY(VaultOutside::look(std::move(store))), keys);
}

Result<std::shared_ptr<Vault>> Vault::open(VaultOutside outside, const KeySource& keys) {
    const std::string what = outside.what;
    std::shared_ptr<Vault> vault(new Vault(std::move(outside)));
    const auto& encryption = vault->config_.encryption;
    if (!encryption && keys.demanded) {
        return fail(Code::kRefused, what +
                                        " is not encrypted, and a key was named for it; it is "
                                        "another vault than you mean, or needs none");
    }
    if (!encryption) {
        vault->block_key_ = make_block_key(vault->config_, std::nullopt);
        return vault;
    }
    keep_memory_private();
    UnlockedKey key = TRY(unlock(*encryption, vault->id(), keys, what));
    vault->block_key_ = make_block_key(vault->config_, key.key.bytes());
    vault->opened_by_ = std::move(key.wrap);
    vault->sealed_ = std::make_shared<SealedStore>(vault->stored_, vault->id(), std::move(key.key));
    vault->store_ = vault->sealed_;
    return vault;
}

Result<std::string> Vault::stored_name(const std::string& name) const {
    if (!sealed_) return name;
    return sealed_->stored_name(name);
}

Status Vault::save(VaultConfig config) {
    config.number = config_.number + 1;
    config.vault = config_.vault;
    if (!TRY(put_config(*stored_, config)))
        return fail(Code::kBusy, "somebody else changed the vault's config; try again");
    const std::vector<std::string> old{config_id(config_.number).object_name()};
    config_ = std::move(config);
    return stored_->remove(old);
}

std::string Vault::segment_series(const std::string& series) const {
    return config_.dedup ? vault_format::kPoolSeries : series;
}

Result<std::vector<std::string>> Vault::series() const {
    return store_->list_folders("log/");
}

}  // namespace towline
