// SPDX-License-Identifier: Apache-2.0
// `towline point`: the recovery points of a name in a vault.

#include <cstdio>

#include <nlohmann/json.hpp>

#include "tools/towline/commands.hpp"
#include "tools/towline/error_report.hpp"
#include "tools/towline/exit_codes.hpp"
#include "tools/towline/key_words.hpp"
#include "tools/towline/point_commands.hpp"
#include "tools/towline/progress_bar.hpp"
#include "userspace/vault/collector.hpp"
#include "userspace/vault/point_json.hpp"
#include "userspace/vault/vault_name.hpp"
#include "userspace/vault/volume_reader.hpp"

namespace towline {

namespace {

struct PointWords {
    std::string point;
    std::string other;
    KeyWords keys;
    std::string state_dir = "/var/lib/towline";
    std::string volume;
    bool json = false;
    bool keep_space = false;
};

// What vault:DIR/NAME[@ID] leads to.
struct Place {
    std::shared_ptr<Vault> vault;
    std::string name;
    std::string series;
    std::string point;
    bool served = false;
};

Result<Place> find_place(const std::string& text, bool with_point, const PointWords& words,
                         const KeySource& keys) {
    auto name = TRY(VaultName::parse_any(text));
    if (!name || name->name.empty() || (with_point && name->point.empty())) {
        const std::string form = "vault:NAME" + std::string(with_point ? "@ID" : "");
        return fail(Code::kInvalid, text + ": write vault:DIR/NAME" + (with_point ? "@ID" : "") +
                                        " or tcp://HOST:PORT/" + form);
    }
    name->records = words.state_dir;
    return Place{.vault = TRY(name->open(keys)),
                 .name = name->name,
                 .series = TRY(encode_series(name->name)),
                 .point = name->point,
                 .served = name->server.has_value()};
}

std::string bytes_text(std::uint64_t bytes) {
    return human_bytes(static_cast<double>(bytes));
}

std::string text_of(const FilesystemFacts& facts) {
    if (facts.type.empty()) return "nothing that is known";
    return facts.type + (facts.label.empty() ? "" : " \"" + facts.label + "\"") +
           (facts.uuid.empty() ? "" : " " + facts.uuid);
}

void print_facts(const VolumeFacts& facts) {
    if (facts.table.empty()) {
        std::printf("  on it     %s\n", text_of(facts.filesystem).c_str());
        return;
    }
    std::printf("  table     %s %s, in sectors of %u bytes\n", facts.table.c_str(),
                facts.table_uuid.c_str(), facts.sector_bytes);
    for (const PartitionFacts& each : facts.partitions) {
        std::printf("  part %-3u  %s from byte %llu on: %s\n", each.number,
                    bytes_text(each.bytes).c_str(),
                    static_cast<unsigned long long>(each.start_bytes),
                    each.extended ? "extended" : text_of(each.filesystem).c_str());
    }
}

Result<int> list(const PointWords& words) {
    const Place place = TRY(find_place(words.point, false, words, key_source(words.keys)));
    const SeriesState state = TRY(SeriesLog(place.vault, place.series).read());
    if (words.json) {
        nlohmann::json points = nlohmann::json::array();
        for (const Point& each : state.points)
            points.push_back(shown_form(each));
        std::printf("%s\n", nlohmann::json{{"points", std::move(points)}}.dump(2).c_str());
    } else {
        std::printf("%-36s %8s  %-20s %-10s %-8s %12s %12s\n", "ID", "SEQUENCE", "CREATED", "LABEL",
                    "MODE", "CHANGED", "STORED");
        for (const Point& each : state.points) {
            std::uint64_t changed = 0;
            std::uint64_t stored = 0;
            for (const PointVolume& volume : each.volumes) {
                changed += volume.changed_bytes;
                stored += volume.stored_bytes;
            }
            std::printf("%-36s %8llu  %-20s %-10s %-8s %12s %12s\n", each.id.text().c_str(),
                        static_cast<unsigned long long>(each.sequence), each.created_at.c_str(),
                        each.label.c_str(), std::string(mode_name(each.mode)).c_str(),
                        bytes_text(changed).c_str(), bytes_text(stored).c_str());
        }
    }
    for (const auto& [number, error] : state.damaged)
        std::fprintf(stderr, "towline point: %s\n", error.text().c_str());
    const std::size_t lost = state.lost().size();
    if (lost > 0)
        std::fprintf(stderr, "towline point: the entries of %zu more points are lost\n", lost);
    return state.damaged.empty() && lost == 0 ? 0 : static_cast<int>(Exit::kCorrupt);
}

Result<int> show(const PointWords& words) {
    const Place place = TRY(find_place(words.point, true, words, key_source(words.keys)));
    const SeriesState state = TRY(SeriesLog(place.vault, place.series).read());
    const Point point = TRY(find_point(state, place.point, place.name));
    if (words.json) {
        std::printf("%s\n", shown_form(point).dump(2).c_str());
        return 0;
    }
    std::printf("point     %s, the %llu. of %s\n", point.id.text().c_str(),
                static_cast<unsigned long long>(point.sequence), place.name.c_str());
    std::printf("created   %s\n", point.created_at.c_str());
    std::printf("label     %s%s\n", point.label.c_str(),
                point.group ? ", all volumes at one moment" : "");
    if (point.frozen_us > 0)
        std::printf("frozen    %.1f ms\n", static_cast<double>(point.frozen_us) / 1e3);
    std::printf("run       %s, attested as %s, digest %s\n",
                std::string(mode_name(point.mode)).c_str(), point.reread ? "reread" : "written",
                point.digest.c_str());
    std::printf("root      %s\n", point.root().c_str());
    for (const PointVolume& each : point.volumes) {
        std::printf("volume    %s: %s in blocks of %s; the run changed %s, stored as %s\n",
                    each.name.c_str(), bytes_text(each.bytes).c_str(),
                    bytes_text(each.block_bytes).c_str(), bytes_text(each.changed_bytes).c_str(),
                    bytes_text(each.stored_bytes).c_str());
        if (each.facts) print_facts(*each.facts);
    }
    return 0;
}

Result<int> remove(const PointWords& words) {
    const Place place = TRY(find_place(words.point, true, words, key_source(words.keys)));
    if (place.served) {
        return fail(Code::kRefused,
                    "a server lets nobody take anything away; delete the point where the vault is "
                    "kept, with its key");
    }
    const SeriesState state = TRY(SeriesLog(place.vault, place.series).read());
    const Point point = TRY(find_point(state, place.point, place.name));
    Collector collector(place.vault, place.series);
    const DeleteReport report = TRY(collector.delete_points({point.number}));
    if (!report.pinned.empty()) {
        return fail(Code::kBusy,
                    "the point is in use (mounted, exported or verified); end that, "
                    "then delete it");
    }
    CollectReport collected;
    if (!words.keep_space) collected = TRY(collector.collect());
    const std::uint64_t freed =
        collected.bytes_before - std::min(collected.bytes_before, collected.bytes_after);
    if (collected.segments_pinned > 0)
        std::fprintf(stderr, "towline point delete: %s\n", pinned_text(collected).c_str());
    if (words.json) {
        std::printf("%s\n", nlohmann::json{{"deleted", point.id.text()},
                                           {"bytes_freed", freed},
                                           {"segments_pinned", collected.segments_pinned}}
                                .dump(2)
                                .c_str());
    } else {
        std::printf("deleted %s; %s given back\n", point.id.text().c_str(),
                    bytes_text(freed).c_str());
    }
    return 0;
}

// --- diff ---------------------------------------------------------------------------------------

bool same(const VolumeReader::Located& a, const VolumeReader::Located& b) {
    if (a.zeros || b.zeros) return a.zeros && b.zeros;
    return a.segment == b.segment && a.entry.origin == b.entry.origin;
}

// A block each.
Result<std::vector<VolumeReader::Located>> blocks_of(VolumeReader& volume, std::uint64_t first,
                                                     std::uint64_t count) {
    std::vector<VolumeReader::Located> blocks;
    if (first >= volume.block_count()) return blocks;
    for (const auto& run : TRY(volume.locate(first, count)))
        blocks.insert(blocks.end(), run.count, run);
    return blocks;
}

Result<std::vector<Extent>> differences(VolumeReader& a, VolumeReader& b) {
    std::vector<Extent> extents;
    if (a.block_bytes() != b.block_bytes())
        return fail(Code::kRefused, "the points have blocks of different sizes");
    const std::uint64_t block_bytes = a.block_bytes();
    const std::uint64_t end = std::max(a.size_bytes(), b.size_bytes());
    for (std::uint64_t first = 0; first * block_bytes < end; first += VolumeReader::kLocateMax) {
        const auto ours = TRY(blocks_of(a, first, VolumeReader::kLocateMax));
        const auto theirs = TRY(blocks_of(b, first, VolumeReader::kLocateMax));
        for (std::size_t i = 0; i < std::max(ours.size(), theirs.size()); ++i) {
            if (i < ours.size() && i < theirs.size() && same(ours[i], theirs[i])) continue;
            const std::uint64_t offset = (first + i) * block_bytes;
            extents.push_back({offset, std::min(block_bytes, end - offset)});
        }
    }
    return normalized(std::move(extents));
}

Result<int> diff(const PointWords& words) {
    const KeySource keys = key_source(words.keys);
    const Place place = TRY(find_place(words.point, true, words, keys));
    const Place other = TRY(find_place(words.other, true, words, keys));
    const OpenPoint first = TRY(OpenPoint::open(place.vault, place.series, place.point));
    const OpenPoint second = TRY(OpenPoint::open(other.vault, other.series, other.point));
    const std::size_t first_place = TRY(find_volume(first.point(), words.volume));
    const std::size_t second_place = TRY(find_volume(second.point(), words.volume));
    const auto a = TRY(first.volume(first_place));
    const auto b = TRY(second.volume(second_place));
    const auto extents = TRY(differences(*a, *b));
    if (!words.json) {
        for (const Extent& each : extents)
            std::printf("%llu %llu\n", static_cast<unsigned long long>(each.offset_bytes),
                        static_cast<unsigned long long>(each.length_bytes));
        return 0;
    }
    nlohmann::json list = nlohmann::json::array();
    for (const Extent& each : extents)
        list.push_back({{"offset", each.offset_bytes}, {"length", each.length_bytes}});
    std::printf("%s\n",
                nlohmann::json{{"bytes", total_bytes(extents)}, {"extents", std::move(list)}}
                    .dump(2)
                    .c_str());
    return 0;
}

// --- words --------------------------------------------------------------------------------------

using Perform = Result<int> (*)(const PointWords&);

CLI::App* add(CLI::App& group, const char* name, const char* what, const char* takes,
              std::function<int()>& run, const std::shared_ptr<PointWords>& words,
              Perform perform) {
    CLI::App* command = group.add_subcommand(name, what);
    command->add_option("POINT", words->point, takes)->required();
    add_key_options(*command, words->keys);
    add_records_option(*command, words->state_dir);
    command->add_flag("--json", words->json, "one JSON object on standard output");
    command->callback([words, perform, &run] {
        run = [words, perform] {
            const auto done = perform(*words);
            if (done) return *done;
            return report_error("point", done.error(), words->json);
        };
    });
    return command;
}

}  // namespace

void add_records_option(CLI::App& command, std::string& state_dir) {
    command
        .add_option(
            "--state-dir", state_dir,
            "where this host's records are kept: how far the log of a server's vault was seen")
        ->type_name("DIR")
        ->capture_default_str();
}

void add_point_command(CLI::App& app, std::function<int()>& run) {
    auto words = std::make_shared<PointWords>();
    CLI::App* group = app.add_subcommand("point", "Works with the recovery points of a vault.");
    group->require_subcommand(1);
    add(*group, "list", "Lists the points of a name.", "vault:DIR/NAME", run, words, list);
    add(*group, "show", "Says what is known of a point.", "vault:DIR/NAME@ID", run, words, show);
    CLI::App* deleted = add(*group, "delete", "Deletes a point, and gives its space back.",
                            "vault:DIR/NAME@ID", run, words, remove);
    deleted->add_flag("--keep-space", words->keep_space,
                      "leave its space to the next prune: quicker");
    CLI::App* compared =
        add(*group, "diff", "Lists the bytes that were written between two points.",
            "vault:DIR/NAME@ID", run, words, diff);
    compared->add_option("OTHER", words->other, "the other one, vault:DIR/NAME@ID")->required();
    compared->add_option("--volume", words->volume, "which one, of points that have several")
        ->type_name("NAME");
    add_point_mount_command(*group, run);
    add_point_serve_command(*group, run);
}

}  // namespace towline
