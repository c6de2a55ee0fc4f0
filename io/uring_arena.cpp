// SPDX-License-Identifier: Apache-2.0
// A piece is a huge page. When the kernel refuses one it is not asked again: what is registered
// goes on being used, the rest is plain memory.

#include "io/uring_arena.hpp"

#include <algorithm>
#include <sys/resource.h>
#include <system_error>

#include "io/align.hpp"
#include "io/check.hpp"

namespace towline {

namespace {

constexpr std::size_t kPieceBytes = std::size_t{2} << 20;

std::string refusal(std::size_t bytes, int error) {
    if (error != ENOMEM && error != EPERM)
        return std::string("registered buffers refused (") +
               std::generic_category().message(error) + ")";
    rlimit limit{};
    ::getrlimit(RLIMIT_MEMLOCK, &limit);
    return "registered buffers refused: " + std::to_string(bytes >> 20) +
           " MiB of locked memory wanted, memlock limit " + std::to_string(limit.rlim_cur >> 20) +
           " MiB; transfers cost more CPU (raise LimitMEMLOCK or grant CAP_IPC_LOCK)";
}

}  // namespace

void UringArena::cover(MutableByteSpan memory) {
    CHECK(memory_.empty());
    memory_ = memory;
    registered_.resize(align_up(memory.size(), kPieceBytes) / kPieceBytes);
    const int result =
        io_uring_register_buffers_sparse(&ring_, static_cast<unsigned>(registered_.size()));
    if (result < 0) give_up(-result);
}

void UringArena::give_up(int error) {
    note_ = refusal(memory_.size(), error);
}

std::optional<unsigned> UringArena::index_of(ByteSpan bytes) {
    if (bytes.empty() || bytes.data() < memory_.data() ||
        bytes.data() + bytes.size() > memory_.data() + memory_.size())
        return std::nullopt;
    const auto at = static_cast<std::size_t>(bytes.data() - memory_.data());
    const std::size_t piece = at / kPieceBytes;
    if ((at + bytes.size() - 1) / kPieceBytes != piece) return std::nullopt;
    if (!registered_[piece]) {
        if (!note_.empty()) return std::nullopt;
        const std::size_t begin = piece * kPieceBytes;
        const iovec whole{memory_.data() + begin, std::min(kPieceBytes, memory_.size() - begin)};
        const __u64 no_tag = 0;
        const int result = io_uring_register_buffers_update_tag(
            &ring_, static_cast<unsigned>(piece), &whole, &no_tag, 1);
        if (result < 0) give_up(-result);
        if (result != 1) return std::nullopt;
        registered_[piece] = true;
    }
    return static_cast<unsigned>(piece);
}

}  // namespace towline
