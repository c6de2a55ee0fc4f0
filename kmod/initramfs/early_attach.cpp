// SPDX-License-Identifier: GPL-2.0-only
// towline-early-attach: attaches volumes to the kernel module before any filesystem is mounted.
//
// Until the root volume is attached nobody tracks what is written to it, and replaying its journal
// already is a write. So this runs in the initramfs. There the intent log cannot be opened as a
// file: the orders in /etc/towline/early/ say where on its device it lies. They are made while the
// system runs (--describe), and are good for as long as the log stays where it is; should it not,
// the module finds that what is there is not the log, and touches nothing.
//
// An order that fails costs a rescan and never the boot: it is told, and the next one is taken.
// Stands on nothing but libc, as it is copied into the initramfs.
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <map>
#include <string>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <system_error>
#include <unistd.h>
#include <vector>

#include "kmod/uapi/towline.h"

namespace {

using Order = std::map<std::string, std::string>;

constexpr const char* kKeys[] = {"device", "log",     "extents",       "identity",
                                 "no_gap", "witness", "witness_sector"};

class Fd {
  public:
    Fd(const std::string& path, int flags) : fd_(open(path.c_str(), flags | O_CLOEXEC)) {}
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    ~Fd() {
        if (fd_ >= 0) close(fd_);
    }
    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }

  private:
    int fd_;
};

std::string told_by(int error) {
    return std::generic_category().message(error);
}

bool complain(const std::string& what, const std::string& why) {
    fprintf(stderr, "towline-early-attach: %s: %s\n", what.c_str(), why.c_str());
    return false;
}

// What an error of the module means here, and what to do.
std::string remedy(int error) {
    switch (error) {
        case EBADMSG:
            return "there is no intent log where the order says; make a new one";
        case EXDEV:
            return "the intent log is of another volume; make one for this";
        case ENODEV:
        case ENXIO:
            return "no such device, or no module towline";
        case EPERM:
            return "the log's file is not immutable (chattr +i), or this is not root";
        case EOPNOTSUPP:
            return "it has to be a file of ext4 or xfs that is written in full";
        default:
            return told_by(error);
    }
}

// Lines of key=value; '#' begins a comment.
bool read_order(const std::string& path, Order& order) {
    std::ifstream file(path);
    if (!file) return complain(path, told_by(errno));
    for (std::string line; std::getline(file, line);) {
        if (line.empty() || line[0] == '#') continue;
        const size_t equals = line.find('=');
        const std::string key = line.substr(0, equals);
        bool known = false;
        for (const char* each : kKeys)
            known = known || key == each;
        if (equals == std::string::npos || !known) return complain(path, "not understood: " + line);
        order[key] = line.substr(equals + 1);
    }
    for (const char* needed : {"device", "log"})
        if (order[needed].empty()) return complain(path, std::string("it has no ") + needed + "=");
    return true;
}

// "first+sectors,first+sectors,...", in units of 512 bytes.
bool read_extents(const std::string& text, std::vector<towline_extent>& extents) {
    const char *at = text.data(), *end = at + text.size();
    while (at != end) {
        towline_extent extent{};
        const auto first = std::from_chars(at, end, extent.first_sector);
        if (first.ec != std::errc() || first.ptr == end || *first.ptr != '+') return false;
        const auto sectors = std::from_chars(first.ptr + 1, end, extent.sectors);
        if (sectors.ec != std::errc()) return false;
        extents.push_back(extent);
        at = sectors.ptr;
        if (at != end && *at++ != ',') return false;
    }
    return true;
}

bool block_device(const std::string& path, dev_t& device) {
    struct stat status {};
    if (stat(path.c_str(), &status) != 0) return complain(path, told_by(errno));
    if (!S_ISBLK(status.st_mode)) return complain(path, "it is no block device");
    device = status.st_rdev;
    return true;
}

const char* trust_name(uint32_t trust) {
    return trust == TOWLINE_TRUST_EXACT      ? "exact"
           : trust == TOWLINE_TRUST_SUPERSET ? "superset"
                                             : "unknown";
}

