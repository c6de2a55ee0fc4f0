// SPDX-License-Identifier: Apache-2.0
// One call of the tracker interface from a test, its answer as JSON: what a run does with a
// tracker, one step at a time, each in a process of its own.
//
//     tracker_probe KIND STATE PINS attach DEVICE [BLOCK] | usable DEVICE | find DEVICE | list
//                                   | status UUID | freeze UUID... | commit UUID SEQUENCE
//                                   | give-back UUID SEQUENCE | detach UUID
//
// Exit 0: done. 1: refused; the code and the text are on stdout.

#include <cstdio>
#include <cstdlib>
#include <iostream>

#include <nlohmann/json.hpp>

#include "cbt/tracker_registry.hpp"

namespace {

using namespace towline;  // NOLINT(google-build-using-namespace): a test program
using nlohmann::json;
using Words = std::vector<std::string>;

json shown(const TrackerStatus& status) {
    return {{"tracker", status.tracker.text()},
            {"volume", status.volume},
            {"volume_bytes", status.volume_bytes},
            {"block_bytes", status.block_bytes},
            {"sequence", status.sequence},
            {"sequence_frozen", status.sequence_frozen},
            {"sequence_committed", status.sequence_committed},
            {"trust", trust_name(status.trust)},
            {"reasons", status.reasons.text()},
            {"gone", status.gone},
            {"writes_seen", status.writes_seen},
            {"memory_bytes", status.memory_bytes}};
}

json shown(const ChangeSet& set) {
    json runs = json::array();
    std::uint64_t from = 0;
    while (const auto run = set.changes.next_run(from)) {
        runs.push_back({run->first, run->count});
        from = run->end();
    }
    return {{"tracker", set.tracker.text()},
            {"sequence", set.sequence},
            {"after", set.after},
            {"trust", trust_name(set.trust)},
            {"reasons", set.reasons.text()},
            {"volume_bytes", set.changes.volume_bytes()},
            {"block_bytes", set.changes.block_bytes()},
            {"runs", runs}};
}

Result<Uuid> uuid_in(const std::string& word) {
    const auto uuid = Uuid::parse(word);
    if (!uuid) return fail(Code::kInvalid, word + " is no uuid");
    return *uuid;
}

Result<json> freeze(Tracker& tracker, const Words& words) {
    FreezeRequest request;
    for (const std::string& word : words)
        request.trackers.push_back(TRY(uuid_in(word)));
    json sets = json::array();
    for (const ChangeSet& set : TRY(tracker.freeze_epoch(request)).sets)
        sets.push_back(shown(set));
    return sets;
}

Result<json> on_device(Tracker& tracker, const std::string& verb, const Words& words) {
    const Volume volume = TRY(Volume::open(words.at(0), Access::kRead));
    if (verb == "usable") {
        TRY_STATUS(tracker.usable_for(volume));
        return json(true);
    }
    if (verb == "find") {
        const auto status = TRY(tracker.find(volume));
        return status ? shown(*status) : json();
    }
    AttachRequest request;
    if (words.size() > 1)
        request.block_bytes =
            static_cast<std::uint32_t>(std::strtoul(words[1].c_str(), nullptr, 10));
    return json(TRY(tracker.attach(volume, request)).text());
}

Result<json> call(Tracker& tracker, const std::string& verb, const Words& words) {
    if (verb == "attach" || verb == "find" || verb == "usable")
        return on_device(tracker, verb, words);
    if (verb == "freeze") return freeze(tracker, words);
    if (verb == "list") {
        json all = json::array();
        for (const TrackerStatus& status : TRY(tracker.list()))
            all.push_back(shown(status));
        return all;
    }
    const Uuid uuid = TRY(uuid_in(words.at(0)));
    if (verb == "status") return shown(TRY(tracker.status(uuid)));
    if (verb == "detach") {
        TRY_STATUS(tracker.detach(uuid));
        return json(true);
    }
    const std::uint64_t sequence = std::strtoull(words.at(1).c_str(), nullptr, 10);
    TRY_STATUS(verb == "commit" ? tracker.commit(uuid, sequence)
                                : tracker.give_back(uuid, sequence));
    return json(true);
}

Result<json> run(const Words& words) {
    const auto kind = tracker_kind_of(words.at(0));
    if (!kind) return fail(Code::kInvalid, "no kind of tracker: " + words[0]);
    TrackerPlaces places;
    places.state_folder = words.at(1);
    places.run_folder = words.at(1);
    places.bpf_folder = words.at(2);
    const auto tracker = TRY(open_tracker(*kind, places));
    return call(*tracker, words.at(3), Words(words.begin() + 4, words.end()));
}

}  // namespace

int main(int count, char** words) {
    const auto answer = run(Words(words + 1, words + count));
    if (answer) {
        std::cout << answer->dump() << "\n";
        return 0;
    }
    const Error& error = answer.error();
    std::cout << json{{"code", code_name(error.code)}, {"text", error.text()}}.dump() << "\n";
    return 1;
}
