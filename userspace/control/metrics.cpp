// SPDX-License-Identifier: Apache-2.0
// Names and units as Prometheus wants them: towline_ in front, base units, a label a dimension.

#include "userspace/control/metrics.hpp"

#include <array>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include "userspace/control/live_numbers.hpp"

namespace towline {

namespace {

using Labels = std::vector<prometheus::ClientMetric::Label>;

class Families {
  public:
    void gauge(const std::string& name, const std::string& help, const Labels& labels,
               double value) {
        if (families_.empty() || families_.back().name != name)
            families_.push_back({name, help, prometheus::MetricType::Gauge, {}});
        prometheus::ClientMetric metric;
        metric.label = labels;
        metric.gauge.value = value;
        families_.back().metric.push_back(metric);
    }
    std::string text() const { return prometheus::TextSerializer().Serialize(families_); }

  private:
    std::vector<prometheus::MetricFamily> families_;
};

struct Seen {
    std::string name;
    JobState state;
    unsigned failures;
    std::optional<double> lag;
    std::uint64_t run;
};

using Value = std::optional<double>;

// Of a run that goes on; the same that the API shows (live_numbers.hpp).
struct Number {
    const char* name;
    const char* help;
    Value (*of)(const LiveRun&);
};

Value converging(const LiveRun& live) {
    const auto converging = converges(live);
    if (!converging) return std::nullopt;
    return *converging ? 1 : 0;
}

Value changed(const LiveRun& live) {
    if (live.stage != RunStage::kTransfer) return std::nullopt;
    return static_cast<double>(live.total_bytes);
}

constexpr std::array kNumbers{
    Number{"towline_run_volume_bytes", "Of the volume.",
           [](const LiveRun& live) { return Value(live.volume_bytes); }},
    Number{"towline_run_changed_bytes", "What the run is to bring.", &changed},
    Number{"towline_run_done_bytes", "Of the stage that the run is in.",
           [](const LiveRun& live) { return Value(live.done_bytes); }},
    Number{"towline_run_total_bytes", "Of the stage that the run is in.",
           [](const LiveRun& live) { return Value(live.total_bytes); }},
    Number{"towline_run_sent_bytes", "On the wire.",
           [](const LiveRun& live) { return Value(live.sent_bytes); }},
    Number{"towline_run_durable_bytes", "At the target, so that they need not be sent again.",
           [](const LiveRun& live) { return Value(live.durable_bytes); }},
    Number{"towline_run_percent", "Of the stage that the run is in.", &percent_of},
    Number{"towline_run_speed_bytes_per_second", "Before compression.",
           [](const LiveRun& live) { return Value(live.speed); }},
    Number{"towline_run_wire_bytes_per_second", "On the wire.",
           [](const LiveRun& live) { return Value(live.wire); }},
    Number{"towline_run_dirty_bytes_per_second", "Written to the source since the run before.",
           [](const LiveRun& live) { return live.dirty; }},
    Number{"towline_run_left_seconds", "Until the stage is through, at this speed.", &seconds_left},
    Number{"towline_run_converges", "1: more is brought than is written meanwhile.", &converging},
    Number{"towline_run_lag_seconds", "How old the replica is that the run is to renew.",
           [](const LiveRun& live) { return lag_seconds(live, clocks_now().wall); }}};

std::vector<Seen> see(JobService& service) {
    std::vector<Seen> jobs;
    service.look([&](const Scheduler& scheduler, Store&) {
        const WallTime now = clocks_now().wall;
        for (const auto& [name, core] : scheduler.jobs()) {
            const Job& job = core.job();
            Seen seen{name, job.state, job.failures, std::nullopt, job.active_run};
            if (job.replica_of)
                seen.lag = static_cast<double>((now - *job.replica_of).count()) / 1000;
            jobs.push_back(std::move(seen));
        }
    });
    return jobs;
}

}  // namespace

std::string metrics_text(JobService& service, const std::string& version) {
    const std::vector<Seen> jobs = see(service);
    Families families;
    families.gauge("towline_info", "The daemon that answers.", {{"version", version}}, 1);
    std::map<std::string, double> states;
    for (const Seen& job : jobs)
        ++states[std::string(name_of(job.state))];
    for (const auto& [state, count] : states)
        families.gauge("towline_jobs", "Jobs by state.", {{"state", state}}, count);
    for (const Seen& job : jobs)
        families.gauge("towline_job_failures", "Runs that failed one after another.",
                       {{"job", job.name}}, job.failures);
    for (const Seen& job : jobs)
        if (job.lag)
            families.gauge("towline_job_lag_seconds", "How far the replica is behind its source.",
                           {{"job", job.name}}, *job.lag);
    std::vector<std::pair<std::string, LiveRun>> runs;
    for (const Seen& job : jobs)
        if (const auto live = job.run != 0 ? service.live(job.run) : std::nullopt)
            runs.emplace_back(job.name, *live);
    families.gauge("towline_runs_active", "Runs that go on.", {}, static_cast<double>(runs.size()));
    for (const Number& number : kNumbers)
        for (const auto& [job, live] : runs)
            if (const auto value = number.of(live))
                families.gauge(number.name, number.help, {{"job", job}}, *value);
    for (const auto& [job, live] : runs)
        families.gauge("towline_run_stage", "1 for the stage that the run is in.",
                       {{"job", job}, {"stage", std::string(name_of(live.stage))}}, 1);
    return families.text();
}

}  // namespace towline
