// SPDX-License-Identifier: Apache-2.0
// What was true when a volume was attached, kept where a reboot does not reach it.
//
// The marks and the hooks are the kernel's and go with it. A record without them is the proof that
// something was lost; without the record they could not be told from others of the same name.

#include "cbt/bpf/record.hpp"

#include <nlohmann/json.hpp>

#include "io/block_device.hpp"
#include "io/clock.hpp"
#include "io/document.hpp"
#include "io/durable_file.hpp"

namespace towline {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kFormat = 1;
constexpr Duration kLockMax = 30s;
constexpr const char* kSuffix = ".record";

json to_json(const BpfRecord& record) {
    const VolumeSpan& span = record.span;
    return {{"format", kFormat},
            {"tracker", record.tracker.text()},
            {"volume", record.volume},
            {"boot", span.boot},
            {"device", device_number_text(span.device)},
            {"disk", device_number_text(span.disk)},
            {"bio_based", span.bio_based},
            {"disk_sequence", span.disk_sequence},
            {"kind", span.identity.kind},
            {"locator", span.identity.locator},
            {"generation", span.identity.generation},
            {"first_sector", span.first_sector},
            {"volume_bytes", span.volume_bytes},
            {"block_bytes", record.block_bytes},
            {"attached_at", record.attached_at},
            {"ids", record.ids}};
}

dev_t device_in(const json& document, const char* key) {
    return parse_device_number(document.at(key).get<std::string>()).value_or(dev_t{0});
}

BpfRecord from_json(const json& document) {
    BpfRecord record;
    record.tracker = Uuid::parse(document.at("tracker").get<std::string>()).value_or(Uuid{});
    record.volume = document.at("volume");
    record.span.boot = document.at("boot");
    record.span.device = device_in(document, "device");
    record.span.disk = device_in(document, "disk");
    record.span.bio_based = document.at("bio_based");
    record.span.disk_sequence = document.at("disk_sequence");
    record.span.identity = {.kind = document.at("kind"),
                            .locator = document.at("locator"),
                            .generation = document.at("generation")};
    record.span.first_sector = document.at("first_sector");
    record.span.volume_bytes = document.at("volume_bytes");
    record.block_bytes = document.at("block_bytes");
    record.attached_at = document.at("attached_at");
    record.ids = document.at("ids").get<HookIds>();
    return record;
}

// nlohmann's exceptions end here.
Result<BpfRecord> parsed(const json& document, const fs::path& path) {
    try {
        if (document.at("format") == kFormat) return from_json(document);
    } catch (const json::exception&) {
        return fail(Code::kCorrupt, path.string() +
                                        " is damaged; remove it, and attach its volume "
                                        "again");
    }
    return fail(Code::kUnsupported, path.string() + " is of another version of Towline");
}

}  // namespace

BpfStanding judge(const BpfRecord& record, const std::optional<VolumeSpan>& now,
                  const std::optional<HookIds>& ids) {
    BpfStanding standing;
    const VolumeSpan& then = record.span;
    if (!now || !now->identity.same_volume(then.identity)) {
        standing.gone = true;
        standing.reasons.add(ChangeReason::kGap);
        return standing;
    }
    if (now->boot != then.boot) {
        standing.reasons.add(ChangeReason::kCrash);
        return standing;
    }
    if (now->disk_sequence != then.disk_sequence || now->device != then.device) {
        standing.gone = true;
        standing.reasons.add(ChangeReason::kGap);
        return standing;
    }
    if (now->volume_bytes > then.volume_bytes) standing.reasons.add(ChangeReason::kGrew);
    if (now->volume_bytes < then.volume_bytes) standing.reasons.add(ChangeReason::kShrank);
    if (now->first_sector != then.first_sector || record.ids.empty() || !ids || *ids != record.ids)
        standing.reasons.add(ChangeReason::kGap);
    standing.intact = standing.reasons.empty();
    return standing;
}

fs::path BpfRecords::path_of(const Uuid& tracker) const {
    return folder_ / (tracker.text() + kSuffix);
}

Result<Fd> BpfRecords::lock() const {
    TRY_STATUS(make_folder(folder_));
    return lock_file(folder_ / "lock", "the eBPF tracker", kLockMax);
}

Status BpfRecords::save(const BpfRecord& record) const {
    TRY_STATUS(make_folder(folder_));
    return save_document(path_of(record.tracker), to_json(record));
}

Result<std::optional<BpfRecord>> BpfRecords::load(const Uuid& tracker) const {
    const auto document = TRY(load_document(path_of(tracker)));
    if (!document) return std::nullopt;
    return TRY(parsed(*document, path_of(tracker)));
}

Result<std::vector<BpfRecord>> BpfRecords::all() const {
    std::vector<BpfRecord> records;
    std::error_code failed;
    for (fs::directory_iterator entry(folder_, failed), end; !failed && entry != end;
         entry.increment(failed)) {
        const auto tracker = Uuid::parse(entry->path().stem().string());
        if (!tracker || entry->path().extension() != kSuffix) continue;
        auto record = TRY(load(*tracker));
        if (record) records.push_back(std::move(*record));
    }
    if (failed && failed != std::errc::no_such_file_or_directory)
        return fail_errno(failed.value(), "reading " + folder_.string());
    return records;
}

Status BpfRecords::remove(const Uuid& tracker) const {
    std::error_code failed;
    fs::remove(path_of(tracker), failed);
    if (failed) return fail_errno(failed.value(), "removing " + path_of(tracker).string());
    return {};
}

}  // namespace towline
