// SPDX-License-Identifier: Apache-2.0
// A file that comes out of a vault has its name when it is whole and durable, and not before: what
// has the name can be used.

#include "userspace/vault/point_export.hpp"

#include <algorithm>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "userspace/vault/point_source.hpp"
#include "userspace/vault/qcow2_writer.hpp"

namespace towline {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kPieceBytes = std::uint64_t{4} << 20;

fs::path folder_of(const fs::path& file) {
    return file.has_parent_path() ? file.parent_path() : fs::path(".");
}

Status copy_data(VolumeReader& volume, Qcow2Writer& writer, const ExportOptions& options) {
    const Instant began = monotonic_now();
    std::vector<std::byte> piece;
    const std::uint64_t end = volume.size_bytes();
    for (std::uint64_t at = 0; at < end;) {
        if (options.cancelled())
            return fail(Code::kCancelled, "the export was interrupted; begin it again");
        options.on_progress({.stage = "export",
                             .done_bytes = at,
                             .total_bytes = end,
                             .sent_bytes = writer.file_bytes(),
                             .elapsed = monotonic_now() - began});
        const std::uint64_t block = TRY(volume.next_data(at / volume.block_bytes()));
        // Clusters begin where they begin, whatever the blocks are.
        const std::uint64_t data =
            block * volume.block_bytes() / Qcow2Writer::kClusterBytes * Qcow2Writer::kClusterBytes;
        at = std::max(at, data);
        if (at >= end || block == volume.block_count()) break;
        piece.resize(std::min(kPieceBytes, end - at));
        TRY_STATUS(volume.read(at, piece));
        TRY_STATUS(writer.write(at, piece));
        at += piece.size();
    }
    return writer.finish();
}

}  // namespace

Status refuse_existing(const fs::path& file) {
    struct stat status {};
    if (::lstat(file.c_str(), &status) != 0) {
        if (errno == ENOENT) return {};
        return fail_errno("looking at " + file.string());
    }
    return fail(Code::kRefused,
                file.string() + " is there already; remove it, or name another file");
}

fs::path partial_name(const fs::path& file) {
    return file.string() + ".part";
}

Status publish(const fs::path& file) {
    if (::renameat2(AT_FDCWD, partial_name(file).c_str(), AT_FDCWD, file.c_str(),
                    RENAME_NOREPLACE) != 0) {
        if (errno == EEXIST) return refuse_existing(file);
        return fail_errno("giving " + file.string() + " its name");
    }
    const Fd folder(::open(folder_of(file).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder || ::fsync(folder.get()) != 0) return fail_errno("flushing the name of the file");
    return {};
}

Result<ExportReport> export_qcow2(const ExportOptions& options) {
    TRY_STATUS(refuse_existing(options.file));
    TRY_STATUS(refuse_in_vault(options.point.folder, options.file));
    const OpenPoint point = TRY(OpenPoint::open(options.point, options.keys));
    const std::size_t place = TRY(find_volume(point.point(), options.volume));
    const auto volume = TRY(point.volume(place));
    const fs::path partial = partial_name(options.file);
    const Fd file(
        ::open(partial.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file) return fail_errno("creating " + partial.string());
    Qcow2Writer writer(file.get(), volume->size_bytes());
    const Status copied = copy_data(*volume, writer, options);
    if (!copied) {
        ::unlink(partial.c_str());
        return std::unexpected(copied.error());
    }
    TRY_STATUS(publish(options.file));
    return ExportReport{.point = point.point().id.text(),
                        .volume_bytes = volume->size_bytes(),
                        .file_bytes = writer.file_bytes()};
}

}  // namespace towline
