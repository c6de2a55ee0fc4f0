// SPDX-License-Identifier: Apache-2.0
// Every object carries checks over what is stored of it, beside those that need the key: rot is
// found by whoever keeps the disks. Somebody who replaces an object whole is found with the key
// alone.

#include "userspace/vault/outside_scrub.hpp"

#include <nlohmann/json.hpp>

#include "userspace/vault/sealed_object.hpp"

namespace towline {

using vault_format::ObjectKind;

namespace {

struct Found {
    std::vector<ObjectInfo> objects;
    std::uint64_t bytes = 0;
};

Result<Found> find_all(ObjectStore& store) {
    Found found;
    for (const char* const top : {"log/", "index/", "segment/"}) {
        for (const std::string& name : TRY(store.list_folders(top)))
            for (ObjectInfo& each : TRY(store.list(top + name + "/"))) {
                found.bytes += each.bytes;
                found.objects.push_back(std::move(each));
            }
    }
    return found;
}

Status check_config(const VaultOutside& outside, const ObjectInfo& object) {
    const auto id = parse_object_name(ObjectKind::kConfig, "", object.name);
    if (!id) return object_damaged(object.name, "a strange name");
    TRY_STATUS(get_document(*outside.stored, outside.config.vault, *id));
    return {};
}

// A collector may have removed it since it was listed.
bool is_gone(const Error& error) {
    return error.system_errno == ENOENT;
}

}  // namespace

Result<ScrubReport> scrub_outside(const VaultOutside& outside, const Scrub::Options& options) {
    ScrubReport report;
    const auto count = [&](const ObjectInfo& object, const Status& checked) -> Status {
        const bool damaged = !checked && checked.error().code == Code::kCorrupt;
        if (damaged)
            report.findings.push_back(
                {.object = object.name, .what = checked.error().context, .hits = {}});
        if (!checked && !damaged && !is_gone(checked.error())) return checked;
        ++report.objects;
        report.bytes += object.bytes;
        return {};
    };
    for (const ObjectInfo& each : TRY(outside.stored->list("config/")))
        TRY_STATUS(count(each, check_config(outside, each)));
    const Found found = TRY(find_all(*outside.stored));
    for (const ObjectInfo& each : found.objects) {
        if (options.cancelled()) return fail(Code::kCancelled, "the scrub was interrupted");
        const Status checked =
            check_sealed_object(*outside.stored, outside.config.vault, each.name);
        TRY_STATUS(count(each, checked));
        options.progress(report.bytes, found.bytes);
    }
    return report;
}

}  // namespace towline
