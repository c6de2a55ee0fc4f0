// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <ctime>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "userspace/vault/overlay.hpp"

namespace towline {

// What a point shows while it is held: a file for each volume, as long as the volume. Safe to use
// from several threads once it is open.
class PointFolder {
  public:
    struct File {
        std::string name;
        std::unique_ptr<VolumeCache> volume;
        std::unique_ptr<Overlay> overlay = nullptr;  // null: nobody writes
        std::uint64_t data_bytes_max = 0;            // what is no hole, at most
    };

    // `only`: the name of the one that is shown; empty: all are.
    static Result<std::unique_ptr<PointFolder>> open(const OpenPoint& point,
                                                     VolumeCache::Options options,
                                                     const std::string& only = {});

    // From now on the files are written to as well; what is written lies in `scratch`.
    Status overlay(const std::filesystem::path& scratch);

    std::vector<File>& files() { return files_; }
    std::time_t created_at() const { return created_at_; }
    void set_log(std::function<void(const std::string&)> log) { log_ = std::move(log); }
    // The errno for whoever reads; the cause goes to the log, a bounded number of times
    // a minute.
    int told(const Error& error);

  private:
    PointFolder() = default;
    static constexpr unsigned kToldMax = 200;

    std::vector<File> files_;
    std::time_t created_at_ = 0;
    std::function<void(const std::string&)> log_ = [](const std::string&) {};
    std::atomic<std::int64_t> minute_{0};
    std::atomic<unsigned> told_{0};  // in this minute
};

}  // namespace towline
