// SPDX-License-Identifier: Apache-2.0
// The events are durable and numbered; each notification has the number up to which it was told.
// So nothing is queued here that could be lost: the thread only reads on from there.

#include "userspace/control/notifier.hpp"

#include <algorithm>

#include "userspace/control/daemon_log.hpp"
#include "userspace/control/event_stream.hpp"
#include "userspace/control/webhook.hpp"
#include "userspace/engine/hooks.hpp"

namespace towline {

using nlohmann::json;

namespace {

constexpr std::size_t kBatch = 64;
constexpr auto kNap = std::chrono::milliseconds(500);
constexpr Duration kProgramMax = std::chrono::seconds(30);
constexpr Duration kDelayMax = std::chrono::minutes(5);

// 1 s, doubled each time.
Duration delay_after(unsigned tries) {
    return std::min<Duration>(kDelayMax, std::chrono::seconds(1U << std::min(tries - 1, 16U)));
}

std::string document_of(const JobEventRecord& event) {
    return json_of(event).dump(-1, ' ', false, json::error_handler_t::replace);
}

std::map<std::string, std::string> words_of(const Notification& notification,
                                            const JobEventRecord& event) {
    return {{"TOWLINE_NOTIFICATION", notification.name},
            {"TOWLINE_EVENT", event.type},
            {"TOWLINE_JOB", event.job},
            {"TOWLINE_RUN", event.run == 0 ? "" : std::to_string(event.run)},
            {"TOWLINE_DOCUMENT", document_of(event)}};
}

}  // namespace

Status Notifier::tell(const Notification& notification, const JobEventRecord& event) {
    if (notification.program.empty())
        return post_webhook(notification.url, notification.secret,
                            {.id = notification.name + "-" + std::to_string(event.sequence),
                             .type = event.type,
                             .body = document_of(event)});
    const std::filesystem::path program = notification.program;
    const Hooks programs(program.parent_path(), kProgramMax);
    const std::string name = program.filename().string();
    if (!programs.has(name))
        return fail(Code::kRefused, "there is no program " + notification.program);
    return programs.run(name, words_of(notification, event));
}

Notifier::Notifier(JobService& service) : service_(service), thread_([this] { work(); }) {}

Notifier::~Notifier() {
    thread_.join();
}

void Notifier::work() {
    while (!service_.stopping()) {
        Result<std::vector<Store::Told>> all = std::vector<Store::Told>{};
        std::uint64_t newest = 0;
        service_.look([&](const Scheduler&, Store& store) {
            all = store.notifications();
            newest = store.newest_event().value_or(0);
        });
        bool more = false;
        if (all) {
            for (const Store::Told& each : *all) {
                if (service_.stopping()) return;
                more |= std::max(each.sequence, progress_[each.notification.name].seen) < newest &&
                        advance(each);
            }
        }
        if (!more) service_.wait_for_events(newest, kNap);
    }
}

// Tells of one event at most, so that each gets its turn. True: there may be more to tell now.
bool Notifier::advance(const Store::Told& told) {
    const std::string& name = told.notification.name;
    Progress& progress = progress_[name];
    progress.seen = std::max(progress.seen, told.sequence);
    Result<std::vector<JobEventRecord>> events = std::vector<JobEventRecord>{};
    service_.look(
        [&](const Scheduler&, Store& store) { events = store.events(progress.seen, kBatch); });
    if (!events) return false;
    for (const JobEventRecord& event : *events) {
        if (!told.notification.wants(event.type, event.job)) {
            progress.seen = event.sequence;
            continue;
        }
        if (progress.trying != event.sequence)
            progress = {
                .seen = progress.seen, .trying = event.sequence, .tries = 0, .next_try = {}};
        if (monotonic_now() < progress.next_try) return false;
        const Status done = tell(told.notification, event);
        if (!done && ++progress.tries < kTriesMax) {
            progress.next_try = monotonic_now() + delay_after(progress.tries);
            return false;
        }
        if (!done)
            log_text("notification " + name + " could not be told of " + event.type + " (event " +
                     std::to_string(event.sequence) +
                     "), which is given up: " + done.error().text());
        progress.seen = event.sequence;
        note_told(name, event.sequence);
        return true;
    }
    return !events->empty();
}

void Notifier::note_told(const std::string& name, std::uint64_t sequence) {
    // If this is not saved it is told once more after a restart.
    static_cast<void>(service_.change(
        [&](JobService::Session& session) { return session.store().set_told(name, sequence); }));
}

}  // namespace towline
