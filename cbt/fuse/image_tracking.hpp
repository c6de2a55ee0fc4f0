// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>

#include "cbt/tracked_image.hpp"

namespace towline {

struct TrackingOptions {
    std::filesystem::path image;
    std::filesystem::path state_folder;  // the log is beneath it, in a folder for this image
    std::uint32_t block_bytes = 0;       // 0: by size; what the log has comes first
    std::uint32_t region_bytes = 64U << 20;
};

// An image that is open, ours alone, and tracked: all that must be closed in order.
class ImageTracking {
  public:
    // kBusy when another daemon has it, kRefused when another program has it open. The record of a
    // running tracking is durable when it returns.
    static Result<std::unique_ptr<ImageTracking>> open(const TrackingOptions& options);
    ImageTracking(const ImageTracking&) = delete;
    ImageTracking& operator=(const ImageTracking&) = delete;

    TrackedImage& image() { return *image_; }
    int image_fd() const { return backend_->volume().fd(); }
    // How what was kept could be believed.
    Resume resume() const { return resume_; }
    bool sealed() const { return log_->can_seal(); }
    void say_alive() { log_->say_alive(); }

    // Nobody uses the image any more: saves the maps, so that the next open goes on exactly here.
    Status close();

  private:
    ImageTracking() = default;

    std::unique_ptr<FileImage> backend_;
    std::unique_ptr<FileIntentLog> log_;
    std::unique_ptr<TrackedImage> image_;
    Resume resume_ = Resume::kFirst;
};

}  // namespace towline
