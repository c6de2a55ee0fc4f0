// SPDX-License-Identifier: Apache-2.0
// The intent log of a tracked image, as files: `record` (a slot file, written in place), `maps` (of
// a clean end) and `lock`, whose time is the daemon's last sign of life.
//
// Rule 7 wants an invalidation that does not need the disk which just failed: the image itself
// carries a seal, the tracker's uuid as an extended attribute, and a record whose seal is gone is
// void. Where the image's filesystem has no such attributes, or fails too, the record is removed.

#include "cbt/intent_log.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <nlohmann/json.hpp>
#include <xxhash.h>

#include "io/document.hpp"
#include "io/durable_file.hpp"

namespace towline {

namespace {

constexpr const char* kSealName = "user.towline.tracker";
constexpr std::size_t kMapsBytesMax = 1ULL << 32;
constexpr std::uint64_t kMapsMagic = 0x3130'5350'414d'4c54;  // "TLMAPS01"

std::int64_t nanoseconds(const struct timespec& time) {
    return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

std::int64_t modified_ns_of(int fd) {
    struct stat status {};
    return ::fstat(fd, &status) == 0 ? nanoseconds(status.st_mtim) : 0;
}

void put_epoch(ByteWriter& writer, const Epoch& epoch) {
    std::uint32_t reasons = 0;
    for (std::uint32_t bit = 1; bit != 0; bit <<= 1) {
        if (epoch.reasons.has(static_cast<ChangeReason>(bit))) reasons |= bit;
    }
    const std::vector<std::byte> marks = epoch.marks.save();
    writer.put(epoch.sequence).put(static_cast<std::uint32_t>(epoch.trust)).put(reasons);
    writer.put(std::uint64_t{marks.size()}).put_bytes(marks);
}

std::optional<Epoch> get_epoch(ByteReader& reader) {
    Epoch epoch;
    epoch.sequence = reader.get<std::uint64_t>();
    const auto trust = reader.get<std::uint32_t>();
    const auto reasons = reader.get<std::uint32_t>();
    auto marks = ChangeMap::load(reader.get_bytes(reader.get<std::uint64_t>()));
    if (reader.bad() || !marks || trust < 1 || trust > 3) return std::nullopt;
    epoch.trust = static_cast<Trust>(trust);
    for (std::uint32_t bit = 1; bit != 0; bit <<= 1) {
        if ((reasons & bit) != 0) epoch.reasons.add(static_cast<ChangeReason>(bit));
    }
    epoch.marks = std::move(*marks);
    return epoch;
}

std::optional<std::pair<Epoch, std::optional<Epoch>>> maps_of(ByteSpan saved) {
    ByteReader reader(saved);
    if (reader.get<std::uint64_t>() != kMapsMagic) return std::nullopt;
    const auto count = reader.get<std::uint32_t>();
    if (count < 1 || count > 2) return std::nullopt;
    auto present = get_epoch(reader);
    std::optional<Epoch> frozen;
    if (count == 2) {
        frozen = get_epoch(reader);
        if (!frozen) return std::nullopt;
    }
    if (!present || !reader.finished()) return std::nullopt;
    return std::pair(std::move(*present), std::move(frozen));
}

}  // namespace

Result<FileIntentLog> FileIntentLog::open(const std::filesystem::path& folder,
                                          const Volume& image) {
    TRY_STATUS(make_folder(folder));
    Fd lock = TRY(lock_file(folder / "lock", image.name(), kHolderDies));
    FileIntentLog log(folder, image, std::move(lock));
    char nothing = 0;
    log.can_seal_ = ::fgetxattr(image.fd(), kSealName, &nothing, 0) >= 0 || errno == ENODATA;
    return log;
}

Kept FileIntentLog::load() const {
    Kept kept;
    kept.alive_ns = modified_ns_of(lock_.get());
    auto document = load_document(folder_ / "record");
    if (!document) {
        kept.damaged = true;
        return kept;
    }
    if (!*document) return kept;
    auto record = record_of(**document);
    if (!record) {
        kept.damaged = true;
        return kept;
    }
    kept.record = std::move(*record);
    const auto saved = read_file(folder_ / "maps", kMapsBytesMax);
    if (!kept.record->clean || !saved || !*saved) return kept;
    if (XXH3_64bits((*saved)->data(), (*saved)->size()) == kept.record->maps_digest)
        kept.maps = maps_of(**saved);
    return kept;
}

Result<ImageFacts> FileIntentLog::facts(const Kept& kept) const {
    ImageFacts facts;
    facts.identity = TRY(image_->identity());
    facts.volume_bytes = image_->size_bytes();
    facts.modified_ns = TRY(image_modified_ns());
    facts.seal = seal();
    facts.can_seal = can_seal_;
    facts.alive_ns = kept.alive_ns;
    facts.maps_good = kept.maps.has_value();
    return facts;
}

Status FileIntentLog::store(const TrackingRecord& record) {
    TRY_STATUS(save_document(folder_ / "record", json_of(record)));
    // The seal last: until it is there the record is void, which is safe.
    if (!record.sealed || sealed_as_ == record.tracker) return {};
    return put_seal(record.tracker);
}

Status FileIntentLog::invalidate() {
    sealed_as_.reset();
    if (can_seal_ && (::fremovexattr(image_->fd(), kSealName) == 0 || errno == ENODATA) &&
        ::fsync(image_->fd()) == 0)
        return {};
    const std::filesystem::path record = folder_ / "record";
    if (::unlink(record.c_str()) != 0 && errno != ENOENT)
        return fail_errno("cannot remove " + record.string());
    const Fd folder(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder || ::fsync(folder.get()) != 0)
        return fail_errno("cannot sync the folder " + folder_.string());
    return {};
}

Result<std::uint64_t> FileIntentLog::save_maps(const Epochs& epochs) {
    ByteWriter writer;
    writer.put(kMapsMagic).put(std::uint32_t{epochs.frozen() ? 2U : 1U});
    put_epoch(writer, epochs.present());
    if (epochs.frozen()) put_epoch(writer, *epochs.frozen());
    TRY_STATUS(replace_file(folder_ / "maps", writer.bytes()));
    return XXH3_64bits(writer.bytes().data(), writer.bytes().size());
}

void FileIntentLog::say_alive() {
    // A sign that could not be given only makes a later attach more careful.
    (void)::futimens(lock_.get(), nullptr);
}

Result<std::int64_t> FileIntentLog::image_modified_ns() const {
    struct stat status {};
    if (::fstat(image_->fd(), &status) != 0) return fail_errno("looking at " + image_->name());
    return nanoseconds(status.st_mtim);
}

std::optional<Uuid> FileIntentLog::seal() const {
    char text[64];
    const ssize_t got = ::fgetxattr(image_->fd(), kSealName, text, sizeof text);
    if (got <= 0) return std::nullopt;
    return Uuid::parse(std::string_view(text, static_cast<std::size_t>(got)));
}

Status FileIntentLog::put_seal(const Uuid& tracker) {
    const std::string text = tracker.text();
    if (::fsetxattr(image_->fd(), kSealName, text.data(), text.size(), 0) != 0 ||
        ::fsync(image_->fd()) != 0)
        return fail_errno("cannot put the tracker's seal on " + image_->name());
    sealed_as_ = tracker;
    return {};
}

}  // namespace towline
