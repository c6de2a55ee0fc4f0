// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "cbt/extent.hpp"
#include "io/bytes.hpp"
#include "io/result.hpp"
#include "io/volume.hpp"

namespace towline {

// How bytes are made to read as zeros.
enum class Zeroing {
    kPunch,  // the space is given back
    kKeep,   // and kept allocated, where the filesystem can
};

// The bytes below a tracked image. Any thread may call; two writes that share an alignment_bytes()
// unit never run at once if one of them does not cover it whole (TrackedImage sees to that).
class ImageBackend {
  public:
    virtual ~ImageBackend() = default;
    virtual std::uint64_t size_bytes() const = 0;
    virtual std::uint32_t alignment_bytes() const = 0;
    // `scratch` begins at a page and is longer than the range by two alignment_bytes(). The answer
    // is the part of it that holds the range, shorter where the image ends.
    virtual Result<ByteSpan> read(Extent range, MutableByteSpan scratch) = 0;
    virtual Status write(std::uint64_t offset_bytes, ByteSpan from) = 0;
    virtual Status zero(Extent range, Zeroing how) = 0;
    // Space without a change of contents or size.
    virtual Status allocate(Extent range) = 0;
    virtual Status resize(std::uint64_t size_bytes) = 0;
    virtual Status flush() = 0;
};

class FileImage : public ImageBackend {
  public:
    explicit FileImage(Volume volume) : volume_(std::move(volume)) {}

    const Volume& volume() const { return volume_; }
    std::uint64_t size_bytes() const override { return volume_.size_bytes(); }
    std::uint32_t alignment_bytes() const override { return volume_.alignment_bytes(); }
    Result<ByteSpan> read(Extent range, MutableByteSpan scratch) override;
    Status write(std::uint64_t offset_bytes, ByteSpan from) override;
    Status zero(Extent range, Zeroing how) override;
    Status allocate(Extent range) override;
    Status resize(std::uint64_t size_bytes) override;
    Status flush() override;

  private:
    Volume volume_;
};

}  // namespace towline
