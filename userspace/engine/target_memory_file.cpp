// SPDX-License-Identifier: Apache-2.0
// One slot file, so that no crash can part the two: a line that names the form and the length of
// the text, the text (JSON), then the change map, if there is one. Before form 2 it was two files:
// a document, and the map beside it, which are read still and become one when they are written.

#include "userspace/engine/target_memory_file.hpp"

#include <charconv>

#include <nlohmann/json.hpp>

#include "io/document.hpp"
#include "userspace/engine/target_record.hpp"

namespace towline {

namespace {

constexpr std::string_view kMagic = "towline-memory ";
constexpr unsigned kForm = 2;
constexpr std::string_view kMagicBefore = "towline-document ";
constexpr int kFormatBefore = 1;
constexpr std::size_t kBytesMax = std::size_t{1} << 30;

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
    return {{"target", memory.target.text()},
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

std::unexpected<Error> damaged(const std::filesystem::path& path, const char* what) {
    return fail(Code::kCorrupt, path.string() + " is damaged: " + what);
}

// The two numbers of the first line, and where it ends.
struct Head {
    unsigned form = 0;
    std::size_t text_bytes = 0;
    std::size_t bytes = 0;
};

std::optional<Head> head_of(std::string_view contents) {
    const std::size_t line_end = contents.find('\n');
    if (!contents.starts_with(kMagic) || line_end == std::string_view::npos) return std::nullopt;
    Head head{.bytes = line_end + 1};
    const char* const end = contents.data() + line_end;
    const auto form = std::from_chars(contents.data() + kMagic.size(), end, head.form);
    if (form.ec != std::errc() || form.ptr == end || *form.ptr != ' ') return std::nullopt;
    const auto text = std::from_chars(form.ptr + 1, end, head.text_bytes);
    if (text.ec != std::errc() || text.ptr != end) return std::nullopt;
    return head;
}

Result<KeptMemory> parse(const std::filesystem::path& path, ByteSpan raw) {
    const std::string_view contents(reinterpret_cast<const char*>(raw.data()), raw.size());
    const auto head = head_of(contents);
    if (!head) return damaged(path, "not what a source remembers of a target");
    if (head->form != kForm)
        return fail(Code::kCorrupt, path.string() + " has a form that this Towline does not know");
    if (head->text_bytes > raw.size() - head->bytes) return damaged(path, "it is cut off");
    const auto json =
        nlohmann::json::parse(contents.substr(head->bytes, head->text_bytes), nullptr, false);
    if (json.is_discarded()) return damaged(path, "it is not JSON");
    const ByteSpan map = raw.subspan(head->bytes + head->text_bytes);
    return KeptMemory{.memory = TRY(memory_of(json)), .pending = {map.begin(), map.end()}};
}

}  // namespace

TargetMemoryFile::TargetMemoryFile(const std::filesystem::path& stem)
    : path_(stem.string() + ".memory"), pending_path_(stem.string() + ".pending") {}

Result<std::optional<KeptMemory>> TargetMemoryFile::load() const {
    const auto raw = TRY(read_slots(path_, kBytesMax));
    if (!raw) return std::nullopt;
    const std::string_view contents(reinterpret_cast<const char*>(raw->data()), raw->size());
    if (contents.starts_with(kMagicBefore)) return load_before();
    return TRY(parse(path_, *raw));
}

Result<std::optional<KeptMemory>> TargetMemoryFile::load_before() const {
    const auto document = TRY(load_document(path_));
    if (!document) return std::nullopt;
    if (document->value("format", 0) != kFormatBefore)
        return fail(Code::kCorrupt, path_.string() + " has a form that this Towline does not know");
    KeptMemory kept{.memory = TRY(memory_of(*document)), .pending = {}};
    auto pending = read_slots(pending_path_, kBytesMax);
    if (!pending && pending.error().code != Code::kCorrupt) return std::unexpected(pending.error());
    if (!pending) kept.pending = kDamagedMap;
    if (pending && *pending) kept.pending = std::move(**pending);
    return kept;
}

Status TargetMemoryFile::save(const TargetMemory& memory, const std::vector<std::byte>& pending,
                              SlotSync sync) const {
    const std::string text = memory_json(memory).dump(2) + "\n";
    const std::string head =
        std::string(kMagic) + std::to_string(kForm) + " " + std::to_string(text.size()) + "\n";
    ByteWriter contents;
    contents.put_bytes(std::as_bytes(std::span(head))).put_bytes(std::as_bytes(std::span(text)));
    contents.put_bytes(pending);
    TRY_STATUS(write_slots(path_, contents.take(), sync));
    // Of an older Towline; it is not looked at any more.
    std::error_code ignored;
    std::filesystem::remove(pending_path_, ignored);
    return {};
}

}  // namespace towline
