// SPDX-License-Identifier: Apache-2.0
// By keys: values of a closed set of words, and times, stay as they are; texts for people are
// looked through word by word; every other text is somebody's, and is replaced. So a field that is
// new, and that nobody thought of here, is replaced as well.

#include "tools/towline/redaction.hpp"

#include <algorithm>
#include <array>
#include <cctype>

namespace towline {

using nlohmann::json;

namespace {

constexpr std::array<std::string_view, 37> kHarmless{
    "state",      "type",        "stage",      "mode",         "code",       "tracker",
    "snapshot",   "kind",        "filesystem", "role",         "operation",  "version",
    "at",         "created_at",  "changed_at", "scheduled_at", "started_at", "ended_at",
    "replica_of", "next_run_at", "every",      "calendar",     "lag",        "once",
    "lag_max",    "compression", "start",      "targets",      "trackers",   "snapshots",
    "events",     "point",       "verb",       "id",           "attested",   "digest",
    "root"};
constexpr std::array<std::string_view, 6> kTexts{"message", "notes", "error",
                                                 "object",  "cause", "field"};
constexpr std::array<std::string_view, 5> kLabels{"application", "filesystem", "crash", "fuzzy",
                                                  "unknown"};
constexpr std::array<std::string_view, 3> kSchemes{"tcp:", "unix:", "vault:"};
constexpr std::string_view kBetween = " \t\n\"'(),;{}=[]<>|";

template <std::size_t Count>
bool has(const std::array<std::string_view, Count>& all, std::string_view one) {
    return std::ranges::find(all, one) != all.end();
}

std::string kind_of(const std::string& key) {
    if (key == "volumes" || key == "path" || key == "parent" || key == "mounts" ||
        key == "program" || key == "journal" || key == "folder")
        return "path";
    if (key == "name" || key == "job" || key == "jobs" || key == "template" || key == "group")
        return "name";
    if (key == "description" || key == "tags") return "text";
    return key.empty() ? "text" : key;
}

// "tcp:" of "tcp://host:1/x": what kind of target it is stays.
std::string_view scheme_of(std::string_view text) {
    const auto found = std::ranges::find_if(
        kSchemes, [&](std::string_view each) { return text.starts_with(each); });
    return found == kSchemes.end() ? std::string_view() : *found;
}

std::string host_of(const std::string& target) {
    static constexpr std::string_view kTcp = "tcp://";
    if (!target.starts_with(kTcp)) return "";
    const std::string rest = target.substr(kTcp.size());
    const std::string address = rest.substr(0, rest.find('/'));
    return address.substr(0, address.rfind(':'));
}

bool is_address(std::string_view word) {
    const auto among = [&](std::string_view letters) {
        return word.find_first_not_of(letters) == std::string_view::npos;
    };
    const auto dots = std::ranges::count(word, '.');
    const auto colons = std::ranges::count(word, ':');
    return (dots == 3 && among("0123456789.:")) ||
           (colons >= 2 && word.find("::") != std::string_view::npos &&
            among("0123456789abcdefABCDEF:.[]"));
}

bool is_path(std::string_view word) {
    const bool speed = word.ends_with("B/s");
    return word.size() > 1 && word.find('/') != std::string_view::npos && !speed;
}

}  // namespace

const std::string& Redaction::stand_in(const std::string& kind, const std::string& value) {
    const auto found = known_.find(value);
    if (found != known_.end()) return found->second;
    const std::string scheme(scheme_of(value));
    const std::string made = scheme + kind + "-" + std::to_string(++counts_[kind]);
    return known_.emplace(value, made).first->second;
}

void Redaction::learn(const json& value, const std::string& key) {
    if (value.is_object()) {
        for (const auto& [name, each] : value.items())
            learn(each, name);
    } else if (value.is_array()) {
        for (const json& each : value)
            learn(each, key);
    } else if (value.is_string()) {
        const auto text = value.get<std::string>();
        const bool label = key == "label" && has(kLabels, text);
        if (text.empty() || label || has(kHarmless, key) || has(kTexts, key)) return;
        if (const std::string host = host_of(text); !host.empty()) stand_in("host", host);
        stand_in(kind_of(key), text);
    }
}

json Redaction::redacted(const json& value, const std::string& key) {
    if (value.is_object()) {
        json made = json::object();
        for (const auto& [name, each] : value.items()) {
            const auto found = known_.find(name);
            made[found == known_.end() ? name : found->second] = redacted(each, name);
        }
        return made;
    }
    if (value.is_array()) {
        json made = json::array();
        for (const json& each : value)
            made.push_back(redacted(each, key));
        return made;
    }
    if (!value.is_string()) return value;
    const auto words = value.get<std::string>();
    const bool label = key == "label" && has(kLabels, words);
    if (words.empty() || label || has(kHarmless, key)) return value;
    if (has(kTexts, key)) return text(words);
    return stand_in(kind_of(key), words);
}

std::string Redaction::word(const std::string& word) {
    if (const auto found = known_.find(word); found != known_.end()) return found->second;
    // A sentence ends in it.
    const std::size_t end = word.find_last_not_of(".:!?");
    if (end == std::string::npos) return word;
    const std::string bare = word.substr(0, end + 1);
    const std::string rest = word.substr(end + 1);
    if (const auto found = known_.find(bare); found != known_.end()) return found->second + rest;
    if (is_address(bare)) return stand_in("address", bare) + rest;
    if (is_path(bare)) return stand_in("path", bare) + rest;
    // "host:7400"
    const auto host = known_.find(bare.substr(0, bare.rfind(':')));
    return host == known_.end() ? word : host->second + rest;
}

std::string Redaction::text(std::string_view words) {
    std::string made;
    while (!words.empty()) {
        const std::size_t end = std::min(words.find_first_of(kBetween), words.size());
        if (end > 0) made += word(std::string(words.substr(0, end)));
        if (end == words.size()) break;
        made += words[end];
        words.remove_prefix(end + 1);
    }
    return made;
}

}  // namespace towline
