// SPDX-License-Identifier: Apache-2.0
// libblkid reads as it likes, from a file descriptor. So it gets a sparse file in memory, as long
// as the volume, with both ends of the volume and of each partition in it; what else it reads there
// is zeros, and no sign of anything.

#include "io/volume_facts.hpp"

#include <algorithm>
#include <array>
#include <blkid/blkid.h>
#include <cstdio>
#include <memory>
#include <sys/mman.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "io/fd.hpp"

namespace towline {

namespace {

// The superblocks of all that is mounted from it (btrfs: at 64 KiB; ZFS' labels), and a GPT.
constexpr std::uint64_t kBeginBytes = 512 << 10;
constexpr std::uint64_t kEndBytes = 256 << 10;
constexpr std::size_t kPartitionsMax = 256;
// libblkid's unit, whatever the volume's sectors are.
constexpr std::uint64_t kUnitBytes = 512;

struct FreeProbe {
    void operator()(blkid_probe probe) const { blkid_free_probe(probe); }
};
using Probe = std::unique_ptr<std::remove_pointer_t<blkid_probe>, FreeProbe>;

// Labels and names are anybody's bytes: what comes out is UTF-8, and nothing that a terminal would
// obey.
std::string text_of(const char* bytes) {
    if (bytes == nullptr) return {};
    using Json = nlohmann::json;
    auto text = Json::parse(Json(bytes).dump(-1, ' ', false, Json::error_handler_t::replace))
                    .get<std::string>();
    std::ranges::replace_if(
        text, [](unsigned char each) { return each < 0x20 || each == 0x7f; }, '?');
    return text;
}

class Look {
  public:
    Look(std::uint64_t bytes, const ReadVolume& read) : bytes_(bytes), read_(read) {}

    Result<VolumeFacts> run();

  private:
    Status copy(std::uint64_t from, std::uint64_t end);
    Status copy_ends(std::uint64_t from, std::uint64_t bytes);
    Status copy_extended(const PartitionFacts& extended);
    Result<FilesystemFacts> filesystem(std::uint64_t from, std::uint64_t bytes) const;
    // False: there is none.
    Result<bool> find_table(std::uint32_t sector_bytes);
    static PartitionFacts partition_of(blkid_partition found, bool gpt);

