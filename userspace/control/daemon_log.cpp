// SPDX-License-Identifier: Apache-2.0
// One place that says what the daemon says, so that both forms say the same.

#include "userspace/control/daemon_log.hpp"

#include <cstdio>
#include <cstdlib>
#include <sys/stat.h>
#include <syslog.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

namespace towline {

namespace {

// systemd names the device and inode that it connected standard error to.
bool to_journal() {
    static const bool connected = [] {
        // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing here changes the environment
        const char* stream = std::getenv("JOURNAL_STREAM");
        struct stat status {};
        if (stream == nullptr || ::fstat(STDERR_FILENO, &status) < 0) return false;
        return std::string(stream) ==
               std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino);
    }();
    return connected;
}

std::string text_of(const JobEventRecord& event) {
    // Of a job, or of what the event's data names (a group, a template).
    std::string text =
        event.type + ": " + (event.job.empty() ? event.data.value("name", "") : "job " + event.job);
    if (event.run != 0) text += ", run " + std::to_string(event.run);
    const auto error = event.data.find("error");
    if (error != event.data.end() && error->is_object())
        text += ": " + error->at("message").get<std::string>();
    return text;
}

}  // namespace

void log_event(const JobEventRecord& event) {
    const std::string text = text_of(event);
    const bool bad = event.type == "run.failed" || event.type == "job.failed" ||
                     event.type == "job.paused-on-failure";
    if (!to_journal()) return log_text(text);
    ::sd_journal_send("MESSAGE=%s", text.c_str(), "PRIORITY=%i", bad ? LOG_WARNING : LOG_INFO,
                      "TOWLINE_EVENT=%s", event.type.c_str(), "TOWLINE_JOB=%s", event.job.c_str(),
                      "TOWLINE_RUN=%llu", static_cast<unsigned long long>(event.run), nullptr);
}

void log_text(const std::string& text) {
    if (to_journal()) {
        ::sd_journal_send("MESSAGE=%s", text.c_str(), "PRIORITY=%i", LOG_INFO, nullptr);
    } else {
        std::fprintf(stderr, "towlined: %s\n", text.c_str());
    }
}

}  // namespace towline
