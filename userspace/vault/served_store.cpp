// SPDX-License-Identifier: Apache-2.0
// The first word of a name says what it is a name of; the rest is judged by whose it is.

#include "userspace/vault/served_store.hpp"

namespace towline {

namespace {

constexpr std::string_view kScheme = "vault:";

}  // namespace

Result<DiskSample> ServedStore::sample_disk(const std::string& name) {
    if (name.starts_with(kScheme)) {
        if (vault_folder_.empty())
            return fail(Code::kRefused, "this daemon offers no vault (towline serve --vault DIR)");
        return sample_folder(vault_folder_);
    }
    if (!volumes_)
        return fail(Code::kRefused, "this daemon offers a vault alone: name the target vault:NAME");
    return volumes_->sample_disk(name);
}

Result<TargetFacts> ServedStore::look(const std::string& name, const Uuid& source, bool dry_run) {
    if (name.starts_with(kScheme)) {
        if (!vault_)
            return fail(Code::kRefused,
                        "this daemon offers no vault that it could write to: it has none (towline "
                        "serve --vault DIR), or one that is encrypted, and whose key is named "
                        "here (--key-file) or there");
        TRY_STATUS(judge_(source_, standing_));
        points_ = std::make_unique<VaultTargetStore>(vault_, claim_);
        chosen_ = points_.get();
        TRY_STATUS(chosen_->hear_volumes(layout_));
        return chosen_->look(name.substr(kScheme.size()), source, dry_run);
    }
    if (!volumes_) {
        return fail(Code::kRefused, "this daemon offers a vault alone: name the target vault:NAME");
    }
    chosen_ = volumes_.get();
    TRY_STATUS(chosen_->hear_volumes(layout_));
    return chosen_->look(name, source, dry_run);
}

}  // namespace towline
