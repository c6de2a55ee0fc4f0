// SPDX-License-Identifier: Apache-2.0
// `towline support FILE`: what somebody who helps wants to see of a daemon, in one file, made only
// when it is asked for and sent by nobody. Names, paths and addresses are replaced (Redaction), and
// who made it can read it before he hands it on: it is JSON with a line for each value.

#include "tools/towline/support_command.hpp"

#include <cstdio>
#include <deque>
#include <fcntl.h>
#include <fstream>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "io/fd.hpp"
#include "tools/towline/api_command.hpp"
#include "tools/towline/exit_codes.hpp"
#include "tools/towline/redaction.hpp"

namespace towline {

using nlohmann::json;

namespace {

constexpr std::size_t kEvents = 2000;  // the newest

struct SupportWords : ApiWords {
    std::string file;
};

std::string first_line(const char* path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

std::string system_name() {
    std::ifstream file("/etc/os-release");
    static constexpr std::string_view kKey = "PRETTY_NAME=";
    for (std::string line; std::getline(file, line);)
        if (line.starts_with(kKey)) return line.substr(kKey.size());
    return "";
}

// Of the host where this command runs, and of nobody on it.
json host_facts() {
    utsname kernel{};
    ::uname(&kernel);
    struct sysinfo memory {};
    ::sysinfo(&memory);
    return {{"system", system_name()},
            {"kernel", kernel.release},
            {"machine", kernel.machine},
            {"processors", ::sysconf(_SC_NPROCESSORS_ONLN)},
            {"memory_bytes", std::uint64_t{memory.totalram} * memory.mem_unit},
            {"uptime_seconds", memory.uptime},
            {"module_loaded", ::access("/sys/module/towline", F_OK) == 0},
            {"io_uring_disabled", first_line("/proc/sys/kernel/io_uring_disabled")},
            {"lockdown", first_line("/sys/kernel/security/lockdown")}};
}

// What the daemon does not tell, it says why: a viewer gets less than an admin.
json asked(const SupportWords& words, const std::string& path) {
    const auto answer = words.client().call("GET", path);
    if (!answer) return {{"error", answer.error().text()}};
    return answer->body;
}

json events(const SupportWords& words) {
    std::deque<json> newest;
    const auto answer = words.client().follow("/v1/events?since=0", [&](const std::string& line) {
        newest.push_back(json::parse(line, nullptr, false));
        if (newest.size() > kEvents) newest.pop_front();
        return true;
    });
    if (!answer) return {{"error", answer.error().text()}};
    return answer->good() ? json(newest) : answer->body;
}

json metrics(const SupportWords& words) {
    json lines = json::array();
    const auto answer = words.client().follow("/metrics", [&](const std::string& line) {
        if (!line.starts_with('#')) lines.push_back(line);
        return true;
    });
    if (!answer) return {{"error", answer.error().text()}};
    return lines;
}

// Never over a file that is there; for its owner alone.
Status write_file(const std::string& path, const std::string& text) {
    const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!file) return fail_errno("cannot make " + path);
    for (std::string_view left = text; !left.empty();) {
        const ssize_t put = ::write(file.get(), left.data(), left.size());
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return fail_errno("cannot write " + path);
        left.remove_prefix(static_cast<std::size_t>(put));
    }
    return {};
}

json gather(const SupportWords& words, const json& meta) {
    json told{{"meta", meta}};
    for (const auto& [key, path] : {std::pair{"jobs", "/v1/jobs?limit=500"},
                                    {"runs", "/v1/runs?limit=500"},
                                    {"templates", "/v1/templates?limit=500"},
                                    {"groups", "/v1/groups?limit=500"},
                                    {"notifications", "/v1/notifications"},
                                    {"volumes", "/v1/volumes?limit=500"},
                                    {"vaults", "/v1/vaults?limit=500"},
                                    {"audit", "/v1/audit?limit=500"}})
        told[key] = asked(words, path);
    told["events"] = events(words);
    return told;
}

int support(const SupportWords& words) {
    const auto meta = words.client().call("GET", "/v1/meta");
    if (!meta) return report(meta.error());
    if (!meta->good()) return report_refused(*meta);
    const json told = gather(words, meta->body);
    Redaction redaction;
    redaction.learn(told);
    json bundle = redaction.redacted(told);
    bundle["metrics"] = json::array();
    for (const json& line : metrics(words))
        if (line.is_string()) bundle["metrics"].push_back(redaction.text(line.get<std::string>()));
    if (words.place.host.empty()) bundle["host"] = host_facts();
    bundle["made_by"] = "towline " TOWLINE_VERSION;
    const Status written =
        write_file(words.file, bundle.dump(1, ' ', false, json::error_handler_t::replace) + "\n");
    if (!written) return report(written.error());
    std::printf("%s: names, paths and addresses are replaced; read it before you hand it on\n",
                words.file.c_str());
    return 0;
}

}  // namespace

void add_support_command(CLI::App& app, std::function<int()>& run) {
    auto words = std::make_shared<SupportWords>();
    CLI::App* command =
        app.add_subcommand("support", "Diagnostics of the daemon in one file, without names.");
    add_api_options(*command, *words);
    command->add_option("FILE", words->file, "what is made; it must not be there")->required();
    command->callback([words, &run] { run = [words] { return support(*words); }; });
}

}  // namespace towline
