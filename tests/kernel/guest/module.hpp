// SPDX-License-Identifier: Apache-2.0
// The module as the guest's programs speak to it. What it refuses ends the program.
#pragma once

#include <sys/mman.h>
#include <vector>

#include "common.hpp"
#include "kmod/uapi/towline.h"

class Map {
  public:
    Map(int fd, uint64_t bytes) : bytes_(bytes) {
        data_ = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
        if (data_ == MAP_FAILED) die("mmap of a map");
    }
    Map(const Map&) = delete;
    Map& operator=(const Map&) = delete;
    ~Map() { munmap(data_, bytes_); }

    const uint8_t* data() const { return static_cast<const uint8_t*>(data_); }
    bool marked(uint64_t block) const { return (data()[block / 8] >> (block % 8) & 1) != 0; }

  private:
    void* data_;
    uint64_t bytes_;
};

class Module {
  public:
    Module() : fd_(open_or_die(TOWLINE_CONTROL_PATH, O_RDWR | O_NONBLOCK)) {}

    int fd() const { return fd_; }

    template <typename Request>
    int try_call(unsigned long code, Request& request) const {
        return ioctl(fd_, code, &request);
    }
    template <typename Request>
    void call(const char* name, unsigned long code, Request& request) const {
        request.size = sizeof(request);
        if (try_call(code, request) != 0) die("%s", name);
    }

    // With `snapshots` one is taken of each; they say how large its store is.
    std::vector<towline_epoch> freeze(const std::vector<towline_uuid>& uuids, bool drain,
                                      uint32_t timeout_ms, uint32_t* held_us = nullptr,
                                      std::vector<towline_snapshot>* snapshots = nullptr) const {
        std::vector<towline_epoch> epochs(uuids.size());
        for (size_t at = 0; at < uuids.size(); ++at)
            epochs[at].uuid = uuids[at];
        towline_freeze request{};
        request.flags = drain ? TOWLINE_FREEZE_DRAIN : 0;
        request.epochs = reinterpret_cast<uintptr_t>(epochs.data());
        request.count = static_cast<uint32_t>(epochs.size());
        request.epoch_size = sizeof(towline_epoch);
        request.timeout_ms = timeout_ms;
        if (snapshots != nullptr) {
            request.flags |= TOWLINE_FREEZE_SNAPSHOT;
            request.snapshots = reinterpret_cast<uintptr_t>(snapshots->data());
            request.snapshot_size = sizeof(towline_snapshot);
        }
        call("freeze", TOWLINE_IOC_FREEZE, request);
        if (held_us != nullptr) *held_us = request.held_us;
        return epochs;
    }

    void delete_snapshot(const towline_uuid& uuid) const {
        towline_snapshot_delete request{};
        request.uuid = uuid;
        call("delete of a snapshot", TOWLINE_IOC_SNAPSHOT_DELETE, request);
    }

    Map map(const towline_uuid& uuid, uint64_t sequence) const {
        towline_map request{};
        request.uuid = uuid;
        request.sequence = sequence;
        call("map", TOWLINE_IOC_MAP, request);
        const int fd = request.fd;
        struct Closer {
            int fd;
            ~Closer() { close(fd); }
        } closer{fd};
        return Map(fd, request.bytes);
    }

    void settle(unsigned long code, const towline_uuid& uuid, uint64_t sequence,
                const std::vector<uint8_t>& pending = {}) const {
        towline_settle request{};
        request.uuid = uuid;
        request.sequence = sequence;
        if (!pending.empty()) request.pending = reinterpret_cast<uintptr_t>(pending.data());
        request.pending_bytes = pending.size();
        call(code == TOWLINE_IOC_COMMIT ? "commit" : "give_back", code, request);
    }

  private:
    int fd_;
};

inline towline_uuid parse_uuid(const std::string& text) {
    towline_uuid uuid{};
    errno = EINVAL;
    if (text.size() != 32) die("not a uuid: %s", text.c_str());
    for (size_t at = 0; at < 16; ++at)
        uuid.bytes[at] = static_cast<uint8_t>(strtoul(text.substr(at * 2, 2).c_str(), nullptr, 16));
    return uuid;
}

inline std::string print_uuid(const towline_uuid& uuid) {
    std::string text;
    char two[3];
    for (const uint8_t byte : uuid.bytes) {
        snprintf(two, sizeof(two), "%02x", byte);
        text += two;
    }
    return text;
}
