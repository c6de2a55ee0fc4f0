// SPDX-License-Identifier: Apache-2.0
// `lvs --reportformat json --units b --nosuffix` gives every value as a string, an absent one as an
// empty string. A line of `dmsetup status` is START LENGTH TARGET and the target's own words, which
// the kernel documents (admin-guide/device-mapper/snapshot.rst, thin-provisioning.rst).

#include "cbt/lvm_report.hpp"

#include <algorithm>
#include <charconv>

#include <nlohmann/json.hpp>

namespace towline {

namespace {

constexpr std::uint64_t kSectorBytes = 512;

std::vector<std::string> split(std::string_view text, std::string_view between) {
    std::vector<std::string> words;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find_first_of(between), text.size());
        if (end > 0) words.emplace_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return words;
}

std::uint64_t number(std::string_view text) {
    std::uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

// "USED/ALL"
bool parse_share(const std::string& word, std::uint64_t& used, std::uint64_t& all) {
    const std::size_t slash = word.find('/');
    if (slash == std::string::npos) return false;
    used = number(word.substr(0, slash));
    all = number(word.substr(slash + 1));
    return all > 0;
}

LogicalVolume logical_volume(const nlohmann::json& row) {
    const auto text = [&row](const char* field) { return row.value(field, std::string()); };
    LogicalVolume volume{.group = text("vg_name"),
                         .name = text("lv_name"),
                         .path = text("lv_dm_path"),
                         .origin = text("origin"),
                         .pool = text("pool_lv"),
                         .layout = split(text("lv_layout"), ","),
                         .tags = split(text("lv_tags"), ","),
                         .bytes = number(text("lv_size")),
                         .group_free_bytes = number(text("vg_free")),
                         .thin_id = number(text("thin_id"))};
    // The kernel's number is -1 for one that is not.
    volume.active = !text("lv_kernel_major").starts_with('-');
    return volume;
}

}  // namespace

bool LogicalVolume::has_tag(std::string_view tag) const {
    return std::ranges::find(tags, tag) != tags.end();
}

std::string LogicalVolume::tag_rest(std::string_view prefix) const {
    for (const std::string& tag : tags) {
        if (tag.starts_with(prefix)) return tag.substr(prefix.size());
    }
    return {};
}

std::string_view logical_volume_fields() {
    return "vg_name,lv_name,lv_dm_path,origin,pool_lv,lv_layout,lv_tags,lv_size,vg_free,"
           "lv_kernel_major,thin_id";
}

Result<std::vector<LogicalVolume>> parse_logical_volumes(std::string_view json) {
    const auto document = nlohmann::json::parse(json, nullptr, false);
    std::vector<LogicalVolume> volumes;
    if (!document.is_object() || !document.value("report", nlohmann::json()).is_array())
        return fail(Code::kUnsupported, "lvs gave no report that is known");
    for (const auto& report : document["report"]) {
        const auto rows = report.find("lv");
        if (rows == report.end() || !rows->is_array()) continue;
        for (const auto& row : *rows) {
            LogicalVolume volume = logical_volume(row);
            // One row a segment.
            const bool again = !volumes.empty() && volumes.back().full_name() == volume.full_name();
            if (!again) volumes.push_back(std::move(volume));
        }
    }
    return volumes;
}

double SnapshotRoom::share() const {
    const auto of = [](std::uint64_t some, std::uint64_t whole) {
        return whole == 0 ? 0 : static_cast<double>(some) / static_cast<double>(whole);
    };
    return std::max(of(used, all), of(metadata_used, metadata_all));
}

std::optional<SnapshotRoom> parse_snapshot_room(std::string_view status) {
    const std::vector<std::string> words = split(status, " \n");
    if (words.size() < 3) return std::nullopt;
    SnapshotRoom room;
    // An error in place of a snapshot: it was given up.
    if (words[2] == "error") {
        room.lost = true;
        return room;
    }
    if (words[2] == "snapshot" && words.size() >= 4) {
        room.unit_bytes = kSectorBytes;
        room.lost = !parse_share(words[3], room.used, room.all);
        return room;
    }
    // TRANSACTION META/ALL DATA/ALL HELD_ROOT MODE...
    if (words[2] == "thin-pool" && words.size() >= 4) {
        const bool known = words.size() >= 8 &&
                           parse_share(words[4], room.metadata_used, room.metadata_all) &&
                           parse_share(words[5], room.used, room.all);
        room.lost = !known || words[7] != "rw";
        return room;
    }
    return std::nullopt;
}

}  // namespace towline
