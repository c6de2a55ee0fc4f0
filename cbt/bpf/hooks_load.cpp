// SPDX-License-Identifier: Apache-2.0
// From the built-in object to pinned programs.
//
// The whole counts only by the record that the caller completes afterwards: killed in between, it
// leaves a folder for which no record vouches, and which goes when the volume is attached again or
// detached.

#include <algorithm>
#include <bit>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <bpf_marks.skel.h>
#include <cstdarg>
#include <cstdio>
#include <memory>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "cbt/bpf/hooks.hpp"
#include "cbt/bpf/pin_names.hpp"

namespace towline {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kKernelMinorBits = 20;
constexpr std::size_t kLogBytesMax = 400;

// What libbpf says while it fails; it knows only of a global printer.
thread_local std::string last_words;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

int keep_words(libbpf_print_level level, const char* format, va_list arguments) {
    if (level != LIBBPF_WARN) return 0;
    char line[512];
    std::vsnprintf(line, sizeof line, format, arguments);
    if (last_words.size() < kLogBytesMax) last_words += line;
    return 0;
}

struct DestroySkeleton {
    void operator()(bpf_marks* skeleton) const { bpf_marks__destroy(skeleton); }
};
using Skeleton = std::unique_ptr<bpf_marks, DestroySkeleton>;

std::unexpected<Error> load_error(int system_errno, const std::string& what) {
    std::string why = what;
    if (system_errno == EPERM || system_errno == EACCES)
        why +=
            " is not permitted: it takes root, or CAP_BPF and CAP_PERFMON, and a kernel that is "
            "not locked down to confidentiality";
    else if (!last_words.empty())
        why += " failed: " + last_words.substr(0, last_words.find_last_not_of('\n') + 1);
    return fail_errno(system_errno, why);
}

std::uint32_t kernel_number(dev_t device) {
    return (major(device) << kKernelMinorBits) | minor(device);
}

std::uint32_t sectors_shift(std::uint32_t block_bytes) {
    return static_cast<std::uint32_t>(std::countr_zero(block_bytes)) - 9;
}

void set_constants(bpf_marks& skeleton, const HookPlace& place) {
    skeleton.rodata->disk_number = kernel_number(place.disk);
    skeleton.rodata->first_sector = place.first_sector;
    skeleton.rodata->sector_count = place.geometry.volume_bytes / 512;
    skeleton.rodata->block_sectors_shift = sectors_shift(place.geometry.block_bytes);
    skeleton.rodata->half_words = place.geometry.half_words();
    skeleton.rodata->whole_disk = place.whole_disk ? 1 : 0;
    skeleton.rodata->bio_based = place.bio_based ? 1 : 0;
}

Status attach_and_pin(bpf_marks& skeleton, const std::string& name, const fs::path& pins) {
    bpf_program* program = bpf_object__find_program_by_name(skeleton.obj, name.c_str());
    bpf_link* link = bpf_program__attach(program);
    if (link == nullptr) return load_error(errno, "attaching the eBPF program " + name);
    const std::string path = pins / name;
    const int failed = bpf_link__pin(link, path.c_str());
    bpf_link__destroy(link);  // the pin holds it
    if (failed != 0) return load_error(-failed, "pinning the eBPF program as " + path);
    return {};
}

Status pin_map(bpf_map* map, const fs::path& path) {
    const int failed = bpf_map__pin(map, path.c_str());
    if (failed != 0) return load_error(-failed, "pinning the map as " + path.string());
    return {};
}

Status load_into_kernel(bpf_marks& skeleton, const HookPlace& place,
                        const std::vector<std::string>& wanted) {
    set_constants(skeleton, place);
    const std::uint64_t words = 2 * place.geometry.half_words();
    if (words > UINT32_MAX)
        return fail(Code::kInvalid, "the volume has too many blocks; take larger ones");
    bpf_map__set_max_entries(skeleton.maps.marks, static_cast<std::uint32_t>(words));
    if (!place.bio_based) bpf_map__set_max_entries(skeleton.maps.unfinished, 1);
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, skeleton.obj) {
        const bool used = std::ranges::count(wanted, bpf_program__name(program)) != 0;
        bpf_program__set_autoload(program, used);
    }
    if (const int failed = bpf_marks__load(&skeleton); failed != 0)
        return load_error(-failed, "loading the eBPF programs");
    return {};
}

Status load_and_pin(const HookPlace& place, const fs::path& pins,
                    const std::vector<std::string>& wanted) {
    libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
    libbpf_set_print(keep_words);
    last_words.clear();
    const Skeleton skeleton(bpf_marks__open());
    if (!skeleton) return load_error(errno, "reading the eBPF programs of this build");
    TRY_STATUS(load_into_kernel(*skeleton, place, wanted));
    if (::mkdir(pins.c_str(), 0700) != 0) return fail_errno("making " + pins.string());
    TRY_STATUS(pin_map(skeleton->maps.data_control, pins / pin_names::kControl));
    TRY_STATUS(pin_map(skeleton->maps.marks, pins / pin_names::kMarks));
    TRY_STATUS(pin_map(skeleton->maps.barrier, pins / pin_names::kBarrier));
    if (place.bio_based)
        TRY_STATUS(pin_map(skeleton->maps.unfinished, pins / pin_names::kUnfinished));
    // Completions before submissions: what a submission notes, its end takes out again.
    for (const std::string& name : wanted)
        TRY_STATUS(attach_and_pin(*skeleton, name, pins));
    return {};
}

}  // namespace

Result<BpfHooks> BpfHooks::load(const HookPlace& place, const fs::path& pins,
                                Completions completions) {
    const bool all = completions == Completions::kHooked;
    const auto wanted =
        all ? pin_names::links(place.bio_based) : std::vector<std::string>{pin_names::kQueued};
    Status loaded = load_and_pin(place, pins, wanted);
    if (!loaded) {
        unpin(pins);
        return std::unexpected(std::move(loaded.error()));
    }
    BpfHooks hooks = TRY(open_links(place, pins, wanted));
    TRY_STATUS(hooks.agree_with_disk());
    return hooks;
}

}  // namespace towline
