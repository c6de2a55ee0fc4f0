// SPDX-License-Identifier: Apache-2.0
// One anonymous mapping an arena, larger by a huge page so that it can begin on one.

#include "io/arena.hpp"

#include <algorithm>
#include <new>
#include <sys/mman.h>

#include "io/align.hpp"

namespace towline {

namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

}  // namespace

Arena::Arena(std::size_t bytes) : mapping_bytes_(bytes + kHugePageBytes) {
    mapping_ =
        ::mmap(nullptr, mapping_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping_ == MAP_FAILED) throw std::bad_alloc();
    const auto address = reinterpret_cast<std::uintptr_t>(mapping_);
    bytes_ = {static_cast<std::byte*>(mapping_) + (align_up(address, kHugePageBytes) - address),
              bytes};
    // Registering pins every page: with huge ones that is a handful instead of thousands. A wish
    // only.
    static_cast<void>(::madvise(bytes_.data(), bytes, MADV_HUGEPAGE));
}

Arena& Arena::operator=(Arena&& other) noexcept {
    if (this == &other) return *this;
    release();
    mapping_ = std::exchange(other.mapping_, nullptr);
    mapping_bytes_ = std::exchange(other.mapping_bytes_, 0);
    bytes_ = std::exchange(other.bytes_, {});
    return *this;
}

void Arena::release() {
    if (mapping_ != nullptr) ::munmap(mapping_, mapping_bytes_);
}

Arena ArenaShelf::take(std::size_t bytes) {
    {
        const std::lock_guard lock(mutex_);
        const auto fits = [&](const Arena& each) { return each.bytes().size() == bytes; };
        const auto found = std::find_if(kept_.rbegin(), kept_.rend(), fits);
        if (found != kept_.rend()) {
            Arena arena = std::move(*found);
            kept_.erase(std::next(found).base());
            return arena;
        }
    }
    return Arena(bytes);
}

void ArenaShelf::put(Arena arena) {
    const std::lock_guard lock(mutex_);
    kept_.push_back(std::move(arena));
    // The longest unused goes: it may be of a size that nobody asks for any more.
    if (kept_.size() > kept_max_) kept_.erase(kept_.begin());
}

}  // namespace towline
