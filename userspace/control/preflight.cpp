// SPDX-License-Identifier: Apache-2.0
// What the facts mean. Critical is only what is sure to make the run fail, or its result worthless:
// a guess that stops a job is worse than a warning.

#include "userspace/control/preflight.hpp"

#include <algorithm>
#include <cstdio>

namespace towline {

namespace {

// What a run locks for its buffers, about.
constexpr std::uint64_t kMemlockWanted = std::uint64_t{40} << 20;
// Clocks that are kept are nearer to each other than this.
constexpr Duration kSkewMax = std::chrono::seconds(1);

std::string size_text(std::uint64_t bytes) {
    char text[32];
    const double gib = static_cast<double>(bytes) / (1 << 30);
    std::snprintf(text, sizeof text, gib < 0.1 ? "%.1f MiB" : "%.2f GiB",
                  gib < 0.1 ? gib * 1024 : gib);
    return text;
}

class Findings {
  public:
    void critical(std::string code, std::string message) {
        add(Severity::kCritical, std::move(code), std::move(message));
    }
    void warning(std::string code, std::string message) {
        add(Severity::kWarning, std::move(code), std::move(message));
    }
    void info(std::string code, std::string message) {
        add(Severity::kInfo, std::move(code), std::move(message));
    }
    std::vector<Finding> sorted() && {
        std::ranges::stable_sort(found_, {}, &Finding::severity);
        return std::move(found_);
    }