bool attach(const Fd& control, const std::string& path) {
    Order order;
    std::vector<towline_extent> extents;
    dev_t device = 0, place = 0;
    if (!read_order(path, order) || !block_device(order["device"], device) ||
        !block_device(order["log"], place))
        return false;
    if (!read_extents(order["extents"], extents))
        return complain(path, "extents= is not understood");
    if (order["identity"].size() > sizeof(towline_attach::identity))
        return complain(path, "identity= is longer than 64 bytes");

    const Fd log(order["log"], O_RDONLY), witness(order["witness"], O_RDONLY);
    dev_t witness_place = 0;
    if (!order["witness"].empty() && !block_device(order["witness"], witness_place)) return false;
    towline_attach request{};
    request.size = sizeof(request);
    request.major = major(device);
    request.minor = minor(device);
    request.log_flags = TOWLINE_LOG_USE | (order["no_gap"] == "1" ? TOWLINE_LOG_NO_GAP : 0U);
    memcpy(request.identity, order["identity"].data(), order["identity"].size());
    if (witness_place != 0) request.log_flags |= TOWLINE_LOG_WITNESS;
    if (extents.empty()) {
        request.log_fd = log.get();
        if (witness_place != 0) request.witness_fd = witness.get();
    } else {
        request.log_extents = reinterpret_cast<uintptr_t>(extents.data());
        request.log_extent_count = static_cast<uint32_t>(extents.size());
        request.log_major = major(place);
        request.log_minor = minor(place);
        request.witness_major = major(witness_place);
        request.witness_minor = minor(witness_place);
        request.witness_sector = strtoull(order["witness_sector"].c_str(), nullptr, 10);
    }
    // The script runs for each filesystem that the initramfs mounts.
    if (ioctl(control.get(), TOWLINE_IOC_ATTACH, &request) != 0)
        return errno == EEXIST || complain(order["device"], "not attached: " + remedy(errno));
    printf("towline: %s is tracked, trust %s\n", order["device"].c_str(),
           trust_name(request.trust));
    return true;
}

// Prints an order for a device whose log is that file, or that block device.
bool describe(const Fd& control, const std::string& device, const std::string& log) {
    const Fd file(log, O_RDONLY);
    struct stat status {};
    if (!file || fstat(file.get(), &status) != 0) return complain(log, told_by(errno));
    if (S_ISBLK(status.st_mode)) {
        printf("device=%s\nlog=%s\n", device.c_str(), log.c_str());
        return true;
    }
    std::vector<towline_extent> extents(TOWLINE_EXTENTS_MAX);
    towline_extents request{};
    request.size = sizeof(request);
    request.fd = file.get();
    request.extents = reinterpret_cast<uintptr_t>(extents.data());
    request.capacity = static_cast<uint32_t>(extents.size());
    if (ioctl(control.get(), TOWLINE_IOC_EXTENTS, &request) != 0)
        return complain(log, remedy(errno));
    // Numbers change from boot to boot; where both are on one device, its name is as good.
    dev_t tracked = 0;
    if (!block_device(device, tracked)) return false;
    const bool same = tracked == makedev(request.major, request.minor);
    printf("device=%s\nlog=%s\nextents=", device.c_str(),
           same ? device.c_str() : "# the device that the file is on, by a lasting name");
    for (uint32_t at = 0; at < request.count; ++at)
        printf("%s%llu+%llu", at == 0 ? "" : ",", extents[at].first_sector, extents[at].sectors);
    printf("\n");
    return true;
}

}  // namespace

int main(int count, char** arguments) {
    const std::vector<std::string> words(arguments + 1, arguments + count);
    if (words.empty() || words[0] == "--help") {
        printf(
            "usage: towline-early-attach ORDER...\n"
            "       towline-early-attach --describe DEVICE LOG\n");
        return words.empty() ? 2 : 0;
    }
    const Fd control(TOWLINE_CONTROL_PATH, O_RDWR);
    if (!control) {
        complain(TOWLINE_CONTROL_PATH, remedy(errno == ENOENT ? ENXIO : errno));
        return 1;
    }
    if (words[0] == "--describe")
        return words.size() == 3 && describe(control, words[1], words[2]) ? 0 : 1;
    bool good = true;
    for (const std::string& order : words)
        good = attach(control, order) && good;
    return good ? 0 : 1;
}
