// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "io/bytes.hpp"

namespace towline {

// Bytes that are not to leave this process: in pages of their own, that are kept out of core dumps,
// out of swap as far as the host lets us lock them, and cleansed in the end.
class Secret {
  public:
    Secret() = default;
    explicit Secret(std::size_t bytes);
    static Secret copy_of(ByteSpan bytes);
    ~Secret();
    Secret(Secret&& other) noexcept;
    Secret& operator=(Secret&& other) noexcept;
    Secret(const Secret&) = delete;
    Secret& operator=(const Secret&) = delete;

    ByteSpan bytes() const { return {memory_, size_}; }
    MutableByteSpan bytes() { return {memory_, size_}; }
    bool empty() const { return size_ == 0; }
    // The bytes behind it are cleansed at once.
    void shorten(std::size_t bytes);

  private:
    std::byte* memory_ = nullptr;
    std::size_t size_ = 0;
    std::size_t mapped_ = 0;
};

// From now on this process leaves no core, and another one of its user cannot look into it: what
// the crypto library keeps of a key is covered too.
void keep_memory_private();

}  // namespace towline
