// SPDX-License-Identifier: Apache-2.0
// A line of `dmsetup table` is START LENGTH TARGET and the target's own words
// (admin-guide/device-mapper/thin-provisioning.rst of the kernel). thin_dump writes an element a
// line:
//
//     <superblock ... data_block_size="SECTORS" ...>
//       <def name="0">                        from version 1 on: what several devices share
//         <range_mapping origin_begin="2" data_begin="1" length="3" time="0"/>
//       </def>
//       <device dev_id="1" mapped_blocks="4" ...>
//         <single_mapping origin_block="0" data_block="0" time="0"/>
//         <ref name="0"/>
//       </device>
//     </superblock>
//
// That all of it is there is known by its last element and by the device's own count.

#include "cbt/thin_report.hpp"

#include <algorithm>
#include <charconv>
#include <map>

namespace towline {
namespace {

constexpr std::uint64_t kSectorBytes = 512;
constexpr std::uint64_t kChunkSectorsMax = 2 << 20;           // 1 GiB: the kernel's own limit
constexpr std::uint64_t kChunksMax = std::uint64_t{1} << 55;  // no sum of two overflows

std::optional<std::uint64_t> number(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::vector<std::string_view> words_of(std::string_view line) {
    std::vector<std::string_view> words;
    while (!line.empty()) {
        const std::size_t end = std::min(line.find(' '), line.size());
        if (end > 0) words.push_back(line.substr(0, end));
        line.remove_prefix(std::min(end + 1, line.size()));
    }
    return words;
}

// The words of a table or status that has one line, which begins with sector 0.
std::vector<std::string_view> one_target(std::string_view text, std::string_view target) {
    while (text.ends_with('\n'))
        text.remove_suffix(1);
    if (text.find('\n') != std::string_view::npos) return {};
    auto words = words_of(text);
    if (words.size() < 3 || words[0] != "0" || words[2] != target) return {};
    return words;
}

std::string_view trimmed(std::string_view line) {
    const std::size_t begin = std::min(line.find_first_not_of(" \t\r"), line.size());
    line.remove_prefix(begin);
    return line.substr(0, line.find_last_not_of(" \t\r") + 1);
}

struct Element {
    std::string_view name;
    std::map<std::string_view, std::string_view> attributes;
    bool begins = false;  // something lies within it, up to one that
    bool ends = false;

    std::optional<std::uint64_t> number_of(std::string_view attribute) const {
        const auto found = attributes.find(attribute);
        return found == attributes.end() ? std::nullopt : number(found->second);
    }
};

constexpr std::string_view kNameBytes = "abcdefghijklmnopqrstuvwxyz_";

// <NAME KEY="VALUE"...>, the same with "/>", or </NAME>.
std::optional<Element> parse_element(std::string_view line) {
    if (!line.starts_with('<') || !line.ends_with('>')) return std::nullopt;
    line = line.substr(1, line.size() - 2);
    Element element{.name = {}, .attributes = {}, .begins = true, .ends = false};
    if (line.starts_with('/')) {
        element.begins = false;
        element.ends = true;
        line.remove_prefix(1);
    } else if (line.ends_with('/')) {
        element.begins = false;
        line.remove_suffix(1);
    }
    element.name = line.substr(0, line.find_first_not_of(kNameBytes));
    if (element.name.empty()) return std::nullopt;
    line.remove_prefix(element.name.size());
    while (!(line = trimmed(line)).empty()) {
        const std::size_t equals = line.find("=\"");
        if (equals == std::string_view::npos) return std::nullopt;
        const std::string_view key = line.substr(0, equals);
        const std::size_t end = line.find('"', equals + 2);
        if (end == std::string_view::npos || key.empty() ||
            key.find_first_not_of(kNameBytes) != std::string_view::npos)
            return std::nullopt;
        const std::string_view value = line.substr(equals + 2, end - equals - 2);
        if (!element.attributes.emplace(key, value).second) return std::nullopt;
        line.remove_prefix(end + 1);
    }
    if (element.ends && !element.attributes.empty()) return std::nullopt;
    return element;
}

// In chunks.
struct Run {
    std::uint64_t begin = 0;
    std::uint64_t count = 0;
};

std::optional<Run> run_of(const Element& element) {
    const bool single = element.name == "single_mapping";
    const auto begin = element.number_of(single ? "origin_block" : "origin_begin");
    const auto count = single ? std::optional<std::uint64_t>(1) : element.number_of("length");
    if (!begin || !count || *begin > kChunksMax || *count > kChunksMax || *count == 0)
        return std::nullopt;
    return Run{*begin, *count};
}

// One dump, an element at a time. False: it is not understood.
class Dump {
  public:
    Dump(const ThinPool& pool, const ThinVolume& volume) : pool_(pool), volume_(volume) {}

    bool take(const Element& element) {
        if (element.ends) return end(element.name);
        if (element.name == "superblock") return begin_superblock(element);
        if (inside_.empty() || inside_.size() > 2) return false;
        const bool at_top = inside_.size() == 1;
        if (at_top && element.name == "def") return begin_shared(element);
        if (at_top && element.name == "device") return begin_device(element);
        if (at_top || element.begins) return false;
        if (element.name == "ref") return refer(element);
        if (element.name != "single_mapping" && element.name != "range_mapping") return false;
        const auto run = run_of(element);
        return run && add(*run);
    }

    bool is_whole() const { return ended_ && found_ && total_ == wanted_; }

    std::vector<Extent> allocated() const {
        const std::uint64_t chunks =
            volume_.bytes / pool_.chunk_bytes + (volume_.bytes % pool_.chunk_bytes != 0 ? 1 : 0);
        std::vector<Extent> extents;
        for (const Run& run : runs_) {
            // A volume that was made smaller keeps what lies behind its end.
            if (run.begin >= chunks) break;
            const std::uint64_t offset = run.begin * pool_.chunk_bytes;
            const std::uint64_t end = run.begin + run.count >= chunks
                                          ? volume_.bytes
                                          : (run.begin + run.count) * pool_.chunk_bytes;
            extents.push_back({offset, end - offset});
        }
        return normalized(std::move(extents));
    }

  private:
    bool begin_superblock(const Element& element) {
        const auto sectors = element.number_of("data_block_size");
        if (!inside_.empty() || ended_ || !element.begins || !sectors ||
            *sectors > kChunkSectorsMax || *sectors * kSectorBytes != pool_.chunk_bytes)
            return false;
        inside_.emplace_back("superblock");
        return true;
    }

    bool begin_shared(const Element& element) {
        const auto name = element.attributes.find("name");
        if (name == element.attributes.end() || found_) return false;
        const auto [place, fresh] = shared_.emplace(name->second, std::vector<Run>());
        if (!fresh) return false;
        if (!element.begins) return true;
        into_ = &place->second;
        inside_.emplace_back("def");
        return true;
    }

    bool begin_device(const Element& element) {
        const auto id = element.number_of("dev_id");
        const auto mapped = element.number_of("mapped_blocks");
        if (!id || !mapped) return false;
        into_ = nullptr;
        if (*id == volume_.id) {
            if (std::exchange(found_, true)) return false;
            wanted_ = *mapped;
            into_ = &runs_;
        }
        if (element.begins) inside_.emplace_back("device");
        return true;
    }

    bool refer(const Element& element) {
        const auto name = element.attributes.find("name");
        if (name == element.attributes.end() || inside_.back() != "device") return false;
        const auto found = shared_.find(name->second);
        if (found == shared_.end()) return false;
        if (into_ == nullptr) return true;
        return std::ranges::all_of(found->second, [this](const Run& run) { return add(run); });
    }

    // They come in order, each chunk once.
    bool add(const Run& run) {
        if (into_ == nullptr) return true;
        if (!into_->empty() && run.begin < into_->back().begin + into_->back().count) return false;
        into_->push_back(run);
        if (into_ == &runs_) total_ += run.count;
        return total_ <= 2 * kChunksMax;
    }

    bool end(std::string_view name) {
        if (inside_.empty() || inside_.back() != name) return false;
        inside_.pop_back();
        into_ = nullptr;
        ended_ = inside_.empty();
        return true;
    }

    const ThinPool& pool_;
    const ThinVolume& volume_;
    std::vector<std::string_view> inside_;
    std::map<std::string_view, std::vector<Run>> shared_;
    std::vector<Run>* into_ = nullptr;  // nullptr: another device's are passed over
    std::vector<Run> runs_;
    std::uint64_t total_ = 0;
    std::uint64_t wanted_ = 0;
    bool found_ = false;
    bool ended_ = false;
};

}  // namespace

std::optional<ThinVolume> parse_thin_volume(std::string_view table) {
    const auto words = one_target(table, "thin");
    if (words.size() != 5 && words.size() != 6) return std::nullopt;
    const auto sectors = number(words[1]);
    const auto id = number(words[4]);
    if (!sectors || !id || *sectors > UINT64_MAX / kSectorBytes) return std::nullopt;
    return ThinVolume{.bytes = *sectors * kSectorBytes,
                      .pool = std::string(words[3]),
                      .id = *id,
                      .has_origin = words.size() == 6};
}

std::optional<ThinPool> parse_thin_pool(std::string_view table) {
    const auto words = one_target(table, "thin-pool");
    if (words.size() < 6) return std::nullopt;
    const auto sectors = number(words[5]);
    if (!sectors || *sectors == 0 || *sectors > kChunkSectorsMax) return std::nullopt;
    return ThinPool{.metadata = std::string(words[3]), .chunk_bytes = *sectors * kSectorBytes};
}

// START LENGTH thin-pool TRANSACTION META/ALL DATA/ALL HELD_ROOT MODE...
std::optional<std::string> parse_metadata_snapshot(std::string_view status) {
    const auto words = one_target(status, "thin-pool");
    if (words.size() < 8 || !number(words[3])) return std::nullopt;
    if (words[6] == "-") return std::string();
    if (!number(words[6])) return std::nullopt;
    return std::string(words[6]);
}

Result<std::vector<Extent>> parse_thin_dump(std::string_view dump, const ThinPool& pool,
                                            const ThinVolume& volume) {
    Dump reader(pool, volume);
    std::size_t line_number = 0;
    while (!dump.empty()) {
        const std::size_t end = std::min(dump.find('\n'), dump.size());
        const std::string_view line = trimmed(dump.substr(0, end));
        dump.remove_prefix(std::min(end + 1, dump.size()));
        ++line_number;
        if (line.empty()) continue;
        const auto element = parse_element(line);
        if (!element || !reader.take(*element))
            return fail(Code::kCorrupt, "line " + std::to_string(line_number) +
                                            " of thin_dump's is not understood");
    }
    if (!reader.is_whole()) return fail(Code::kCorrupt, "thin_dump does not tell of all of it");
    return reader.allocated();
}

}  // namespace towline
