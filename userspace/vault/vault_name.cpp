// SPDX-License-Identifier: Apache-2.0
// One text says where a vault is and what of it is meant. Who opens it need not know whether its
// objects lie in a folder or behind a connection.

#include "userspace/vault/vault_name.hpp"

#include "userspace/vault/remote_store.hpp"

namespace towline {

using vault_format::ObjectKind;

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kScheme = "vault:";

// Of any number: the first one goes when the second one is put.
bool has_config(const fs::path& folder) {
    std::error_code error;
    for (const auto& each : fs::directory_iterator(folder / "config", error)) {
        const std::string name = "config/" + each.path().filename().string();
        if (parse_object_name(ObjectKind::kConfig, "", name) && each.is_regular_file(error))
            return true;
    }
    return false;
}

void split_point(VaultName& found) {
    const auto at_sign = found.name.rfind('@');
    if (at_sign == std::string::npos) return;
    found.point = found.name.substr(at_sign + 1);
    found.name.resize(at_sign);
}

}  // namespace

Result<std::optional<VaultName>> VaultName::parse(const std::string& text) {
    if (!text.starts_with(kScheme)) return std::optional<VaultName>();
    const std::string rest = text.substr(kScheme.size());
    std::error_code error;
    const fs::path whole = fs::absolute(rest, error);
    if (rest.empty() || error) return fail(Code::kInvalid, text + ": write vault:DIR/NAME");
    VaultName found;
    fs::path at;
    for (const fs::path& part : whole) {
        if (found.folder.empty()) {
            at /= part;
            if (has_config(at)) found.folder = at;
            continue;
        }
        if (part.empty()) continue;
        found.name += (found.name.empty() ? "" : "/") + part.string();
    }
    if (found.folder.empty()) {
        return fail(Code::kRefused, "there is no vault on the way to " + rest +
                                        "; make one with: towline vault init DIR");
    }
    split_point(found);
    return std::optional(std::move(found));
}

Result<std::optional<VaultName>> VaultName::parse_any(const std::string& text) {
    const bool served = (text.starts_with("tcp://") || text.starts_with("unix:")) &&
                        text.find("/" + std::string(kScheme)) != std::string::npos;
    if (!served) return parse(text);
    const auto remote = TRY(RemoteTarget::parse(text));
    if (!remote || !remote->name.starts_with(kScheme)) return std::optional<VaultName>();
    VaultName found;
    found.server = remote->address;
    found.name = remote->name.substr(kScheme.size());
    split_point(found);
    return std::optional(std::move(found));
}

Result<VaultName> VaultName::parse_point(const std::string& text,
                                         const std::filesystem::path& records) {
    auto name = TRY(parse_any(text));
    if (!name || name->name.empty() || name->point.empty()) {
        return fail(Code::kInvalid,
                    text + ": write vault:DIR/NAME@ID or tcp://HOST:PORT/vault:NAME@ID");
    }
    name->records = records;
    return std::move(*name);
}

std::string VaultName::text() const {
    const std::string at = point.empty() ? "" : "@" + point;
    if (!server) return std::string(kScheme) + (folder / name).string() + at;
    const char* const end = server->kind == Address::Kind::kUnix ? ":/" : "/";
    return server->text() + end + std::string(kScheme) + name + at;
}

Result<VaultOutside> VaultName::look() const {
    if (!server) return VaultOutside::look(folder);
    return VaultOutside::look(std::shared_ptr(TRY(RemoteStore::connect(*server, records))),
                              "the vault at " + server->text());
}

Result<std::shared_ptr<Vault>> VaultName::open(const KeySource& keys) const {
    return Vault::open(TRY(look()), keys);
}

}  // namespace towline
