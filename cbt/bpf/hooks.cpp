// SPDX-License-Identifier: Apache-2.0
// The pinned programs and maps of one volume, as any process finds them.
//
// Everything here is by descriptor: what was opened stays what it is, whoever takes the pins away.
// Whether it is still what was attached is for the caller to compare (ids()).

#include "cbt/bpf/hooks.hpp"

#include <algorithm>
#include <atomic>
#include <bpf/bpf.h>
#include <cstdlib>
#include <memory>
#include <sstream>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "cbt/bpf/pin_names.hpp"
#include "io/block_device.hpp"

namespace towline {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kSectorBytes = 512;
constexpr std::uint32_t kBatch = 65536;  // the whole table: no bucket is larger
constexpr Duration kSettleMax = 200ms;
constexpr Duration kLifeMax = 2s;
constexpr int kQuietTries = 20;
constexpr std::size_t kProbeBytes = 4096;

template <typename Info>
Result<Info> info_of(int fd, const std::string& what) {
    Info info{};
    auto length = static_cast<__u32>(sizeof info);
    if (::bpf_obj_get_info_by_fd(fd, &info, &length) != 0) return fail_errno("looking at " + what);
    return info;
}

// Requests of the disk that change it and have begun and not ended; sysfs shows reads first.
bool writes_in_flight(dev_t disk) {
    const std::string counts = read_attribute(block_folder(disk) / "inflight");
    const auto second = counts.find_first_of(" \t");
    return second != std::string::npos &&
           counts.find_first_of("123456789", second) != std::string::npos;
}

// Sectors written and discarded, as the kernel's statistics have it (fields 7 and 14 of `stat`).
std::uint64_t sectors_changed(dev_t disk) {
    constexpr std::size_t kWritten = 6;
    constexpr std::size_t kDiscarded = 13;
    std::istringstream words(read_attribute(block_folder(disk) / "stat"));
    std::uint64_t sum = 0;
    std::uint64_t value = 0;
    for (std::size_t field = 0; words >> value; ++field)
        if (field == kWritten || field == kDiscarded) sum += value;
    return sum;
}

std::uint64_t count_in(unsigned long long& value) {
    return std::atomic_ref(value).load(std::memory_order_relaxed);
}

Result<std::uint64_t> misses_of(const Fd& program) {
    return TRY(info_of<bpf_prog_info>(program.get(), "an eBPF program")).recursion_misses;
}

struct FreeAligned {
    void operator()(void* at) const { std::free(at); }
};

}  // namespace

BpfHooks::Mapping::~Mapping() {
    if (at_ != nullptr) ::munmap(at_, bytes_);
}

Result<BpfHooks::Mapping> BpfHooks::map_shared(int fd, std::size_t bytes, const std::string& what) {
    void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) return fail_errno("mapping " + what);
    return Mapping(at, bytes);
}

Status BpfHooks::take_link(const std::string& name, const fs::path& pins) {
    const std::string path = pins / name;
    const Fd link(::bpf_obj_get(path.c_str()));
    if (!link) return fail_errno("opening the pinned program " + path);
    const auto info = TRY(info_of<bpf_link_info>(link.get(), path));
    ids_["link " + name] = info.id;
    ids_["program " + name] = info.prog_id;
    Fd program(::bpf_prog_get_fd_by_id(info.prog_id));
    if (!program) return fail_errno("opening the program of " + path);
    programs_[name] = std::move(program);
    return {};
}

Result<Fd> BpfHooks::take_map(const std::string& name, const fs::path& pins) {
    const std::string path = pins / name;
    Fd map(::bpf_obj_get(path.c_str()));
    if (!map) return fail_errno("opening the pinned map " + path);
    const auto info = TRY(info_of<bpf_map_info>(map.get(), path));
    ids_["map " + name] = info.id;
    if (name == pin_names::kControl && info.value_size != sizeof(tl_control))
        return fail(
            Code::kUnsupported,
            path + " is of another version of Towline; detach the volume and attach it again");
    return map;
}

Result<BpfHooks> BpfHooks::open(const HookPlace& place, const fs::path& pins) {
    return open_links(place, pins, pin_names::links(place.bio_based));
}

Result<BpfHooks> BpfHooks::open_links(const HookPlace& place, const fs::path& pins,
                                      const std::vector<std::string>& links) {
    BpfHooks hooks;
    hooks.place_ = place;
    for (const std::string& name : links)
        TRY_STATUS(hooks.take_link(name, pins));
    const Fd control = TRY(hooks.take_map(pin_names::kControl, pins));
    const Fd marks = TRY(hooks.take_map(pin_names::kMarks, pins));
    hooks.barrier_ = TRY(hooks.take_map(pin_names::kBarrier, pins));
    if (place.bio_based) hooks.unfinished_ = TRY(hooks.take_map(pin_names::kUnfinished, pins));

    hooks.marks_words_ = 2 * place.geometry.half_words();
    const auto shape = TRY(info_of<bpf_map_info>(marks.get(), pins / pin_names::kMarks));
    if (shape.max_entries != hooks.marks_words_)
        return fail(Code::kInvalid, "the pinned marks in " + pins.string() +
                                        " are of another size than the volume");
    hooks.control_mapping_ = TRY(map_shared(control.get(), sizeof(tl_control), pins));
    hooks.marks_mapping_ =
        TRY(map_shared(marks.get(), hooks.marks_words_ * sizeof(std::uint64_t), pins));
    hooks.control_ = static_cast<tl_control*>(hooks.control_mapping_.at());
    hooks.marks_ = static_cast<std::uint64_t*>(hooks.marks_mapping_.at());
    return hooks;
}

