// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>

#include "cbt/tracking_record.hpp"
#include "io/fd.hpp"

namespace towline {

// Where a tracked image's record is made durable.
class IntentLog {
  public:
    virtual ~IntentLog() = default;
    // Durable when it returns; after a failure the old one or the new one stands. Takes an
    // invalidation back.
    virtual Status store(const TrackingRecord& record) = 0;
    // The record is not to be believed after a crash, though it may stand there still.
    virtual Status invalidate() = 0;
};

// What was kept of an image: a record, and after a clean end its maps.
struct Kept {
    std::optional<TrackingRecord> record;
    bool damaged = false;
    std::optional<std::pair<Epoch, std::optional<Epoch>>> maps;
    std::int64_t alive_ns = 0;
};

// A folder of files for one image, locked while it is used (docs/format-intent-fuse.md).
class FileIntentLog : public IntentLog {
  public:
    // kBusy when another daemon tracks this image. `image` must outlive it: the seal is an extended
    // attribute of it.
    static Result<FileIntentLog> open(const std::filesystem::path& folder, const Volume& image);

    Kept load() const;
    Result<ImageFacts> facts(const Kept& kept) const;

    Status store(const TrackingRecord& record) override;
    Status invalidate() override;
    // Both maps, before the clean record that speaks of them: the digest that goes into it.
    Result<std::uint64_t> save_maps(const Epochs& epochs);
    // A sign of life, not durable by itself.
    void say_alive();

    // Whether the image's filesystem takes a seal; a record says so.
    bool can_seal() const { return can_seal_; }
    Result<std::int64_t> image_modified_ns() const;

  private:
    FileIntentLog(std::filesystem::path folder, const Volume& image, Fd lock)
        : folder_(std::move(folder)), image_(&image), lock_(std::move(lock)) {}

    std::optional<Uuid> seal() const;
    Status put_seal(const Uuid& tracker);

    std::filesystem::path folder_;
    const Volume* image_;
    Fd lock_;
    bool can_seal_ = false;
    std::optional<Uuid> sealed_as_;  // known to be durable
};

}  // namespace towline
