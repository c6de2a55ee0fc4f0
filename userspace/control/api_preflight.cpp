// SPDX-License-Identifier: Apache-2.0
// A preflight by hand: outside of the lock, since it reads the volume and talks to the target.

#include "userspace/control/api.hpp"
#include "userspace/control/preflight.hpp"

namespace towline {

using nlohmann::json;

namespace {

// What they say of the next is their median.
constexpr std::size_t kPastRuns = 9;

json maybe(const std::optional<double>& number) {
    return number ? json(*number) : json(nullptr);
}

}  // namespace

Api::Answered Api::preflight_job(const HttpRequest&, const ApiCall& call) {
    const std::string name = call.word("name");
    std::optional<JobSpec> spec;
    Result<Page<Run>> past = Page<Run>{};
    service_.look([&](const Scheduler& scheduler, Store& store) {
        if (const JobCore* core = scheduler.find(name)) spec = core->job().spec;
        past = store.runs({.job = name, .state = std::string(name_of(RunState::kCompleted))},
                          std::nullopt, kPastRuns);
    });
    if (!past) return not_stored(past.error());
    if (!spec) return refused(ApiCode::kNotFound, "there is no job " + name, "name");
    PreflightFacts facts = look_before(*spec, service_.config().places, Depth::kThorough);
    facts.past = past_of(past->items);
    const std::vector<Finding> findings = judge(facts, *spec);
    const PreflightEstimate expected = estimate(facts, *spec, clocks_now().wall);
    std::optional<double> round_trip, skew;
    if (facts.link) round_trip = seconds(facts.link->round_trip);
    if (facts.link) skew = seconds(facts.link->clock_ahead);
    json shown_findings = json::array();
    for (const Finding& each : findings)
        shown_findings.push_back(
            {{"severity", name_of(each.severity)}, {"code", each.code}, {"message", each.message}});
    return json_answer({{"job", name},
                        {"stops", !stopping_text(findings).empty()},
                        {"findings", shown_findings},
                        {"read_bytes_per_second", maybe(facts.read_bytes_per_second)},
                        {"target_bytes_per_second", maybe(target_speed(facts))},
                        {"link_bytes_per_second", maybe(link_speed(facts))},
                        {"round_trip_seconds", maybe(round_trip)},
                        {"clock_skew_seconds", maybe(skew)},
                        {"first_seconds", maybe(expected.first_seconds)},
                        {"next_seconds", maybe(expected.next_seconds)}});
}

}  // namespace towline
