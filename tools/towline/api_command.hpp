// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "tools/towline/api_client.hpp"

namespace towline {

// What every command that asks the daemon has.
struct ApiWords {
    DaemonPlace place;
    bool json = false;

    ApiClient client() const { return ApiClient(place); }
};

void add_api_options(CLI::App& command, ApiWords& words);

// Columns as wide as they must be; nothing: "-".
class TextTable {
  public:
    explicit TextTable(std::vector<std::string> titles) : rows_{std::move(titles)} {}
    void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
    std::string text() const;

  private:
    std::vector<std::vector<std::string>> rows_;
};

// An answer as it came (--json), or by `show`; what went wrong on standard error. The exit code.
int finish(const ApiWords& words, const Result<ApiClient::Answer>& answer,
           const std::function<void(const nlohmann::json&)>& show);
int report(const Error& error);
int report_refused(const ApiClient::Answer& answer);

// A field as a person reads it: null is "-".
std::string field_text(const nlohmann::json& object, const char* key);
std::string time_left(const nlohmann::json& seconds);
std::string schedule_text(const nlohmann::json& schedule);
std::string jobs_table(const nlohmann::json& jobs);
std::string runs_table(const nlohmann::json& runs);
// "Transfer 45.2 %, 210 MiB/s, 0:12 left"
std::string progress_text(const nlohmann::json& run);

}  // namespace towline
