// SPDX-License-Identifier: Apache-2.0
// Devices with an intent log, for the tests' scripts.
#include <algorithm>
#include <linux/fs.h>
#include <string_view>
#include <sys/sysmacros.h>

#include "module.hpp"

namespace {

using Words = std::vector<std::string>;

std::string option(const Words& words, const std::string& name, const std::string& otherwise) {
    for (const std::string& word : words)
        if (word.rfind(name + "=", 0) == 0) return word.substr(name.size() + 1);
    return otherwise;
}

bool has(const Words& words, const char* name) {
    return std::find(words.begin(), words.end(), name) != words.end();
}

dev_t device_of(const std::string& path) {
    struct stat status {};
    if (stat(path.c_str(), &status) != 0) die("stat %s", path.c_str());
    return status.st_rdev;
}

// "first+sectors,first+sectors,...", as `intent extents` prints them.
std::vector<towline_extent> parse_extents(const std::string& text) {
    std::vector<towline_extent> extents;
    for (size_t at = 0; at < text.size();) {
        const size_t plus = text.find('+', at);
        const size_t end = std::min(text.find(',', at), text.size());
        extents.push_back({strtoull(text.c_str() + at, nullptr, 10),
                           strtoull(text.c_str() + plus + 1, nullptr, 10)});
        at = end + 1;
    }
    return extents;
}

// intent attach DEVICE LOG [create] [no_gap] [block=] [region=] [identity=] [witness=] [extents=
// [witness_sector=]]: prints "uuid= trust= reasons=". LOG and witness are files, block devices, or
// the devices that the extents are on.
void attach(const Module& module, const Words& words) {
    const dev_t device = device_of(words.at(0));
    const auto extents = parse_extents(option(words, "extents", ""));
    const std::string identity = option(words, "identity", "");
    towline_attach request{};
    request.major = major(device);
    request.minor = minor(device);
    request.block_size = static_cast<uint32_t>(number(option(words, "block", "0")));
    request.log_flags = TOWLINE_LOG_USE | (has(words, "create") ? TOWLINE_LOG_CREATE : 0) |
                        (has(words, "no_gap") ? TOWLINE_LOG_NO_GAP : 0);
    request.region_size = static_cast<uint32_t>(number(option(words, "region", "0")));
    memcpy(request.identity, identity.data(), std::min(identity.size(), sizeof(request.identity)));
    const std::string witness = option(words, "witness", "");
    if (!witness.empty()) request.log_flags |= TOWLINE_LOG_WITNESS;
    if (extents.empty()) {
        request.log_fd = open_or_die(words.at(1), O_RDONLY);
        if (!witness.empty()) request.witness_fd = open_or_die(witness, O_RDONLY);
    } else {
        const dev_t place = device_of(words.at(1));
        request.log_extents = reinterpret_cast<uintptr_t>(extents.data());
        request.log_extent_count = static_cast<uint32_t>(extents.size());
        request.log_major = major(place);
        request.log_minor = minor(place);
        if (!witness.empty()) {
            request.witness_major = major(device_of(witness));
            request.witness_minor = minor(device_of(witness));
            request.witness_sector = number(option(words, "witness_sector", "0"));
        }
    }
    module.call("attach", TOWLINE_IOC_ATTACH, request);
    printf("uuid=%s trust=%u reasons=%u\n", print_uuid(request.uuid).c_str(), request.trust,
           request.reasons);
}

void print_extents(const std::vector<towline_extent>& extents) {
    const char* between = "";
    for (const towline_extent& extent : extents) {
        printf("%s%llu+%llu", between, static_cast<unsigned long long>(extent.first_sector),
               static_cast<unsigned long long>(extent.sectors));
        between = ",";
    }
    printf("\n");
}

// intent status UUID: "name=number" a line; the log's own ranges on the device last.
void status(const Module& module, const Words& words) {
    std::vector<towline_extent> ranges(TOWLINE_EXTENTS_MAX);
    towline_log_status told{};
    told.uuid = parse_uuid(words.at(0));
    told.ranges = reinterpret_cast<uintptr_t>(ranges.data());
    told.capacity = static_cast<uint32_t>(ranges.size());
    module.call("log status", TOWLINE_IOC_LOG_STATUS, told);
    printf("error=%d\nregions=%llu\nregions_hot=%llu\nblocks_written=%llu\nregion_size=%u\n",
           told.error, static_cast<unsigned long long>(told.regions),
           static_cast<unsigned long long>(told.regions_hot),
           static_cast<unsigned long long>(told.blocks_written), told.region_size);
    ranges.resize(told.count);
    printf("ranges=");
    print_extents(ranges);
}

// intent extents FILE
void extents(const Module& module, const Words& words) {
    std::vector<towline_extent> found(TOWLINE_EXTENTS_MAX);
    towline_extents request{};
    request.fd = open_or_die(words.at(0), O_RDONLY);
    request.extents = reinterpret_cast<uintptr_t>(found.data());
    request.capacity = static_cast<uint32_t>(found.size());
    module.call("extents", TOWLINE_IOC_EXTENTS, request);
    found.resize(request.count);
    print_extents(found);
}

void set_immutable(const std::string& path, bool immutable) {
    const int fd = open_or_die(path, O_RDONLY);
    int flags = 0;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0) die("FS_IOC_GETFLAGS");
    flags = immutable ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
    if (ioctl(fd, FS_IOC_SETFLAGS, &flags) != 0) die("FS_IOC_SETFLAGS");
    close(fd);
}

// intent make FILE DEVICE [block=] [region=]: a file that an intent log of the device fits in.
void make(const Module&, const Words& words) {
    const int device = open_or_die(words.at(1), O_RDONLY);
    const uint64_t size = towline_log_bytes(
        size_of(device), static_cast<uint32_t>(number(option(words, "block", "4K"))),
        static_cast<uint32_t>(number(option(words, "region", "64M"))));
    const int fd = open_or_die(words.at(0), O_WRONLY | O_CREAT | O_TRUNC);
    const std::string zeros(4096, '\0');
    for (uint64_t at = 0; at < size; at += zeros.size())
        if (write(fd, zeros.data(), zeros.size()) != static_cast<ssize_t>(zeros.size()))
            die("%s", words[0].c_str());
    if (fsync(fd) != 0) die("fsync");
    close(fd);
    set_immutable(words[0], true);
}

}  // namespace

int main(int count, char** arguments) {
    const std::string_view verb = count > 1 ? arguments[1] : "";
    const Words words(arguments + (count > 1 ? 2 : 1), arguments + count);
    if (verb == "immutable") return set_immutable(words.at(0), words.at(1) == "on"), 0;
    const Module module;
    if (verb == "attach") return attach(module, words), 0;
    if (verb == "status") return status(module, words), 0;
    if (verb == "extents") return extents(module, words), 0;
    if (verb == "make") return make(module, words), 0;
    fprintf(stderr, "intent attach|status|extents|make|immutable ...\n");
    return 1;
}
