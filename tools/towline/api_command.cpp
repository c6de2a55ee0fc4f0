// SPDX-License-Identifier: Apache-2.0
// How answers become text and exit codes, the same for every command.

#include "tools/towline/api_command.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "tools/towline/exit_codes.hpp"
#include "tools/towline/progress_bar.hpp"

namespace towline {

using nlohmann::json;

namespace {

Exit exit_of(const std::string& code) {
    static const std::map<std::string, Exit> kExits{{"INVALID_REQUEST", Exit::kUsage},
                                                    {"UNKNOWN_FIELD", Exit::kUsage},
                                                    {"BODY_TOO_LARGE", Exit::kUsage},
                                                    {"NOT_FOUND", Exit::kNotFound},
                                                    {"RUN_ACTIVE", Exit::kBusy},
                                                    {"JOB_DELETING", Exit::kBusy},
                                                    {"STATE_NOT_SAVED", Exit::kFailure},
                                                    {"METHOD_NOT_ALLOWED", Exit::kUnsupported},
                                                    {"UNSUPPORTED_MEDIA_TYPE", Exit::kUnsupported}};
    const auto found = kExits.find(code);
    return found == kExits.end() ? Exit::kRefused : found->second;
}

// Texts come from whoever wrote a description, and from other hosts: a terminal is not to obey
// them, and a line of a table stays one line.
std::string harmless(std::string text) {
    for (std::size_t at = 0; at < text.size(); ++at) {
        const auto byte = static_cast<unsigned char>(text[at]);
        const auto before = static_cast<unsigned char>(at == 0 ? 0 : text[at - 1]);
        const bool c1 = before == 0xc2 && byte >= 0x80 && byte < 0xa0;
        if (byte < 0x20 || byte == 0x7f || c1) text[at] = '?';
        if (c1) text[at - 1] = '?';
    }
    return text;
}

}  // namespace

void add_api_options(CLI::App& command, ApiWords& words) {
    command.add_option("--socket", words.place.socket, "where towlined listens")
        ->type_name("PATH")
        ->capture_default_str();
    command
        .add_option("--host", words.place.host,
                    "the daemon of another host, by this user's ssh, which runs dial-stdio there: "
                    "ssh://USER@HOST[:PORT]")
        ->type_name("URL")
        ->envname("TOWLINE_HOST");
    command.add_flag("--json", words.json, "the daemon's answer as it is");
}

std::string TextTable::text() const {
    std::vector<std::size_t> widths(rows_.front().size());
    for (const auto& row : rows_)
        for (std::size_t at = 0; at < row.size(); ++at)
            widths[at] = std::max(widths[at], row[at].size());
    std::string text;
    for (const auto& row : rows_) {
        std::string line;
        for (std::size_t at = 0; at < row.size(); ++at)
            line += row[at] + std::string(widths[at] - row[at].size() + 2, ' ');
        line.erase(line.find_last_not_of(' ') + 1);
        text += line + "\n";
    }
    return text;
}

int report(const Error& error) {
    std::fprintf(stderr, "towline: %s\n", error.text().c_str());
    return exit_code(error.code);
}

int report_refused(const ApiClient::Answer& answer) {
    const std::string cause = field_text(answer.body, "cause");
    std::fprintf(stderr, "towline: %s%s\n", field_text(answer.body, "message").c_str(),
                 cause == "-" ? "" : (": " + cause).c_str());
    return static_cast<int>(exit_of(field_text(answer.body, "code")));
}

int finish(const ApiWords& words, const Result<ApiClient::Answer>& answer,
           const std::function<void(const json&)>& show) {
    if (!answer) return report(answer.error());
    if (words.json) std::printf("%s\n", answer->body.dump(2).c_str());
    if (!answer->good()) return report_refused(*answer);
    if (!words.json) show(answer->body);
    return 0;
}

std::string field_text(const json& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) return "-";
    if (found->is_string()) return harmless(found->get<std::string>());
    if (!found->is_array()) return found->dump();
    std::string text;
    for (const json& each : *found)
        text += (text.empty() ? "" : ", ") +
                (each.is_string() ? harmless(each.get<std::string>()) : each.dump());
    return text.empty() ? "-" : text;
}

std::string time_left(const json& seconds_left) {
    if (!seconds_left.is_number()) return "-";
    const long whole = std::lround(std::min(seconds_left.get<double>(), 1e8));
    char text[32];
    std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
    return text;
}

std::string progress_text(const json& run) {
    std::string text = field_text(run, "stage");
    if (run.value("paused", false)) return "paused";
    if (const json percent = run.value("percent", json()); percent.is_number()) {
        char number[16];
        std::snprintf(number, sizeof number, " %.1f %%", percent.get<double>());
        text += number;
    }
    if (run.at("stage") == "Transfer")
        text += " of " + human_bytes(run.value("bytes_changed", 0.0));
    if (run.value("speed_bytes_per_second", 0.0) > 0) {
        text += ", " + human_bytes(run["speed_bytes_per_second"].get<double>()) + "/s (" +
                human_bytes(run.value("wire_bytes_per_second", 0.0)) + "/s on the wire)";
        text += ", " + time_left(run.value("seconds_left", json())) + " left";
    }
    if (const json dirty = run.value("dirty_bytes_per_second", json()); dirty.is_number()) {
        text += ", " + human_bytes(dirty.get<double>()) + "/s written";
        if (run.value("converges", json()) == json(false)) text += ": not converging";
    }
    if (const json lag = run.value("lag_seconds", json()); lag.is_number())
        text += ", lag " + time_left(lag);
    return text;
}

}  // namespace towline
