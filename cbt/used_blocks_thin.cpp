// SPDX-License-Identifier: Apache-2.0
// What a thin pool has allocated to a volume, by a metadata snapshot of the pool: the kernel
// commits what it knows and keeps that state apart, thin_dump reads it beside the live pool, and it
// is given up again. A write that was done before is in it, but for what the page cache of the
// device itself still holds; that is written first.
//
// A pool has one metadata snapshot at a time, and it outlives the process that made it, and the
// host. So of our own processes one at a time has one (a lock on the metadata's node), and a note
// says which: it is there before thin_dump begins, and one that stands is taken for ours only where
// pool and root are those of the note. Somebody else's is left alone.

#include "cbt/used_blocks_thin.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "cbt/thin_report.hpp"
#include "io/block_device.hpp"
#include "io/document.hpp"
#include "io/fd.hpp"
#include "io/program.hpp"

namespace towline {
namespace {

constexpr Duration kProgramTime = std::chrono::seconds(30);
constexpr Duration kDumpTime = std::chrono::minutes(1);

std::string mapped_path(dev_t number) {
    return "/dev/mapper/" + read_attribute(block_folder(number) / "dm" / "name");
}

// What a program said, of a device of device-mapper's.
Result<std::string> ask(const std::vector<std::string>& words, Duration limit = kProgramTime) {
    ProgramEnd end = TRY(run_program(words, limit));
    if (end.exit_code != 0) return fail(Code::kIo, words.front() + " failed: " + end.complaint);
    return std::move(end.output);
}

struct Pool {
    std::string path;
    std::string uuid;
    std::string metadata_path;
    ThinPool table;

    static Result<Pool> find(const std::string& number) {
        const auto device = parse_device_number(number);
        if (!device) return fail(Code::kIo, "its pool is not known");
        Pool pool{.path = mapped_path(*device),
                  .uuid = read_attribute(block_folder(*device) / "dm" / "uuid"),
                  .metadata_path = {},
                  .table = {}};
        const auto table = parse_thin_pool(TRY(ask({"dmsetup", "table", pool.path})));
        const auto metadata = table ? parse_device_number(table->metadata) : std::nullopt;
        if (!metadata || pool.uuid.empty()) return fail(Code::kIo, "its pool is not known");
        pool.table = *table;
        pool.metadata_path = mapped_path(*metadata);
        return pool;
    }

    Status tell(const char* message) const {
        const auto said = ask({"dmsetup", "message", path, "0", message});
        return said ? Status() : std::unexpected(said.error());
    }

    // Empty: none stands.
    Result<std::string> metadata_snapshot() const {
        const auto root = parse_metadata_snapshot(TRY(ask({"dmsetup", "status", path})));
        if (!root) return fail(Code::kIo, "its pool " + path + " has failed");
        return *root;
    }
};

// A metadata snapshot of ours, for as long as this lives.
class MetadataSnapshot {
  public:
    static Result<MetadataSnapshot> take(const Pool& pool, std::filesystem::path note) {
        MetadataSnapshot taken(pool, std::move(note));
        taken.lock_ = Fd(::open(pool.metadata_path.c_str(), O_RDONLY | O_CLOEXEC));
        if (!taken.lock_) return fail_errno("cannot open " + pool.metadata_path);
        if (::flock(taken.lock_.get(), LOCK_EX | LOCK_NB) != 0)
            return fail(Code::kBusy, "another run reads its pool's metadata");
        TRY_STATUS(taken.clear_own());
        TRY_STATUS(pool.tell("reserve_metadata_snap"));
        taken.stands_ = true;
        const std::string root = TRY(pool.metadata_snapshot());
        TRY_STATUS(save_document(taken.note_, {{"pool", pool.uuid}, {"root", root}}));
        return taken;
    }
    MetadataSnapshot(MetadataSnapshot&& other) noexcept
        : pool_(other.pool_),
          note_(std::move(other.note_)),
          lock_(std::move(other.lock_)),
          stands_(std::exchange(other.stands_, false)) {}
    MetadataSnapshot(const MetadataSnapshot&) = delete;
    MetadataSnapshot& operator=(const MetadataSnapshot&) = delete;
    MetadataSnapshot& operator=(MetadataSnapshot&&) = delete;
    ~MetadataSnapshot() {
        // Where it can't be given up now, the note is there for the next run.
        if (stands_ && pool_->tell("release_metadata_snap")) forget();
    }

  private:
    MetadataSnapshot(const Pool& pool, std::filesystem::path note)
        : pool_(&pool), note_(std::move(note)) {}

    void forget() {
        std::error_code ignored;
        std::filesystem::remove(note_, ignored);
    }

    // One that stands is ours, and a dead process', or it is none of our business.
    Status clear_own() {
        const std::string root = TRY(pool_->metadata_snapshot());
        const auto noted = TRY(load_document(note_));
        const bool ours = noted && !root.empty() && noted->value("pool", "") == pool_->uuid &&
                          noted->value("root", "") == root;
        if (!root.empty() && !ours)
            return fail(Code::kBusy,
                        "somebody has a snapshot of its pool's metadata; if nobody needs it: "
                        "dmsetup message " +
                            pool_->path + " 0 release_metadata_snap");
        if (ours) TRY_STATUS(pool_->tell("release_metadata_snap"));
        if (noted) forget();
        return {};
    }

    const Pool* pool_;
    std::filesystem::path note_;
    Fd lock_;
    bool stands_ = false;
};

Result<std::vector<Extent>> allocated(const Volume& source, const ThinVolume& volume,
                                      const std::filesystem::path& note) {
    if (volume.has_origin)
        return fail(Code::kRefused, "what was never written to is read from another volume");
    if (volume.bytes != source.size_bytes())
        return fail(Code::kRefused, "its size is not its table's");
    const Pool pool = TRY(Pool::find(volume.pool));
    if (::fsync(source.fd()) != 0) return fail_errno("cannot flush " + source.name());
    const MetadataSnapshot snapshot = TRY(MetadataSnapshot::take(pool, note));
    const std::string dump = TRY(ask(
        {"thin_dump", "--metadata-snap", "--dev-id", std::to_string(volume.id), pool.metadata_path},
        kDumpTime));
    return parse_thin_dump(dump, pool.table, volume);
}

}  // namespace

std::optional<UsedBlocks> used_blocks_thin(const Volume& source,
                                           const std::filesystem::path& note) {
    if (source.kind() != VolumeKind::kBlockDevice) return std::nullopt;
    const dev_t number = source.status().st_rdev;
    if (read_attribute(block_folder(number) / "dm" / "name").empty()) return std::nullopt;
    const auto table = ask({"dmsetup", "table", mapped_path(number)});
    const auto volume = table ? parse_thin_volume(*table) : std::nullopt;
    if (!volume) return std::nullopt;
    auto extents = allocated(source, *volume, note);
    if (!extents) return UsedBlocks::all(source, "", extents.error().context);
    return UsedBlocks{.filesystem = {}, .extents = std::move(*extents), .doubt = {}};
}

}  // namespace towline
