// SPDX-License-Identifier: Apache-2.0
// `towline track` and `towline snapshot`: trackers and images by hand and from scripts. A freeze by
// hand is for looking: what it ends stays frozen until somebody commits it or the next run takes
// it.

#include <cstdio>
#include <fstream>

#include <nlohmann/json.hpp>

#include "cbt/tracker_registry.hpp"
#include "tools/towline/commands.hpp"
#include "tools/towline/exit_codes.hpp"
#include "tools/towline/sizes.hpp"

namespace towline {

namespace {

constexpr TrackerKind kKinds[] = {TrackerKind::kKmod, TrackerKind::kFuse, TrackerKind::kBpf};

struct TrackWords {
    std::vector<std::string> volumes;
    std::string tracker = "auto";
    std::string block = "0";
    std::string log;
    std::string output;
    std::string store = "0";
    std::string id;
    std::uint64_t sequence = 0;
    bool snapshot = false;
    bool json = false;
};

// A volume and the tracker that has it.
struct Found {
    std::unique_ptr<Tracker> tracker;
    TrackerStatus status;
};

bool wanted(const TrackWords& words, TrackerKind kind) {
    return words.tracker == "auto" || words.tracker == tracker_kind_name(kind);
}

Result<Found> find_tracked(const TrackWords& words, const std::string& name) {
    const Volume volume = TRY(Volume::open(name, Access::kRead));
    for (const TrackerKind kind : kKinds) {
        if (!wanted(words, kind)) continue;
        auto tracker = open_tracker(kind);
        if (!tracker) {
            if (words.tracker != "auto") return std::unexpected(tracker.error());
            continue;
        }
        if (auto status = TRY((*tracker)->find(volume)))
            return Found{std::move(*tracker), std::move(*status)};
    }
    return fail(Code::kInvalid, name + " is not tracked (towline track attach)");
}

nlohmann::json json_of(const TrackerStatus& status) {
    return {{"volume", status.volume},
            {"tracker", tracker_kind_name(status.kind)},
            {"uuid", status.tracker.text()},
            {"volume_bytes", status.volume_bytes},
            {"block_bytes", status.block_bytes},
            {"sequence", status.sequence},
            {"sequence_frozen", status.sequence_frozen},
            {"sequence_committed", status.sequence_committed},
            {"trust", trust_name(status.trust)},
            {"reasons", status.reasons.text()},
            {"durable", status.durable},
            {"gone", status.gone},
            {"writes_seen", status.writes_seen},
            {"memory_bytes", status.memory_bytes}};
}

nlohmann::json json_of(const ChangeSet& set) {
    return {{"uuid", set.tracker.text()},
            {"sequence", set.sequence},
            {"after", set.after},
            {"trust", trust_name(set.trust)},
            {"reasons", set.reasons.text()},
            {"volume_bytes", set.changes.volume_bytes()},
            {"block_bytes", set.changes.block_bytes()},
            {"changed_bytes", set.changes.marked_bytes()}};
}

nlohmann::json json_of(const SnapshotStatus& status) {
    return {{"id", status.image.id},
            {"volume", status.volume},
            {"path", status.image.path.string()},
            {"volume_bytes", status.image.volume_bytes},
            {"sequence", status.image.sequence},
            {"stored_bytes", status.stored_bytes},
            {"store_bytes", status.store_bytes},
            {"failed", status.failed},
            {"why", status.why}};
}

// name=value words: for scripts without a JSON reader (an initramfs), and people.
void print(const nlohmann::json& object) {
    std::string line;
    for (const auto& [name, value] : object.items()) {
        const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
        if (!line.empty()) line += ' ';
        line += name + '=' + (text.find(' ') == std::string::npos ? text : '"' + text + '"');
    }
    std::printf("%s\n", line.c_str());
}

void show(const TrackWords& words, const nlohmann::json& answer) {
    if (words.json) {
        std::printf("%s\n", answer.dump(2).c_str());
    } else if (answer.is_array()) {
        for (const auto& each : answer)
            print(each);
    } else {
        print(answer);
    }
}

Status attach(const TrackWords& words) {
    const AttachRequest request{
        .block_bytes = static_cast<std::uint32_t>(TRY(parse_size(words.block, "--block"))),
        .log = words.log};
    const std::string& name = words.volumes.front();
    const Volume volume = TRY(Volume::open(name, Access::kRead));
    std::string reasons;
    for (const TrackerKind kind : kKinds) {
        if (!wanted(words, kind)) continue;
        auto tracker = open_tracker(kind);
        const Status usable =
            tracker ? (*tracker)->usable_for(volume) : std::unexpected(tracker.error());
        if (usable) {
            const auto there = TRY((*tracker)->find(volume));
            const Uuid uuid = there ? there->tracker : TRY((*tracker)->attach(volume, request));
            nlohmann::json answer = json_of(TRY((*tracker)->status(uuid)));
            answer["changed"] = !there;
            show(words, answer);
            return {};
        }
        if (!reasons.empty()) reasons += "; ";
        reasons += std::string(tracker_kind_name(kind)) + ": " + usable.error().context;
    }
    return fail(Code::kUnsupported, "nothing here can track " + name + " (" + reasons + ")");
}

Status detach(const TrackWords& words) {
    const Found found = TRY(find_tracked(words, words.volumes.front()));
    return found.tracker->detach(found.status.tracker);
}

Status status(const TrackWords& words) {
    show(words, json_of(TRY(find_tracked(words, words.volumes.front())).status));
    return {};
}

Status list(const TrackWords& words) {
    nlohmann::json all = nlohmann::json::array();
    for (const TrackerKind kind : kKinds) {
        const auto tracker = open_tracker(kind);
        if (!tracker) continue;
        for (const TrackerStatus& each : TRY((*tracker)->list()))
            all.push_back(json_of(each));
    }
    show(words, all);
    return {};
}

Status write_list(const ChangeMap& changes, const std::string& file) {
    std::ofstream out(file);
    for (auto run = changes.next_run(0); run; run = changes.next_run(run->end())) {
        const Extent extent = changes.extent_of(*run);
        out << extent.offset_bytes << ' ' << extent.length_bytes << '\n';
    }
    out.flush();
    if (!out) return fail_errno("cannot write the list of changes to " + file);
    return {};
}

Status freeze(const TrackWords& words) {
    std::optional<Found> first;
    FreezeRequest request;
    for (const std::string& name : words.volumes) {
        Found found = TRY(find_tracked(words, name));
        if (first && first->tracker->kind() != found.tracker->kind())
            return fail(Code::kRefused, "a group has one tracker; freeze these volumes apart");
        request.trackers.push_back(found.status.tracker);
        if (!first) first = std::move(found);
    }
    if (words.snapshot) request.snapshot = {.store_bytes = TRY(parse_size(words.store, "--store"))};
    const FrozenGroup group = TRY(first->tracker->freeze_epoch(request));
    nlohmann::json answer = nlohmann::json::array();
    for (std::size_t at = 0; at < group.sets.size(); ++at) {
        nlohmann::json one = json_of(group.sets[at]);
        one["volume"] = words.volumes[at];
        one["held_us"] = std::chrono::duration_cast<std::chrono::microseconds>(group.held).count();
        if (!group.images.empty()) {
            one["snapshot"] = group.images[at].id;
            one["path"] = group.images[at].path.string();
        }
        answer.push_back(std::move(one));
    }
    if (!words.output.empty()) TRY_STATUS(write_list(group.sets.front().changes, words.output));
    show(words, answer);
    return {};
}

Status settle(const TrackWords& words, bool commit) {
    const Found found = TRY(find_tracked(words, words.volumes.front()));
    const std::uint64_t sequence =
        words.sequence != 0 ? words.sequence : found.status.sequence_frozen;
    if (sequence == 0) return fail(Code::kRefused, "no epoch is frozen (towline track freeze)");
    return commit ? found.tracker->commit(found.status.tracker, sequence)
                  : found.tracker->give_back(found.status.tracker, sequence);
}

// Of every provider that this host has.
Status for_each_snapshot(
    const std::function<Status(SnapshotProvider&, const SnapshotStatus&)>& act) {
    const auto all_of = [&act](SnapshotProvider& provider) -> Status {
        for (const SnapshotStatus& each : TRY(provider.list()))
            TRY_STATUS(act(provider, each));
        return {};
    };
    for (const TrackerKind kind : kKinds) {
        const auto tracker = open_tracker(kind);
        if (tracker && (*tracker)->snapshots() != nullptr)
            TRY_STATUS(all_of(*(*tracker)->snapshots()));
    }
    const auto lvm = open_snapshots(SnapshotKind::kLvm);
    if (!lvm) return {};
    Status done = all_of(**lvm);
    // No lvm2 here, and so none of its snapshots.
    if (!done && done.error().code == Code::kUnsupported) return {};
    return done;
}

Status list_snapshots(const TrackWords& words) {
    nlohmann::json all = nlohmann::json::array();
    TRY_STATUS(for_each_snapshot([&all](SnapshotProvider&, const SnapshotStatus& each) {
        all.push_back(json_of(each));
        return Status();
    }));
    show(words, all);
    return {};
}

// By its id, or by the volume that it is of.
Status delete_snapshot(const TrackWords& words) {
    bool found = false;
    TRY_STATUS(for_each_snapshot([&](SnapshotProvider& provider, const SnapshotStatus& each) {
        if (each.image.id != words.id && each.volume != words.id) return Status();
        found = true;
        return provider.remove(each.image.id);
    }));
    if (found) return {};
    return fail(Code::kInvalid, "there is no snapshot " + words.id + " (towline snapshot list)");
}

using Doing = std::function<Status(const TrackWords&)>;

CLI::App* add(CLI::App& group, const char* name, const char* help, const Doing& doing,
              std::function<int()>& run) {
    CLI::App* command = group.add_subcommand(name, help);
    auto words = std::make_shared<TrackWords>();
    command->add_flag("--json", words->json, "the answer as JSON");
    const bool many = std::string_view(name) == "freeze" || std::string_view(name) == "create";
    const bool by_volume = std::string_view(name) != "list" && std::string_view(name) != "delete";
    if (by_volume) {
        auto* volumes = command->add_option("VOLUME", words->volumes, "a device or image file");
        volumes->required()->expected(1, many ? 64 : 1);
        command->add_option("--tracker", words->tracker, "auto, kmod, bpf or fuse")
            ->type_name("NAME")
            ->check(CLI::IsMember({"auto", "kmod", "bpf", "fuse"}))
            ->capture_default_str();
    }
    if (std::string_view(name) == "attach") {
        command->add_option("--block", words->block, "4K to 1M; 0: by the volume's size")
            ->type_name("SIZE");
        command->add_option("--log", words->log, "where it is kept what survives a crash")
            ->type_name("PATH");
    }
    if (std::string_view(name) == "delete")
        command->add_option("SNAPSHOT", words->id, "its id, or its volume")->required();
    if (std::string_view(name) == "freeze")
        command->add_option("--output", words->output, "the changes of the first, as a list")
            ->type_name("FILE");
    if (std::string_view(name) == "commit" || std::string_view(name) == "give-back")
        command->add_option("--sequence", words->sequence, "of the epoch; 0: the frozen one")
            ->type_name("N");
    if (many) {
        words->snapshot = std::string_view(name) == "create";
        command->add_option("--store", words->store, "room for what is overwritten, of each")
            ->type_name("SIZE");
        if (!words->snapshot)
            command->add_flag("--snapshot", words->snapshot, "an image of each at the moment");
    }
    command->callback([words, doing, &run] {
        run = [words, doing] {
            const Status done = doing(*words);
            if (done) return 0;
            std::fprintf(stderr, "towline: %s\n", done.error().text().c_str());
            return exit_code(done.error().code);
        };
    });
    return command;
}

}  // namespace

void add_track_commands(CLI::App& app, std::function<int()>& run) {
    CLI::App* track = app.add_subcommand("track", "Knows which blocks of a volume are written.");
    track->require_subcommand(1);
    add(*track, "attach", "Begins tracking a volume.", attach, run);
    add(*track, "detach", "Ends it; the next run compares.", detach, run);
    add(*track, "list", "All that is tracked.", list, run);
    add(*track, "status", "Of one volume.", status, run);
    add(*track, "freeze", "Ends the present epoch of one or several, in one moment.", freeze, run);
    add(
        *track, "commit", "Drops a frozen epoch.",
        [](const TrackWords& words) { return settle(words, true); }, run);
    add(
        *track, "give-back", "Puts a frozen epoch's changes back.",
        [](const TrackWords& words) { return settle(words, false); }, run);
    CLI::App* snapshot = app.add_subcommand("snapshot", "Images of tracked volumes at one moment.");
    snapshot->require_subcommand(1);
    add(*snapshot, "create", "Makes one of each volume, all of one moment.", freeze, run);
    add(*snapshot, "list", "All that stand.", list_snapshots, run);
    add(*snapshot, "delete", "Removes one.", delete_snapshot, run);
}

}  // namespace towline