  private:
    void add(Severity severity, std::string code, std::string message) {
        found_.push_back({severity, std::move(code), std::move(message)});
    }
    std::vector<Finding> found_;
};

void judge_volume(const PreflightFacts& facts, const JobSpec& spec, Findings& findings) {
    if (!facts.no_volume.empty()) return findings.critical("volume", facts.no_volume);
    const std::size_t count = spec.volumes.size();
    const std::string what =
        count == 1 ? spec.volumes.front() + " has " : std::to_string(count) + " volumes have ";
    findings.info("size", what + size_text(facts.volume_bytes) + ", " +
                              size_text(facts.data_bytes) + " of it data at most, on " +
                              std::to_string(facts.disk_count) +
                              (facts.disk_count == 1 ? " disk" : " disks"));
    if (!facts.no_moment.empty()) return findings.critical("moment", facts.no_moment);
    findings.info("tracker", "tracker " + facts.tracker +
                                 (facts.moment_notes.empty() ? "" : ": " + facts.moment_notes));
    if (!facts.live) return findings.info("snapshot", "nothing writes to the volume now");
    if (facts.snapshot == "none")
        return findings.warning("fuzzy", "the volume is " + *facts.live +
                                             " and read as it is: its points are of no moment "
                                             "(fuzzy); choose another snapshot");
    if (facts.snapshot == "converge")
        return findings.info("snapshot", "the volume is " + *facts.live +
                                             " and copied in rounds, the last of them while its "
                                             "filesystems are frozen");
    findings.info("snapshot", "the volume is " + *facts.live + " and read from a snapshot (" +
                                  facts.snapshot + ")");
}

std::string printed(const char* form, double number) {
    char text[80];
    std::snprintf(text, sizeof text, form, number);
    return text;
}

// Nothing depends on it but what people compare: times of points, of logs, of calendars.
void judge_clock_of_target(const LinkFacts& link, Findings& findings) {
    const Duration skew = std::chrono::abs(link.clock_ahead);
    if (skew <= kSkewMax + link.round_trip / 2) return;
    findings.warning(
        "clock-skew",
        "the target's clock is " +
            printed(link.clock_ahead > Duration{} ? "%.1f s ahead of" : "%.1f s behind",
                    seconds(skew)) +
            " this host's: times of its logs and of these runs do not go together; set the clock "
            "that is wrong, or have both kept by NTP");
}

void judge_target(const PreflightFacts& facts, const JobSpec& spec, Findings& findings) {
    if (!facts.no_target.empty()) findings.critical("target", facts.no_target);
    if (!facts.target_is_source.empty())
        findings.critical("target-on-volume", facts.target_is_source);
    if (facts.free_bytes && *facts.free_bytes < facts.data_bytes)
        findings.warning("space", "there are " + size_text(*facts.free_bytes) + " free at " +
                                      spec.target + " for up to " + size_text(facts.data_bytes) +
                                      ": zeros need none, and a vault compresses; make room if "
                                      "that is not enough");
}

// Parts of a finding, each behind the one before.
void add_part(std::string& text, const std::string& part) {
    text += (text.empty() ? "" : "; ") + part;
}

void judge_link(const PreflightFacts& facts, Findings& findings) {
    std::string link;
    if (facts.link) {
        add_part(link, printed("the target answers within %.1f ms",
                               seconds(facts.link->round_trip) * 1e3));
        if (facts.link->bytes_per_second)
            add_part(link, printed("the link carries %.1f MiB/s",
                                   *facts.link->bytes_per_second / (1 << 20)) +
                               " (measured with " + size_text(facts.link->bytes) + ")");
        else
            add_part(link, "too slow to be measured in the time for it");
    } else if (facts.connect_seconds) {
        add_part(link,
                 printed("the target is reached within %.1f ms", *facts.connect_seconds * 1e3));
        if (!facts.no_link.empty()) add_part(link, "not measured: " + facts.no_link);
    }
    if (facts.past)
        add_part(link, printed("past runs put %.1f MiB/s on the wire",
                               facts.past->wire_bytes_per_second / (1 << 20)));
    if (!link.empty()) findings.info("link", link);
    if (facts.link) judge_clock_of_target(*facts.link, findings);
}

std::string speed_text(double bytes_per_second) {
    return printed("%.1f MiB/s", bytes_per_second / (1 << 20));
}

void judge_disks(const PreflightFacts& facts, Findings& findings) {
    std::string source;
    if (facts.read_bytes_per_second)
        source = "the volume reads at " + speed_text(*facts.read_bytes_per_second);
    if (facts.written_bytes_per_second)
        add_part(source, speed_text(*facts.written_bytes_per_second) +
                             " are written to it by its users, on average since this host began "
                             "or just now");
    if (!source.empty()) findings.info("source-disk", source);
    if (facts.target_disk) {
        const DiskSample& disk = *facts.target_disk;
        const auto writes = disk.write_bytes_per_second();
        const auto reads = disk.read_bytes_per_second();
        std::string target;
        if (writes)
            add_part(target, "the target's disk writes at " + speed_text(*writes) +
                                 " (measured with " + size_text(disk.written_bytes) +
                                 " in a file that is gone again)");
        if (reads)
            add_part(target, (writes ? "it reads at " : "the target reads at ") +
                                 speed_text(*reads) +
                                 (writes ? "" : "; nothing is written to it before a run"));
        findings.info("target-disk", target);
    } else if (!facts.no_target_disk.empty()) {
        findings.info("target-disk",
                      "how fast the target's disk is, is not known: " + facts.no_target_disk);
    }
}

void judge_host(const PreflightFacts& facts, Findings& findings) {
    if (!facts.journal_on_volume.empty())
        findings.critical("journal-on-volume",
                          "the second run would be staged in " + facts.journal_on_volume +
                              ", on the volume itself, and be refused: name a folder on another "
                              "device (--journal), or have runs written at once (--direct)");
    if (facts.state_on_volume)
        findings.warning(
            "state-on-volume",
            "the daemon's state lies on the volume: every run brings its own records "
            "along, and is never without changes; put the state elsewhere (state_dir)");
    if (facts.memlock_bytes && *facts.memlock_bytes < kMemlockWanted)
        findings.warning("memlock", "no more than " + size_text(*facts.memlock_bytes) +
                                        " of memory may be locked: transfers cost more CPU (raise "
                                        "LimitMEMLOCK or grant CAP_IPC_LOCK)");
    if (!facts.clock_synchronised)
        findings.warning("clock",
                         "the clock of this host is not kept by anything (NTP): calendars and the "
                         "times of points follow it");
}

// What passes between two runs; nothing: somebody starts them.
std::optional<WallSpan> interval_of(const Schedule& schedule, WallTime now) {
    switch (schedule.kind) {
        case Schedule::Kind::kEvery:
        case Schedule::Kind::kContinuous:
            return schedule.span;
        case Schedule::Kind::kCalendar: {
            const auto one = schedule.next_after(now, now);
            const auto other = one ? schedule.next_after(*one, now) : std::nullopt;
            if (other) return *other - *one;
            return std::nullopt;
        }
        case Schedule::Kind::kManual:
        case Schedule::Kind::kOnce:
            break;
    }
    return std::nullopt;
}

}  // namespace

std::string_view name_of(Severity severity) {
    switch (severity) {
        case Severity::kCritical:
            return "Critical";
        case Severity::kWarning:
            return "Warning";
        case Severity::kInfo:
            break;
    }
    return "Info";
}

std::vector<Finding> judge(const PreflightFacts& facts, const JobSpec& spec) {
    Findings findings;
    judge_volume(facts, spec, findings);
    judge_target(facts, spec, findings);
    judge_link(facts, findings);
    judge_disks(facts, findings);
    judge_host(facts, findings);
    return std::move(findings).sorted();
}

std::optional<double> link_speed(const PreflightFacts& facts) {
    if (facts.link && facts.link->bytes_per_second) return facts.link->bytes_per_second;
    if (facts.past) return facts.past->wire_bytes_per_second;
    return std::nullopt;
}

std::optional<double> target_speed(const PreflightFacts& facts) {
    if (!facts.target_disk) return std::nullopt;
    const auto writes = facts.target_disk->write_bytes_per_second();
    return writes ? writes : facts.target_disk->read_bytes_per_second();
}

PreflightEstimate estimate(const PreflightFacts& facts, const JobSpec& spec, WallTime now) {
    PreflightEstimate found;
    if (!facts.no_volume.empty() || !facts.read_bytes_per_second) return found;
    const double read = *facts.read_bytes_per_second;
    const double limit = spec.transfer.rate_mbit * 1e6 / 8;
    // Link and limit are of the wire, after compression: without it, at most.
    double sent = read;
    if (limit > 0) sent = std::min(sent, limit);
    if (facts.link && facts.link->bytes_per_second)
        sent = std::min(sent, *facts.link->bytes_per_second);
    sent = std::min(sent, target_speed(facts).value_or(sent));
    found.first_seconds = static_cast<double>(facts.data_bytes) / sent;
    if (facts.past) found.next_seconds = facts.past->next_seconds;
    if (found.next_seconds) return found;
    if (facts.tracker == "none") {
        // Both sides read all of theirs, at once.
        double compared = read;
        if (facts.target_disk)
            compared =
                std::min(read, facts.target_disk->read_bytes_per_second().value_or(compared));
        found.next_seconds = static_cast<double>(facts.volume_bytes) / compared;
        return found;
    }
    const auto interval = interval_of(spec.schedule, now);
    if (!interval || !facts.written_bytes_per_second) return found;
    const double changed =
        *facts.written_bytes_per_second * static_cast<double>(interval->count()) / 1000;
    found.next_seconds = std::min(changed, static_cast<double>(facts.volume_bytes)) / sent;
    return found;
}

std::optional<PastRuns> past_of(const std::vector<Run>& runs) {
    PastRuns past;
    std::uint64_t sent_most = 0;
    std::vector<double> others;
    for (const Run& run : runs) {
        if (run.type == RunType::kTest || !run.started_at || !run.ended_at) continue;
        const double took =
            std::max(1e-3, static_cast<double>((*run.ended_at - *run.started_at).count()) / 1000);
        if (run.mode != "full") others.push_back(took);
        if (run.numbers.sent_bytes <= sent_most) continue;
        sent_most = run.numbers.sent_bytes;
        past.wire_bytes_per_second = static_cast<double>(sent_most) / took;
    }
    if (sent_most == 0) return std::nullopt;
    if (!others.empty()) {
        const auto middle = others.begin() + static_cast<std::ptrdiff_t>(others.size() / 2);
        std::ranges::nth_element(others, middle);
        past.next_seconds = *middle;
    }
    return past;
}

std::string stopping_text(const std::vector<Finding>& findings) {
    std::string text;
    for (const Finding& each : findings) {
        if (each.severity != Severity::kCritical) continue;
        text += (text.empty() ? "" : "; ") + each.message;
    }
    return text;
}

}  // namespace towline