    const std::uint64_t bytes_;
    const ReadVolume& read_;
    Fd copy_;
    VolumeFacts facts_;
};

Status Look::copy(std::uint64_t from, std::uint64_t end) {
    end = std::min(end, bytes_);
    if (from >= end) return {};
    std::vector<std::byte> bytes(end - from);
    TRY_STATUS(read_(from, bytes));
    if (::pwrite(copy_.get(), bytes.data(), bytes.size(), static_cast<off_t>(from)) !=
        static_cast<ssize_t>(bytes.size()))
        return fail_errno("copying what is to be looked at");
    return {};
}

Status Look::copy_ends(std::uint64_t from, std::uint64_t bytes) {
    TRY_STATUS(copy(from, from + std::min(bytes, kBeginBytes)));
    return copy(from + bytes - std::min(bytes, kEndBytes), from + bytes);
}

// The tables of logical partitions are a list: each says where the next one is, from the begin of
// the extended partition on.
Status Look::copy_extended(const PartitionFacts& extended) {
    static constexpr std::size_t kSecondEntry = 446 + 16;
    std::array<std::byte, kUnitBytes> sector{};
    std::uint64_t at = extended.start_bytes;
    for (std::size_t i = 0; i < kPartitionsMax && at + kUnitBytes <= bytes_; ++i) {
        TRY_STATUS(copy(at, at + kUnitBytes));
        TRY_STATUS(read_(at, sector));
        std::uint64_t next = 0;
        for (std::size_t byte = 4; byte-- > 0;)
            next = next << 8 | std::to_integer<std::uint64_t>(sector[kSecondEntry + 8 + byte]);
        if (next == 0) break;
        at = extended.start_bytes + next * kUnitBytes;
    }
    return {};
}

Result<FilesystemFacts> Look::filesystem(std::uint64_t from, std::uint64_t bytes) const {
    FilesystemFacts facts;
    const Probe probe(blkid_new_probe());
    if (!probe || blkid_probe_set_device(probe.get(), copy_.get(), static_cast<off_t>(from),
                                         static_cast<off_t>(bytes)) != 0)
        return facts;
    blkid_probe_enable_superblocks(probe.get(), 1);
    blkid_probe_set_superblocks_flags(probe.get(),
                                      BLKID_SUBLKS_TYPE | BLKID_SUBLKS_UUID | BLKID_SUBLKS_LABEL);
    // The signs of several say nothing.
    if (blkid_do_safeprobe(probe.get()) != 0) return facts;
    const auto value = [&](const char* name) {
        const char* text = nullptr;
        return blkid_probe_lookup_value(probe.get(), name, &text, nullptr) == 0 ? text_of(text)
                                                                                : "";
    };
    return FilesystemFacts{value("TYPE"), value("UUID"), value("LABEL")};
}

PartitionFacts Look::partition_of(blkid_partition found, bool gpt) {
    PartitionFacts facts;
    facts.number = static_cast<unsigned>(blkid_partition_get_partno(found));
    facts.start_bytes = static_cast<std::uint64_t>(blkid_partition_get_start(found)) * kUnitBytes;
    facts.bytes = static_cast<std::uint64_t>(blkid_partition_get_size(found)) * kUnitBytes;
    facts.uuid = text_of(blkid_partition_get_uuid(found));
    facts.name = text_of(blkid_partition_get_name(found));
    facts.extended = blkid_partition_is_extended(found) != 0;
    facts.logical = blkid_partition_is_logical(found) != 0;
    char type[8];
    std::snprintf(type, sizeof type, "0x%02x",
                  static_cast<unsigned>(blkid_partition_get_type(found)) & 0xff);
    facts.type = gpt ? text_of(blkid_partition_get_type_string(found)) : type;
    return facts;
}

Result<bool> Look::find_table(std::uint32_t sector_bytes) {
    const Probe probe(blkid_new_probe());
    if (!probe || blkid_probe_set_device(probe.get(), copy_.get(), 0, 0) != 0) return false;
    blkid_probe_set_sectorsize(probe.get(), sector_bytes);
    blkid_probe_enable_partitions(probe.get(), 1);
    const blkid_partlist list = blkid_probe_get_partitions(probe.get());
    const blkid_parttable table = list == nullptr ? nullptr : blkid_partlist_get_table(list);
    if (table == nullptr || blkid_partlist_numof_partitions(list) <= 0) return false;
    facts_.table = text_of(blkid_parttable_get_type(table));
    facts_.table_uuid = text_of(blkid_parttable_get_id(table));
    facts_.sector_bytes = sector_bytes;
    facts_.partitions.clear();
    const auto count = std::min<std::size_t>(
        kPartitionsMax, static_cast<std::size_t>(blkid_partlist_numof_partitions(list)));
    for (std::size_t i = 0; i < count; ++i) {
        const blkid_partition found = blkid_partlist_get_partition(list, static_cast<int>(i));
        if (found == nullptr) continue;
        PartitionFacts facts = partition_of(found, facts_.table == "gpt");
        // A damaged table may say anything.
        const bool within =
            facts.start_bytes <= bytes_ && facts.bytes <= bytes_ - facts.start_bytes;
        if (within && facts.bytes > 0) facts_.partitions.push_back(std::move(facts));
    }
    return true;
}

Result<VolumeFacts> Look::run() {
    facts_.bytes = bytes_;
    if (bytes_ == 0) return facts_;
    copy_ = Fd(::memfd_create("volume facts", MFD_CLOEXEC));
    if (!copy_ || ::ftruncate(copy_.get(), static_cast<off_t>(bytes_)) != 0)
        return fail_errno("making room to look at a volume");
    TRY_STATUS(copy_ends(0, bytes_));
    std::uint32_t sector_bytes = 512;
    bool found = TRY(find_table(sector_bytes));
    if (!found) found = TRY(find_table(sector_bytes = 4096));
    if (!found) {
        facts_.filesystem = TRY(filesystem(0, bytes_));
        return facts_;
    }
    for (const PartitionFacts& each : std::vector(facts_.partitions))
        if (each.extended) TRY_STATUS(copy_extended(each));
    static_cast<void>(TRY(find_table(sector_bytes)));
    for (PartitionFacts& each : facts_.partitions) {
        if (each.extended) continue;
        TRY_STATUS(copy_ends(each.start_bytes, each.bytes));
        each.filesystem = TRY(filesystem(each.start_bytes, each.bytes));
    }
    return facts_;
}

}  // namespace

Result<VolumeFacts> look_at_volume(std::uint64_t volume_bytes, const ReadVolume& read) {
    return Look(volume_bytes, read).run();
}

}  // namespace towline
