// SPDX-License-Identifier: Apache-2.0
// The pages are the secret's alone, so that locking and advice reach nothing else. A host that
// refuses the lock (RLIMIT_MEMLOCK) costs the protection from swap, and nothing more.

#include "userspace/vault/secret.hpp"

#include <algorithm>
#include <cstring>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <utility>

#include "io/align.hpp"
#include "io/check.hpp"

namespace towline {

Secret::Secret(std::size_t bytes) : size_(bytes) {
    if (bytes == 0) return;
    mapped_ = align_up<std::size_t>(bytes, static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
    void* memory =
        ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    memory_ = static_cast<std::byte*>(memory);
    (void)::mlock(memory_, mapped_);
    (void)::madvise(memory_, mapped_, MADV_DONTDUMP);
}

Secret Secret::copy_of(ByteSpan bytes) {
    Secret secret(bytes.size());
    std::ranges::copy(bytes, secret.bytes().begin());
    return secret;
}

Secret::~Secret() {
    if (memory_ == nullptr) return;
    ::explicit_bzero(memory_, mapped_);
    ::munmap(memory_, mapped_);
}

Secret::Secret(Secret&& other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      mapped_(std::exchange(other.mapped_, 0)) {}

Secret& Secret::operator=(Secret&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(size_, other.size_);
    std::swap(mapped_, other.mapped_);
    return *this;
}

void Secret::shorten(std::size_t bytes) {
    CHECK(bytes <= size_);
    if (bytes < size_) ::explicit_bzero(memory_ + bytes, size_ - bytes);
    size_ = bytes;
}

void keep_memory_private() {
    (void)::prctl(PR_SET_DUMPABLE, 0);
}

}  // namespace towline
