// SPDX-License-Identifier: Apache-2.0
// Small states written in turn (io/slot_file). What cannot be read is kCorrupt, and the caller then
// treats the target as unknown: it costs a comparison, never a change.

#include "userspace/engine/file_source_store.hpp"

#include <nlohmann/json.hpp>

#include "io/checksum.hpp"
#include "io/document.hpp"
#include "io/durable_file.hpp"
#include "io/slot_file.hpp"
#include "userspace/engine/target_record.hpp"

namespace towline {

namespace {

constexpr int kFormat = 1;
constexpr Duration kNamingTime = std::chrono::seconds(30);
constexpr std::size_t kPendingBytesMax = std::size_t{1} << 30;

std::string hash_text(const std::string& text) {
    const BlockHasher hasher(BlockHasher::Seed{});
    const Hash128 hash = hasher.of(std::as_bytes(std::span(text)));
    Uuid name;
    store_le(name.bytes.data(), hash.low);
    store_le(name.bytes.data() + 8, hash.high);
    return name.text();
}

nlohmann::json to_json(const RollingAudit& audit) {
    return {{"next_bytes", audit.next_bytes}, {"covered_ms", audit.covered_ms}};
}

// A state without it was made before there was one.
RollingAudit audit_of(const nlohmann::json& json, const char* field) {
    RollingAudit audit;
    if (!json.contains(field)) return audit;
    audit.next_bytes = json.at(field).at("next_bytes").get<std::uint64_t>();
    audit.covered_ms = json.at(field).at("covered_ms").get<std::int64_t>();
    return audit;
}

nlohmann::json memory_json(const TargetMemory& memory) {
    nlohmann::json runs = nlohmann::json::array();
    for (const Uuid& run : memory.open_runs)
        runs.push_back(run.text());
    return {{"format", kFormat},
            {"target", memory.target.text()},
            {"base", to_json(memory.base)},
            {"volume_bytes", memory.volume_bytes},
            {"modified_ns", memory.modified_ns},
            {"filesystem", memory.filesystem},
            {"volumes", memory.volumes},
            {"open_runs", runs},
            {"open_mode", static_cast<int>(memory.open_mode)},
            {"open_plan_digest", memory.open_plan_digest},
            {"open_base", to_json(memory.open_base)},
            {"open_modified_ns", memory.open_modified_ns},
            {"open_filesystem", memory.open_filesystem},
            {"open_volumes", memory.open_volumes},
            {"open_volume_bytes", memory.open_volume_bytes},
            {"flush_failed_run", memory.flush_failed_run.text()},
            {"pending_trust", static_cast<int>(memory.pending_trust)},
            {"pending_doubt", static_cast<int>(memory.pending_doubt)},
            {"free_left_out", memory.free_left_out},
            {"open_free_left_out", memory.open_free_left_out},
            {"audit", to_json(memory.audit)},
            {"open_audit", to_json(memory.open_audit)}};
}

Result<Uuid> uuid_of(const std::string& text) {
    const auto uuid = Uuid::parse(text);
    if (!uuid) return fail(Code::kCorrupt, "a state file holds something else than a uuid");
    return *uuid;
}

Result<TargetMemory> memory_of(const nlohmann::json& json) {
    try {
        if (json.at("format").get<int>() != kFormat) {
            return fail(Code::kCorrupt,
                        "a state file has a format that this Towline does not know");
        }
        TargetMemory memory;
        memory.target = TRY(uuid_of(json.at("target").get<std::string>()));
        memory.base = TRY(base_from_json(json.at("base")));
        memory.volume_bytes = json.at("volume_bytes").get<std::uint64_t>();
        memory.modified_ns = json.at("modified_ns").get<std::int64_t>();
        memory.filesystem = json.at("filesystem").get<std::string>();
        for (const auto& run : json.at("open_runs")) {
            memory.open_runs.push_back(TRY(uuid_of(run.get<std::string>())));
        }
        memory.open_mode = static_cast<RunMode>(json.at("open_mode").get<std::uint8_t>());
        memory.open_plan_digest = json.at("open_plan_digest").get<std::uint64_t>();
        memory.open_base = TRY(base_from_json(json.at("open_base")));
        memory.open_modified_ns = json.at("open_modified_ns").get<std::int64_t>();
        memory.open_filesystem = json.at("open_filesystem").get<std::string>();
        memory.open_volume_bytes = json.at("open_volume_bytes").get<std::uint64_t>();
        if (json.contains("flush_failed_run"))
            memory.flush_failed_run = TRY(uuid_of(json.at("flush_failed_run").get<std::string>()));
        // A state without them was made without a tracker.
        if (json.contains("pending_trust")) {
            const int trust = json.at("pending_trust").get<int>();
            const bool known = trust >= static_cast<int>(Trust::kExact) &&
                               trust <= static_cast<int>(Trust::kUnknown);
            memory.pending_trust = known ? static_cast<Trust>(trust) : Trust::kUnknown;
            memory.pending_doubt = static_cast<Cause>(json.at("pending_doubt").get<int>());
        }
        memory.volumes = json.value("volumes", "");
        memory.open_volumes = json.value("open_volumes", "");
        memory.free_left_out = json.value("free_left_out", false);
        memory.open_free_left_out = json.value("open_free_left_out", false);
        memory.audit = audit_of(json, "audit");
        memory.open_audit = audit_of(json, "open_audit");
        return memory;
    } catch (const nlohmann::json::exception& problem) {
        return fail(Code::kCorrupt,
                    std::string("a state file is not of its form: ") + problem.what());
    }
}

// What a source is called here; nothing: it has no name yet, or what noted it is damaged.
Result<std::optional<Uuid>> named_source(const std::filesystem::path& file,
                                         const std::string& identity) {
    const auto document = load_document(file);
    if (!document && document.error().code != Code::kCorrupt)
        return std::unexpected(document.error());
    const bool known = document && *document && (*document)->value("identity", "") == identity;
    return known ? Uuid::parse((*document)->value("source", "")) : std::nullopt;
}

}  // namespace

Result<FileSourceStore> FileSourceStore::open(const std::filesystem::path& state_folder,
                                              const VolumeIdentity& identity, bool read_only) {
    const auto sources = state_folder / "sources";
    const std::string text = identity.kind + "\n" + identity.locator + "\n" + identity.generation;
    const auto name_file = sources / (hash_text(text) + ".source");
    FileSourceStore store;
    auto named = TRY(named_source(name_file, text));
    Fd naming;
    if (!named && !read_only) {
        // Two first runs at once would each give the source a name, and one of them work under
        // a name that nobody finds again.
        TRY_STATUS(make_folder(sources));
        naming = TRY(lock_file(sources / "naming.lock", "the naming of a source", kNamingTime));
        named = TRY(named_source(name_file, text));
    }
    store.source_ = named.value_or(Uuid::random());
    store.folder_ = sources / store.source_.text();
    if (named || read_only) return store;
    TRY_STATUS(make_folder(store.folder_));
    TRY_STATUS(save_document(name_file, {{"identity", text}, {"source", store.source_.text()}}));
    return store;
}

Result<Fd> FileSourceStore::lock(const std::string& target_text) const {
    return lock_file(folder_ / (hash_text(target_text) + ".lock"),
                     "the run from this source to " + target_text, kHolderDies);
}

Result<std::optional<TargetMemory>> FileSourceStore::load(const Uuid& target) {
    const auto document = TRY(load_document(folder_ / (target.text() + ".memory")));
    if (!document) return std::nullopt;
    TargetMemory memory = TRY(memory_of(*document));
    if (memory.target != target) return fail(Code::kCorrupt, "a state file is of another target");
    return memory;
}

Status FileSourceStore::save(const TargetMemory& memory) {
    return save_document(folder_ / (memory.target.text() + ".memory"), memory_json(memory));
}

Result<std::optional<ChangeMap>> FileSourceStore::pending(const Uuid& target) {
    const auto saved = TRY(read_slots(folder_ / (target.text() + ".pending"), kPendingBytesMax));
    if (!saved || saved->empty()) return std::nullopt;
    return TRY(ChangeMap::load(*saved));
}

Status FileSourceStore::save_pending(const Uuid& target, const ChangeMap& changes) {
    return write_slots(folder_ / (target.text() + ".pending"), changes.save());
}

Status FileSourceStore::drop_pending(const Uuid& target) {
    const auto path = folder_ / (target.text() + ".pending");
    std::error_code error;
    if (!std::filesystem::exists(path, error)) return {};
    return write_slots(path, {}, SlotSync::kLater);
}

Result<Fd> FileSourceStore::lock_tracking(Duration wait) const {
    return lock_file(folder_ / "tracking.lock", "the tracking of this source", wait);
}

Result<std::vector<Harvest>> FileSourceStore::harvests() {
    std::vector<Harvest> harvests;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
        if (entry.path().extension() != ".harvest") continue;
        const auto target = Uuid::parse(entry.path().stem().string());
        auto saved = read_slots(entry.path(), kPendingBytesMax);
        if (!saved && saved.error().code != Code::kCorrupt) return std::unexpected(saved.error());
        if (!target || !saved || !*saved) continue;
        auto harvest = Harvest::load(**saved);
        if (harvest && harvest->target == *target) harvests.push_back(std::move(*harvest));
    }
    if (error && error != std::errc::no_such_file_or_directory)
        return fail_errno(error.value(), "cannot read the folder " + folder_.string());
    return harvests;
}

Status FileSourceStore::save_harvest(const Harvest& harvest) {
    return write_slots(folder_ / (harvest.target.text() + ".harvest"), harvest.save());
}

}  // namespace towline
