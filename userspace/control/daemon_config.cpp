// SPDX-License-Identifier: Apache-2.0
// Every key that was read is struck off; what is left in the end is not known to anybody.

#include "userspace/control/daemon_config.hpp"

#include <set>
#include <toml++/toml.h>

namespace towline {

namespace {

class Reader {
  public:
    Reader(std::filesystem::path path, toml::table table)
        : path_(std::move(path)), table_(std::move(table)) {}

    Status text(const char* section, const char* key, std::string& into) {
        const toml::node* node = take(section, key);
        if (node == nullptr) return {};
        const auto value = node->value_exact<std::string>();
        if (!value || value->empty()) return wrong(section, key, *node, "is no text");
        into = *value;
        return {};
    }

    template <typename T>
    Status number(const char* section, const char* key, std::int64_t low, std::int64_t high,
                  T& into) {
        const toml::node* node = take(section, key);
        if (node == nullptr) return {};
        const auto value = node->value_exact<std::int64_t>();
        if (!value || *value < low || *value > high)
            return wrong(
                section, key, *node,
                "is a whole number from " + std::to_string(low) + " to " + std::to_string(high));
        into = T(*value);
        return {};
    }

    Status texts(const char* section, const char* key, std::vector<std::string>& into) {
        const toml::node* node = take(section, key);
        if (node == nullptr) return {};
        const toml::array* array = node->as_array();
        if (array == nullptr) return wrong(section, key, *node, "is a list of names");
        into.clear();
        for (const toml::node& each : *array) {
            const auto value = each.value_exact<std::string>();
            if (!value || value->empty()) return wrong(section, key, each, "is a list of names");
            into.push_back(*value);
        }
        return {};
    }

    Status nothing_left() const {
        for (const auto& [section, node] : table_) {
            const toml::table* inner = node.as_table();
            if (inner == nullptr || !sections_.contains(std::string(section.str())))
                return unknown(std::string(section.str()), node);
            for (const auto& [key, value] : *inner) {
                const std::string name = std::string(section.str()) + "." + std::string(key.str());
                if (!taken_.contains(name)) return unknown(name, value);
            }
        }
        return {};
    }

  private:
    const toml::node* take(const char* section, const char* key) {
        sections_.insert(section);
        taken_.insert(std::string(section) + "." + key);
        const toml::table* inner = table_[section].as_table();
        return inner == nullptr ? nullptr : inner->get(key);
    }

    std::string place(const toml::node& node) const {
        return path_.string() + ":" + std::to_string(node.source().begin.line);
    }
    std::unexpected<Error> wrong(const char* section, const char* key, const toml::node& node,
                                 const std::string& what) const {
        return fail(Code::kInvalid, place(node) + ": " + section + "." + key + " " + what);
    }
    std::unexpected<Error> unknown(const std::string& name, const toml::node& node) const {
        return fail(Code::kInvalid, place(node) + ": " + name + " is not known (docs/jobs.md)");
    }

    const std::filesystem::path path_;
    const toml::table table_;
    std::set<std::string> sections_;
    std::set<std::string> taken_;
};

// The library throws where it cannot parse; that ends here.
Result<toml::table> parse(const std::filesystem::path& path) {
    try {
        return toml::parse_file(path.string());
    } catch (const toml::parse_error& problem) {
        return fail(Code::kInvalid, path.string() + ":" +
                                        std::to_string(problem.source().begin.line) + ": " +
                                        std::string(problem.description()));
    }
}

}  // namespace

Result<DaemonConfig> DaemonConfig::read(const std::filesystem::path& path) {
    DaemonConfig config;
    Reader reader(path, TRY(parse(path)));
    std::string state = config.places.state_folder.string();
    std::string run = config.places.run_folder.string();
    std::string hooks = config.places.hooks_folder.string();
    std::string socket = config.socket.string();
    TRY_STATUS(reader.text("daemon", "state_dir", state));
    TRY_STATUS(reader.text("daemon", "run_dir", run));
    TRY_STATUS(reader.text("daemon", "hooks_dir", hooks));
    TRY_STATUS(reader.text("daemon", "socket", socket));
    TRY_STATUS(reader.text("daemon", "group", config.group));
    TRY_STATUS(reader.number("daemon", "metrics_port", 1, 65'535, config.metrics_port));
    TRY_STATUS(reader.number("daemon", "jobs_max", 1, 10'000, config.limits.jobs_max));
    TRY_STATUS(reader.number("daemon", "runs_max", 1, 1000, config.limits.runs_max));
    TRY_STATUS(reader.number("history", "runs_per_job", 1, 100'000, config.keep.runs_per_job));
    std::chrono::days age = std::chrono::duration_cast<std::chrono::days>(config.keep.run_age);
    TRY_STATUS(reader.number("history", "days", 1, 3650, age));
    TRY_STATUS(reader.number("history", "events", 100, 10'000'000, config.keep.events));
    TRY_STATUS(reader.texts("roles", "admin", config.roles.admin));
    TRY_STATUS(reader.texts("roles", "operator", config.roles.operators));
    TRY_STATUS(reader.texts("roles", "viewer", config.roles.viewer));
    std::vector<std::string> key_files;
    std::vector<std::string> passphrase_files;
    TRY_STATUS(reader.texts("vault", "key_files", key_files));
    TRY_STATUS(reader.texts("vault", "passphrase_files", passphrase_files));
    TRY_STATUS(reader.nothing_left());
    config.keep.run_age = age;
    config.places = {.state_folder = state, .run_folder = run, .hooks_folder = hooks};
    config.places.keys.key_files.assign(key_files.begin(), key_files.end());
    config.places.keys.passphrase_files.assign(passphrase_files.begin(), passphrase_files.end());
    config.places.keys.for_any = true;
    config.socket = socket;
    return config;
}

}  // namespace towline