void BpfHooks::unpin(const fs::path& pins) {
    // A folder of bpffs: unlinking is all that it knows. Links first, so that no program is left
    // that marks in maps which nobody can see.
    std::error_code ignored;
    std::vector<fs::path> rest;
    for (fs::directory_iterator entry(pins, ignored), end; !ignored && entry != end;
         entry.increment(ignored))
        rest.push_back(entry->path());
    for (const fs::path& path : rest)
        fs::remove(path, ignored);
    fs::remove(pins, ignored);
}

std::uint64_t BpfHooks::memory_bytes() const {
    return marks_words_ * sizeof(std::uint64_t) + sizeof(tl_control);
}

Result<HookCounts> BpfHooks::counts() const {
    const std::uint64_t misses = TRY(misses_of(programs_.at(pin_names::kQueued)));
    tl_tally tally = control_->tally;
    reckon(tally, TRY(read_tally()));
    return HookCounts{.misses = misses,
                      .passthrough = count_in(control_->passthrough),
                      .untraced = count_in(control_->untraced),
                      .beyond = count_in(control_->beyond),
                      .unseen = tally.unseen};
}

// What a bio-based device's programs see at the end are not the changes as they were submitted.
Result<TallyReading> BpfHooks::read_tally() const {
    TallyReading reading;
    std::vector<std::string> names{pin_names::kQueued};
    if (!place_.bio_based) names = pin_names::completions(false);
    if (!std::ranges::all_of(names, [&](const auto& name) { return programs_.contains(name); }))
        return reading;
    reading.disk_before = sectors_changed(place_.disk);
    for (tl_write_slot& slot : control_->slots)
        for (std::size_t i = 0; i < names.size(); ++i)
            reading.seen[i] += count_in(place_.bio_based ? slot.queued : slot.completed[i]);
    for (std::size_t i = 0; i < names.size(); ++i)
        reading.misses[i] = TRY(misses_of(programs_.at(names[i])));
    reading.programs = names.size();
    reading.disk_after = sectors_changed(place_.disk);
    return reading;
}

// Best in a moment in which the disk does nothing.
Status BpfHooks::agree_with_disk() {
    TallyReading reading = TRY(read_tally());
    for (int tries = 0; reading.disk_before != reading.disk_after && tries < kQuietTries; ++tries)
        reading = TRY(read_tally());
    begin_tally(control_->tally, reading);
    return {};
}

// The kernel returns from putting a map into a map of maps only after a grace period.
Status BpfHooks::wait_for_programs() const {
    const Fd inner(::bpf_map_create(BPF_MAP_TYPE_ARRAY, "towline_grace", sizeof(std::uint32_t),
                                    sizeof(std::uint32_t), 1, nullptr));
    if (!inner) return fail_errno("making a map to wait for a grace period with");
    const std::uint32_t key = 0;
    const int value = inner.get();
    if (::bpf_map_update_elem(barrier_.get(), &key, &value, BPF_ANY) != 0)
        return fail_errno("waiting for the end of running programs");
    return {};
}

Status BpfHooks::each_unfinished(const std::function<void(Extent)>& found) const {
    if (!place_.bio_based) return {};
    std::vector<std::uint64_t> keys(kBatch);
    std::vector<tl_unfinished> values(kBatch);
    std::uint32_t position = 0;
    for (bool first = true;; first = false) {
        std::uint32_t count = kBatch;
        const int failed =
            ::bpf_map_lookup_batch(unfinished_.get(), first ? nullptr : &position, &position,
                                   keys.data(), values.data(), &count, nullptr);
        if (failed != 0 && errno != ENOENT) return fail_errno("reading the writes in flight");
        for (std::uint32_t i = 0; i < count; ++i) {
            const std::uint64_t begin =
                std::max<std::uint64_t>(values[i].sector, place_.first_sector);
            const std::uint64_t end = values[i].sector + values[i].sectors;
            if (begin < end)
                found({(begin - place_.first_sector) * kSectorBytes, (end - begin) * kSectorBytes});
        }
        if (failed != 0) return {};
    }
}

bool BpfHooks::settle(Duration max) const {
    if (!place_.bio_based) return true;
    for (const Instant until = monotonic_now() + max; writes_in_flight(place_.disk);) {
        if (monotonic_now() >= until) return false;
        std::this_thread::sleep_for(1ms);
    }
    return true;
}

EpochHooks BpfHooks::for_epochs() const {
    return {.counts = [this]() -> Result<HookCounts> {
                reckon(control_->tally, TRY(read_tally()));
                return counts();
            },
            .wait_for_programs = [this] { return wait_for_programs(); },
            .each_unfinished = [this](const auto& found) { return each_unfinished(found); },
            .settle = [this] { return settle(kSettleMax); }};
}

// The read may fail (a bad sector): its request came and went all the same.
Status BpfHooks::check_alive(int device_fd, const std::string& name) const {
    const std::unique_ptr<void, FreeAligned> buffer(std::aligned_alloc(kProbeBytes, kProbeBytes));
    std::atomic_ref queued(control_->probe_queued);
    std::atomic_ref completed(control_->probe_completed);
    queued.store(0);
    completed.store(0);
    std::atomic_ref(control_->probe).store(1);
    bool alive = false;
    for (const Instant until = monotonic_now() + kLifeMax; !alive && monotonic_now() < until;) {
        if (::pread(device_fd, buffer.get(), kProbeBytes, 0) < 0 && errno == EINVAL) break;
        alive = queued.load() != 0 && completed.load() != 0;
    }
    std::atomic_ref(control_->probe).store(0);
    if (alive) return {};
    return fail(Code::kUnsupported,
                "the eBPF programs see no requests of " + name +
                    " (submission: " + (queued.load() != 0 ? "seen" : "not seen") +
                    ", completion: " + (completed.load() != 0 ? "seen" : "not seen") + ")");
}

}  // namespace towline
