// SPDX-License-Identifier: Apache-2.0
// A store for a snapshot, as the tests name it: "BYTES" of memory, or "PATH", a file or device that
// is formatted here, each with ",PERCENT" and ",SECONDS" of when an event is wanted.
#pragma once

#include <algorithm>
#include <endian.h>

#include "module.hpp"

class Store {
  public:
    explicit Store(const std::string& text) {
        const size_t percent = text.find(','), seconds = text.rfind(',');
        const std::string what = text.substr(0, percent);
        if (percent != std::string::npos)
            percent_ = number(text.substr(
                percent + 1, seconds == percent ? std::string::npos : seconds - percent - 1));
        if (seconds != percent) seconds_ = number(text.substr(seconds + 1));
        if (what[0] == '/')
            fd_ = open_or_die(what, O_RDWR | O_DIRECT);
        else
            bytes_ = number(what);
        if (getentropy(id_.bytes, sizeof(id_.bytes)) != 0) die("getentropy");
        if (fd_ >= 0) format(0);
    }
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;
    ~Store() {
        if (fd_ >= 0) close(fd_);
    }

    // All blocks from one on say what they are.
    void format(uint64_t first) const {
        const uint64_t blocks = size_of(fd_) / TOWLINE_STORE_BLOCK,
                       at_once = kMiB / TOWLINE_STORE_BLOCK;
        auto* memory = static_cast<uint8_t*>(aligned_memory(kMiB));
        memset(memory, 0, kMiB);
        for (uint64_t block = first; block < blocks; block += at_once) {
            const uint64_t count = std::min(at_once, blocks - block);
            for (uint64_t at = 0; at < count; ++at) {
                towline_store_block says{};
                memcpy(says.magic, TOWLINE_STORE_MAGIC, sizeof(says.magic));
                says.store = id_;
                says.number = htole64(block + at);
                memcpy(memory + at * TOWLINE_STORE_BLOCK, &says, sizeof(says));
            }
            const uint64_t size = count * TOWLINE_STORE_BLOCK;
            if (pwrite(fd_, memory, size, static_cast<off_t>(block * TOWLINE_STORE_BLOCK)) !=
                static_cast<ssize_t>(size))
                die("format of a store");
        }
        if (fsync(fd_) != 0) die("fsync of a store");
        free(memory);
    }

    void ask(towline_snapshot& snapshot) const {
        snapshot.store_bytes = bytes_;
        snapshot.store_flags = fd_ >= 0 ? TOWLINE_STORE_FILE : 0;
        snapshot.store_fd = fd_;
        snapshot.store_id = id_;
        snapshot.notify_percent = static_cast<uint32_t>(percent_);
        snapshot.notify_seconds = static_cast<uint32_t>(seconds_);
    }

    void grow(const Module& module, const towline_uuid& uuid) const {
        towline_snapshot_grow request{};
        request.uuid = uuid;
        request.store_flags = fd_ >= 0 ? TOWLINE_STORE_FILE : 0;
        request.store_bytes = bytes_;
        request.store_fd = fd_;
        request.store_id = id_;
        module.call("grow", TOWLINE_IOC_SNAPSHOT_GROW, request);
    }

  private:
    int fd_ = -1;
    uint64_t bytes_ = 0, percent_ = 0, seconds_ = 0;
    towline_uuid id_{};
};
