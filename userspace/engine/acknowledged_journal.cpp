// SPDX-License-Identifier: Apache-2.0
// Entry: magic, count, CRC-32C of the pairs; then pairs of offset and length
// (docs/format-state.md).

#include "userspace/engine/acknowledged_journal.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include "io/bytes.hpp"
#include "io/checksum.hpp"

namespace towline {

namespace {

constexpr std::uint32_t kMagic = 0x4b434154;  // "TACK"
constexpr std::size_t kEntryHeaderBytes = 12;
constexpr std::size_t kPairBytes = 16;
constexpr std::size_t kPairsMax = 1 << 20;

Status write_all(int fd, ByteSpan bytes, off_t at) {
    while (!bytes.empty()) {
        const ssize_t written = ::pwrite(fd, bytes.data(), bytes.size(), at);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return fail_errno("cannot write the journal of acknowledged ranges");
        at += written;
        bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return {};
}

Result<std::vector<std::byte>> read_all(int fd) {
    struct stat status {};
    if (::fstat(fd, &status) < 0)
        return fail_errno("cannot look at the journal of acknowledged ranges");
    std::vector<std::byte> bytes(static_cast<std::size_t>(status.st_size));
    std::size_t have = 0;
    while (have < bytes.size()) {
        const ssize_t got =
            ::pread(fd, bytes.data() + have, bytes.size() - have, static_cast<off_t>(have));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_errno("cannot read the journal of acknowledged ranges");
        if (got == 0) break;
        have += static_cast<std::size_t>(got);
    }
    bytes.resize(have);
    return bytes;
}

// The extents of the entries that are whole, and how many bytes those entries take.
std::size_t parse(ByteSpan bytes, std::vector<Extent>& extents) {
    std::size_t at = 0;
    while (bytes.size() - at >= kEntryHeaderBytes) {
        ByteReader header(bytes.subspan(at, kEntryHeaderBytes));
        const auto magic = header.get<std::uint32_t>();
        const auto count = header.get<std::uint32_t>();
        const auto crc = header.get<std::uint32_t>();
        if (magic != kMagic || count > kPairsMax) break;
        const std::size_t pairs_bytes = count * kPairBytes;
        if (bytes.size() - at - kEntryHeaderBytes < pairs_bytes) break;
        const ByteSpan pairs = bytes.subspan(at + kEntryHeaderBytes, pairs_bytes);
        if (crc32c(pairs) != crc) break;
        ByteReader reader(pairs);
        for (std::uint32_t i = 0; i < count; ++i) {
            const auto offset = reader.get<std::uint64_t>();
            extents.push_back({offset, reader.get<std::uint64_t>()});
        }
        at += kEntryHeaderBytes + pairs_bytes;
    }
    return at;
}

}  // namespace

Result<AcknowledgedJournal> AcknowledgedJournal::open(const std::filesystem::path& path) {
    AcknowledgedJournal journal;
    journal.fd_ = Fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!journal.fd_) return fail_errno("cannot open " + path.string());
    const auto bytes = TRY(read_all(journal.fd_.get()));
    std::vector<Extent> extents;
    journal.end_bytes_ = parse(bytes, extents);
    return journal;
}

Status AcknowledgedJournal::append(std::span<const Extent> extents) {
    while (!extents.empty()) {
        const auto some = extents.first(std::min(extents.size(), kPairsMax));
        extents = extents.subspan(some.size());
        ByteWriter pairs;
        for (const Extent& extent : some)
            pairs.put(extent.offset_bytes).put(extent.length_bytes);
        ByteWriter entry;
        entry.put(kMagic).put(static_cast<std::uint32_t>(some.size())).put(crc32c(pairs.bytes()));
        entry.put_bytes(pairs.bytes());
        TRY_STATUS(write_all(fd_.get(), entry.bytes(), static_cast<off_t>(end_bytes_)));
        end_bytes_ += entry.bytes().size();
    }
    if (::fdatasync(fd_.get()) < 0)
        return fail_errno("cannot sync the journal of acknowledged ranges");
    return {};
}

Result<std::vector<Extent>> AcknowledgedJournal::load() const {
    const auto bytes = TRY(read_all(fd_.get()));
    std::vector<Extent> extents;
    parse(bytes, extents);
    return normalized(std::move(extents));
}

Status AcknowledgedJournal::clear() {
    // An empty one costs nothing: that is what most runs find and leave.
    struct stat status {};
    if (::fstat(fd_.get(), &status) == 0 && status.st_size == 0) return {};
    if (::ftruncate(fd_.get(), 0) < 0 || ::fsync(fd_.get()) < 0) {
        return fail_errno("cannot clear the journal of acknowledged ranges");
    }
    end_bytes_ = 0;
    return {};
}

}  // namespace towline
