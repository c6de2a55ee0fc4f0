// SPDX-License-Identifier: Apache-2.0
// The module's verbs, one a run, for the tests' scripts.
#include <memory>
#include <poll.h>
#include <string_view>
#include <sys/sysmacros.h>

#include "store.hpp"

namespace {

using Words = std::vector<std::string>;

// track attach DEVICE [BLOCK_SIZE]: prints the uuid.
void attach(const Module& module, const Words& words) {
    struct stat status {};
    if (stat(words.at(0).c_str(), &status) != 0) die("stat %s", words[0].c_str());
    towline_attach request{};
    request.major = major(status.st_rdev);
    request.minor = minor(status.st_rdev);
    if (words.size() > 1) request.block_size = static_cast<uint32_t>(number(words[1]));
    module.call("attach", TOWLINE_IOC_ATTACH, request);
    printf("%s\n", print_uuid(request.uuid).c_str());
}

void detach(const Module& module, const Words& words) {
    towline_detach request{};
    request.uuid = parse_uuid(words.at(0));
    module.call("detach", TOWLINE_IOC_DETACH, request);
}

// Prints a uuid a line.
void list(const Module& module, const Words&) {
    std::vector<towline_uuid> uuids(1000);
    towline_list request{};
    request.uuids = reinterpret_cast<uintptr_t>(uuids.data());
    request.capacity = static_cast<uint32_t>(uuids.size());
    module.call("list", TOWLINE_IOC_LIST, request);
    for (uint32_t at = 0; at < request.count; ++at)
        printf("%s\n", print_uuid(uuids[at]).c_str());
}

unsigned long long wide(uint64_t value) {
    return value;
}

// track status UUID: "name=number" a line, for a file that the host reads.
void status(const Module& module, const Words& words) {
    towline_status told{};
    told.uuid = parse_uuid(words.at(0));
    module.call("status", TOWLINE_IOC_STATUS, told);
    printf("flags=%u\nblock_size=%u\nfirst_sector=%llu\ndevice_bytes=%llu\n", told.flags,
           told.block_size, wide(told.first_sector), wide(told.device_bytes));
    printf("sequence=%llu\nsequence_frozen=%llu\nsequence_committed=%llu\n", wide(told.sequence),
           wide(told.sequence_frozen), wide(told.sequence_committed));
    printf("writes_in_flight=%u\nwrites_held=%u\nmemory_bytes=%llu\n", told.writes_in_flight,
           told.writes_held, wide(told.memory_bytes));
    printf("writes_seen=%llu\nbytes_seen=%llu\ndiscards_seen=%llu\nwrites_deferred=%llu\n",
           wide(told.writes_seen), wide(told.bytes_seen), wide(told.discards_seen),
           wide(told.writes_deferred));
    unsigned long long held = 0, copied = 0;
    for (size_t at = 0; at < TOWLINE_LATENCY_BUCKETS; ++at) {
        held += told.held_times[at];
        copied += told.copy_times[at];
    }
    printf("copies=%llu\ncopy_waits=%llu\nheld_timed=%llu\ncopies_timed=%llu\n", wide(told.copies),
           wide(told.copy_waits), held, copied);
}

const char* name_of(uint32_t kind) {
    switch (kind) {
        case TOWLINE_EVENT_LOST:
            return "lost";
        case TOWLINE_EVENT_GONE:
            return "gone";
        case TOWLINE_EVENT_TRUST_LOST:
            return "trust_lost";
        case TOWLINE_EVENT_SNAPSHOT_FILL:
            return "fill";
        case TOWLINE_EVENT_SNAPSHOT_FORECAST:
            return "forecast";
        case TOWLINE_EVENT_SNAPSHOT_FAILED:
            return "failed";
        case TOWLINE_EVENT_LOG_FAILED:
            return "log_failed";
        default:
            return "unknown";
    }
}

void print_events(const Module& module) {
    towline_event events[8];
    for (ssize_t got = 0; (got = read(module.fd(), events, sizeof(events))) > 0;)
        for (size_t at = 0; at < static_cast<size_t>(got) / sizeof(towline_event); ++at)
            printf("event=%s sequence=%llu uuid=%s error=%d value=%llu\n", name_of(events[at].kind),
                   wide(events[at].sequence), print_uuid(events[at].uuid).c_str(), events[at].error,
                   wide(events[at].value));
    if (errno != EAGAIN) die("read of events");
    fflush(stdout);
}

// track watch: prints "watching", then each event, by poll, for ever.
void watch(const Module& module, const Words&) {
    printf("watching\n");
    fflush(stdout);
    for (pollfd wanted{module.fd(), POLLIN, 0}; poll(&wanted, 1, -1) == 1;)
        print_events(module);
    die("poll");
}

// track late ROUNDS UUID DEVICE: as many snapshots that fail, two events each; then reads them.
void late(const Module& module, const Words& words) {
    const int fd = open_or_die(words.at(2), O_WRONLY | O_DIRECT);
    void* memory = aligned_memory(kMiB);
    memset(memory, 1, kMiB);
    for (uint64_t round = 0; round < number(words.at(0)); ++round) {
        std::vector<towline_snapshot> snapshots(1);
        snapshots[0].store_bytes = TOWLINE_CHUNK_SIZE_MIN;
        snapshots[0].chunk_size = TOWLINE_CHUNK_SIZE_MIN;
        snapshots[0].notify_percent = 100;
        module.freeze({parse_uuid(words.at(1))}, true, 20000, nullptr, &snapshots);
        if (pwrite(fd, memory, 16384, 0) != 16384) die("write");
        module.delete_snapshot(parse_uuid(words.at(1)));
    }
    print_events(module);
}

// track freeze drain|loose UUID...: a line a device, "name=number" by blanks.
void freeze(const Module& module, const Words& words) {
    std::vector<towline_uuid> uuids;
    for (size_t at = 1; at < words.size(); ++at)
        uuids.push_back(parse_uuid(words[at]));
    uint32_t held_us = 0;
    for (const towline_epoch& epoch : module.freeze(uuids, words.at(0) == "drain", 10000, &held_us))
        printf(
            "uuid=%s sequence=%llu device_bytes=%llu blocks=%llu blocks_changed=%llu "
            "block_size=%u trust=%u reasons=%u held_us=%u\n",
            print_uuid(epoch.uuid).c_str(), wide(epoch.sequence), wide(epoch.device_bytes),
            wide(epoch.blocks), wide(epoch.blocks_changed), epoch.block_size, epoch.trust,
            epoch.reasons, held_us);
}

// track snapshot STORE[+STORE...] CHUNK UUID...: a store a device, or one for all that is memory.
// "uuid= sequence= image= held_us=", a line a device.
void snapshot(const Module& module, const Words& words) {
    std::vector<towline_uuid> uuids;
    for (size_t at = 2; at < words.size(); ++at)
        uuids.push_back(parse_uuid(words[at]));
    std::vector<towline_snapshot> snapshots(uuids.size());
    std::vector<std::unique_ptr<Store>> stores;
    std::string left = words.at(0);
    for (towline_snapshot& each : snapshots) {
        const size_t end = left.find('+');
        stores.push_back(std::make_unique<Store>(left.substr(0, end)));
        stores.back()->ask(each);
        if (end != std::string::npos) left.erase(0, end + 1);
        each.chunk_size = static_cast<uint32_t>(number(words.at(1)));
    }
    uint32_t held_us = 0;
    const auto epochs = module.freeze(uuids, true, 20000, &held_us, &snapshots);
    for (size_t at = 0; at < uuids.size(); ++at)
        printf("uuid=%s sequence=%llu image=/dev/towline/%u held_us=%u\n",
               print_uuid(uuids[at]).c_str(), wide(epochs[at].sequence), snapshots[at].index,
               held_us);
}

void snapshot_status(const Module& module, const Words& words) {
    towline_snapshot_status told{};
    told.uuid = parse_uuid(words.at(0));
    module.call("snapshot_status", TOWLINE_IOC_SNAPSHOT_STATUS, told);
    printf("flags=%u error=%d stored=%llu max=%llu chunk=%u forecast=%lld\n", told.flags,
           told.error, wide(told.chunks_stored), wide(told.chunks_max), told.chunk_size,
           static_cast<long long>(told.forecast_seconds));
}

// track grow UUID STORE
void grow(const Module& module, const Words& words) {
    Store(words.at(1)).grow(module, parse_uuid(words.at(0)));
}

// track map UUID SEQUENCE BLOCKS FILE
void map(const Module& module, const Words& words) {
    const Map bits = module.map(parse_uuid(words.at(0)), number(words.at(1)));
    const uint64_t bytes = (number(words.at(2)) + 7) / 8;
    const int fd = open_or_die(words.at(3), O_WRONLY | O_CREAT | O_TRUNC);
    if (write(fd, bits.data(), bytes) != static_cast<ssize_t>(bytes)) die("%s", words[3].c_str());
}

// track commit|give_back UUID SEQUENCE [REGION...]: those stay in the intent log.
void settle(const Module& module, unsigned long code, const Words& words) {
    std::vector<uint8_t> pending;
    for (size_t at = 2; at < words.size(); ++at) {
        const uint64_t region = number(words[at]);
        if (pending.size() <= region / 8) pending.resize(region / 8 + 1);
        pending[region / 8] |= static_cast<uint8_t>(1U << region % 8);
    }
    module.settle(code, parse_uuid(words.at(0)), number(words.at(1)), pending);
}

void version(const Module& module, const Words&) {
    towline_version told{};
    module.call("version", TOWLINE_IOC_VERSION, told);
    printf("api=%u features=%llu\n", told.api, wide(told.features));
}

int run(const Module& module, std::string_view verb, const Words& words) {
    if (verb == "version") return version(module, words), 0;
    if (verb == "attach") return attach(module, words), 0;
    if (verb == "detach") return detach(module, words), 0;
    if (verb == "list") return list(module, words), 0;
    if (verb == "status") return status(module, words), 0;
    if (verb == "freeze") return freeze(module, words), 0;
    if (verb == "grow") return grow(module, words), 0;
    if (verb == "watch") return watch(module, words), 0;
    if (verb == "late") return late(module, words), 0;
    if (verb == "map") return map(module, words), 0;
    if (verb == "snapshot") return snapshot(module, words), 0;
    if (verb == "snapshot_status") return snapshot_status(module, words), 0;
    if (verb == "snapshot_delete") return module.delete_snapshot(parse_uuid(words.at(0))), 0;
    if (verb == "commit") return settle(module, TOWLINE_IOC_COMMIT, words), 0;
    if (verb == "give_back") return settle(module, TOWLINE_IOC_GIVE_BACK, words), 0;
    fprintf(stderr, "track version|attach|detach|list|status|freeze|snapshot|map|commit|... ...\n");
    return 1;
}

}  // namespace

int main(int count, char** arguments) {
    const Module module;
    const Words words(arguments + (count > 1 ? 2 : 1), arguments + count);
    return run(module, count > 1 ? arguments[1] : "", words);
}
