// SPDX-License-Identifier: Apache-2.0
// What a run says of itself: to people, and to programs.

#include "tools/towline/report_text.hpp"

#include <algorithm>
#include <cstdio>

#include <nlohmann/json.hpp>

#include "tools/towline/progress_bar.hpp"
#include "userspace/vault/point.hpp"

namespace towline {

namespace {

void print_moment(const MomentFacts& moment, bool dry_run) {
    std::printf("  tracker  %s", moment.tracker.c_str());
    if (moment.trust) std::printf(", %s", std::string(trust_name(*moment.trust)).c_str());
    if (!moment.reasons.empty()) std::printf(" (%s)", moment.reasons.c_str());
    std::printf("\n");
    if (!dry_run) {
        std::printf("  moment   %s%s, snapshot %s", std::string(label_name(moment.label)).c_str(),
                    moment.group ? " of all volumes at once" : "", moment.snapshot.c_str());
        if (moment.frozen > Duration{})
            std::printf(", frozen for %.1f ms", seconds(moment.frozen) * 1e3);
        if (moment.held > Duration{})
            std::printf(", writes held for %.1f ms", seconds(moment.held) * 1e3);
        std::printf("\n");
    }
    if (!moment.notes.empty()) std::printf("  note     %s\n", moment.notes.c_str());
}

void print_volumes(const RunReport& report) {
    const auto bytes = [](std::uint64_t count) { return human_bytes(static_cast<double>(count)); };
    if (report.volumes.size() < 2) {
        std::printf("  volume   %s\n", bytes(report.bytes_total).c_str());
        return;
    }
    for (const VolumeReport& each : report.volumes) {
        std::printf("  volume   %s: %s, changed %s\n", each.name.c_str(), bytes(each.bytes).c_str(),
                    bytes(each.changed_bytes).c_str());
    }
}

// What was left out of the copy.
void print_used(const MomentFacts& moment) {
    if (!moment.used_doubt.empty()) {
        std::printf("  note     free blocks were brought as well: %s\n", moment.used_doubt.c_str());
    }
    if (!moment.used_only || (!moment.used_doubt.empty() && !moment.pool_bytes)) return;
    std::string by = moment.used_doubt.empty() ? moment.used_filesystem : "";
    if (moment.pool_bytes) by += by.empty() ? "its thin pool" : " and its thin pool";
    std::printf("  used     %s, by %s; what is free was taken for zeros\n",
                human_bytes(static_cast<double>(moment.used_bytes)).c_str(), by.c_str());
}

}  // namespace

nlohmann::json json_of(const RunReport& report, const std::string& source,
                       const std::string& target) {
    nlohmann::json volumes = nlohmann::json::array();
    for (const VolumeReport& each : report.volumes) {
        volumes.push_back({{"name", each.name},
                           {"path", each.path},
                           {"source", each.source.text()},
                           {"bytes_total", each.bytes},
                           {"bytes_changed", each.changed_bytes}});
    }
    char digest[40];
    std::snprintf(digest, sizeof digest, "%016llx%016llx",
                  static_cast<unsigned long long>(report.digest.high),
                  static_cast<unsigned long long>(report.digest.low));
    nlohmann::json json{{"source", source},
                        {"target", target},
                        {"mode", mode_name(report.mode)},
                        {"cause", cause_name(report.cause)},
                        {"cause_text", cause_text(report.cause)},
                        {"resumed", report.resumed},
                        {"dry_run", report.dry_run},
                        {"volumes", std::move(volumes)},
                        {"staged", report.staged},
                        {"bytes_total", report.bytes_total},
                        {"bytes_changed", report.bytes_changed},
                        {"bytes_zero", report.bytes_zero},
                        {"bytes_read", report.bytes_read},
                        {"bytes_sent", report.bytes_sent},
                        {"bytes_received", report.bytes_received},
                        {"seconds", seconds(report.elapsed)},
                        {"cpu_seconds", seconds(report.cpu_source + report.cpu_target)},
                        {"cpu_seconds_source", seconds(report.cpu_source)},
                        {"cpu_seconds_target", seconds(report.cpu_target)},
                        {"rss_max_bytes_source", report.rss_max_source_bytes},
                        {"rss_max_bytes_target", report.rss_max_target_bytes},
                        {"engine", report.engine_source},
                        {"engine_target", report.engine_target},
                        {"engine_notes", report.engine_notes},
                        {"codec", report.codec},
                        {"tracker", report.moment.tracker},
                        {"tracker_notes", report.moment.notes},
                        {"snapshot", report.moment.snapshot},
                        {"audited_blocks", report.audited_blocks},
                        {"label", label_name(report.moment.label)},
                        {"group", report.moment.group},
                        {"freeze_seconds", seconds(report.moment.frozen)},
                        {"held_seconds", seconds(report.moment.held)},
                        {"rounds", report.rounds},
                        {"dirty_bytes_per_second", report.dirty_bytes_per_second}};
    if (report.moment.trust) {
        json["trust"] = trust_name(*report.moment.trust);
        json["trust_reasons"] = report.moment.reasons;
    }
    if (report.moment.used_only) {
        json["used_only"] = {{"filesystem", report.moment.used_filesystem},
                             {"bytes", report.moment.used_bytes},
                             {"doubt", report.moment.used_doubt}};
        if (report.moment.pool_bytes) json["used_only"]["pool_bytes"] = *report.moment.pool_bytes;
    }
    if (!report.dry_run) {
        json["attested"] = report.reread ? "reread" : "written";
        json["digest"] = digest;
        json["base"] = {{"source", report.base.source.text()},
                        {"tracker", report.base.tracker.text()},
                        {"sequence", report.base.sequence},
                        {"point", report.base.point.text()}};
    }
    return json;
}

void print_summary(const RunReport& report) {
    const double elapsed = std::max(1e-6, seconds(report.elapsed));
    std::printf("%s run%s%s: %s\n", std::string(mode_name(report.mode)).c_str(),
                report.resumed ? " (resumed)" : "", report.staged ? ", staged" : "",
                std::string(cause_text(report.cause)).c_str());
    print_volumes(report);
    const bool unknown = report.dry_run && report.mode == RunMode::kFull;
    std::printf("  changed  %s%s\n", human_bytes(static_cast<double>(report.bytes_changed)).c_str(),
                unknown ? " (everything; holes travel as ranges)" : "");
    print_moment(report.moment, report.dry_run);
    if (report.rounds > 1) {
        std::printf("  rounds   %u, while %s/s were written\n", report.rounds,
                    human_bytes(report.dirty_bytes_per_second).c_str());
    }
    print_used(report.moment);
    if (report.audited_blocks > 0) {
        std::printf("  audit    %llu unchanged blocks compared\n",
                    static_cast<unsigned long long>(report.audited_blocks));
    }
    if (report.dry_run) {
        std::printf("  dry run: nothing was changed\n");
        return;
    }
    std::printf("  sent     %s in %.2f s (%s/s before compression)\n",
                human_bytes(static_cast<double>(report.bytes_sent)).c_str(), elapsed,
                human_bytes(static_cast<double>(report.bytes_changed) / elapsed).c_str());
    std::printf("  cpu      %.2f s source, %.2f s target\n", seconds(report.cpu_source),
                seconds(report.cpu_target));
    std::printf("  engine   %s to %s, codec %s\n", report.engine_source.c_str(),
                report.engine_target.c_str(), report.codec.c_str());
    if (!report.engine_notes.empty()) std::printf("  note     %s\n", report.engine_notes.c_str());
    std::printf("  sealed   point %s, sequence %llu, digest %s by the target\n",
                report.base.point.text().c_str(),
                static_cast<unsigned long long>(report.base.sequence),
                report.reread ? "attested from a second reading" : "attested");
}

}  // namespace towline
