// SPDX-License-Identifier: Apache-2.0
#pragma once

// A vault for tests, and a model of what its points must read as.

#include <algorithm>
#include <map>
#include <random>

#include "io/checksum.hpp"
#include "storage_fixture.hpp"
#include "transport/codec.hpp"
#include "userspace/vault/collector.hpp"
#include "userspace/vault/folder_store.hpp"
#include "userspace/vault/run_writer.hpp"
#include "userspace/vault/volume_reader.hpp"

namespace towline::testing {

using Bytes = std::vector<std::byte>;

constexpr std::uint32_t kBlock = 4096;

// A source volume in memory, or two side by side, and runs into a vault: every point's contents are
// remembered.
class VaultModel {
  public:
    VaultModel(std::shared_ptr<Vault> vault, std::uint64_t volume_bytes, std::uint64_t seed = 1,
               std::uint64_t second_bytes = 0)
        : vault_(std::move(vault)), contents_(volume_bytes), random_(seed) {
        if (second_bytes == 0) return;
        layout_ = VolumeLayout::of(
                      {{series, source, volume_bytes}, {"second", second_source, second_bytes}})
                      .value();
        contents_.resize(layout_.size_bytes());
    }

    std::shared_ptr<Vault> vault() const { return vault_; }
    void reopen(std::shared_ptr<Vault> vault) { vault_ = std::move(vault); }
    std::mt19937_64& random() { return random_; }
    const Bytes& contents() const { return contents_; }
    const std::map<Uuid, Bytes>& sealed() const { return sealed_; }
    std::uint64_t block_count() const { return (contents_.size() + kBlock - 1) / kBlock; }
    Uuid next_point{};  // of the points that are made from now on; nil: drawn
    std::string series = "disk0";
    Uuid source = Uuid::parse("11111111-2222-3333-4444-555555555555").value();
    Uuid second_source = Uuid::parse("66666666-2222-3333-4444-555555555555").value();

    MutableByteSpan block(std::uint64_t number) {
        const std::uint64_t at = number * kBlock;
        return MutableByteSpan(contents_).subspan(
            at, std::min<std::uint64_t>(kBlock, contents_.size() - at));
    }
    // Text (compresses), noise (does not), or zeros.
    void change(std::uint64_t number) {
        const MutableByteSpan bytes = block(number);
        const auto kind = random_() % 4;
        for (std::byte& each : bytes.first(std::min<std::uint64_t>(bytes.size(), room(number))))
            each = static_cast<std::byte>(kind == 0 ? 0 : kind == 1 ? random_() : random_() % 7);
    }
    // Bytes of the block that are a volume's.
    std::uint64_t room(std::uint64_t number) const {
        if (layout_.parts().empty()) return kBlock;
        const VolumePart* part = layout_.part_at(number * kBlock);
        return part->end_bytes() - std::min(part->end_bytes(), number * kBlock);
    }
    // A block that another volume has, wherever.
    void take(const VaultModel& other, std::uint64_t its_number, std::uint64_t number) {
        if (its_number >= other.block_count() || other.room(its_number) < kBlock ||
            room(number) < kBlock)
            return;
        const ByteSpan its = ByteSpan(other.contents_).subspan(its_number * kBlock);
        const MutableByteSpan bytes = block(number);
        if (its.size() >= kBlock && bytes.size() == kBlock)
            std::ranges::copy(its.first(kBlock), bytes.begin());
    }
    std::vector<std::uint64_t> change_some(std::size_t count) {
        std::vector<std::uint64_t> numbers;
        while (numbers.size() < std::min<std::uint64_t>(count, block_count())) {
            const std::uint64_t number = random_() % block_count();
            if (std::ranges::find(numbers, number) != numbers.end() || room(number) == 0) continue;
            change(number);
            numbers.push_back(number);
        }
        return numbers;
    }
    void resize(std::uint64_t volume_bytes) { contents_.resize(volume_bytes); }

    TargetRecord record(TargetState state, RunMode mode) const {
        return {.state = state,
                .target = source,
                .base = {.source = source, .point = point_},
                .owner = source,
                .run = point_,
                .run_mode = mode,
                .run_base = {.source = source, .point = point_},
                .volume_bytes = contents_.size()};
    }

    // Begins the next run. `held` may be a lock that is lost.
    Result<std::unique_ptr<RunWriter>> begin(RunMode mode, bool resume = false,
                                             std::shared_ptr<ObjectHold> held = nullptr) {
        if (!resume) point_ = next_point.is_nil() ? Uuid::random() : next_point;
        if (!held) held = TRY(SeriesLog(vault_, series).hold());
        mode_ = mode;
        return RunWriter::begin(vault_, series, std::move(held),
                                {.state = record(TargetState::kApplying, mode),
                                 .block_bytes = kBlock,
                                 .volume_name = series,
                                 .layout = layout_,
                                 .resume = resume});
    }
    Status put(RunWriter& writer, std::uint64_t number) {
        return put(writer, number, number % 3 == 0 ? BlockKind::kDeflate : BlockKind::kZstd, 3);
    }
    Status put(RunWriter& writer, std::uint64_t number, BlockKind kind, int level) {
        const ByteSpan plain = block(number);
        if (is_zero(plain)) return writer.zeros(number, 1);
        Bytes packed(plain.size());
        const auto size = codec_.compress(kind, level, plain, packed);
        const RunWriter::Block head{
            .block = number,
            .kind = static_cast<std::uint8_t>(size ? kind : BlockKind::kRaw),
            .check = check().of(plain, number * kBlock),
            .plain = plain};
        return writer.append(head, size ? ByteSpan(packed).first(*size) : plain);
    }
    // What the next seal will make: known before, as it may count although its caller died.
    Uuid expected_point() const { return point_; }
    Result<Point> seal(RunWriter& writer) {
        sealed_[point_] = contents_;
        return writer.seal(
            {.state = record(TargetState::kSealed, mode_), .mode = mode_, .digest = "00"});
    }
    Result<Point> run(RunMode mode, const std::vector<std::uint64_t>& blocks) {
        const auto writer = TRY(begin(mode));
        for (const std::uint64_t each : blocks)
            TRY_STATUS(put(*writer, each));
        return seal(*writer);
    }
    Result<Point> full() {
        std::vector<std::uint64_t> all;
        all.reserve(block_count());
        for (std::uint64_t i = 0; i < block_count(); ++i)
            all.push_back(i);
        return run(RunMode::kFull, all);
    }
    Result<Bytes> read(const Uuid& point) const {
        const OpenPoint open = TRY(OpenPoint::open(vault_, series, point.text()));
        if (layout_.parts().empty()) {
            const auto volume = TRY(open.volume(0));
            Bytes bytes(volume->size_bytes());
            TRY_STATUS(volume->read(0, bytes));
            return bytes;
        }
        if (open.point().volumes.size() != layout_.parts().size())
            return fail(Code::kCorrupt, "a point lacks a volume");
        Bytes bytes(layout_.size_bytes());
        for (std::size_t place = 0; place < layout_.parts().size(); ++place) {
            const auto volume = TRY(open.volume(place));
            const VolumePart& part = layout_.parts()[place];
            TRY_STATUS(volume->read(
                0, MutableByteSpan(bytes).subspan(part.start_bytes, volume->size_bytes())));
        }
        return bytes;
    }
    // Every point that is there reads as it was; says how many there are.
    std::size_t check_all() const {
        const auto state = SeriesLog(vault_, series).read();
        EXPECT_TRUE(state) << state.error().text();
        if (!state) return 0;
        EXPECT_TRUE(state->damaged.empty());
        EXPECT_EQ(state->points.size(), state->counting.size());
        for (const Point& each : state->points) {
            const auto bytes = read(each.id);
            EXPECT_TRUE(bytes) << bytes.error().text();
            const auto known = sealed_.find(each.id);
            EXPECT_TRUE(known != sealed_.end()) << "a point that was never sealed is visible";
            if (!bytes || known == sealed_.end()) continue;
            EXPECT_TRUE(*bytes == known->second) << "point " << each.sequence << " differs";
        }
        return state->points.size();
    }

    const VolumeLayout& layout() const { return layout_; }
    BlockCheck check() const {
        return layout_.parts().empty() ? BlockCheck(source) : layout_.check();
    }

  private:
    std::shared_ptr<Vault> vault_;
    VolumeLayout layout_;  // of two
    Bytes contents_;
    std::mt19937_64 random_;
    Codec codec_;
    Uuid point_;
    RunMode mode_{};
    std::map<Uuid, Bytes> sealed_;
};

// Another block, with the same CRC from whatever start: what the first byte changed in it, the next
// four take back.
inline Bytes of_equal_crc(ByteSpan block) {
    Bytes other(block.begin(), block.end());
    other[0] ^= std::byte{1};
    const std::uint32_t changed = crc32c(block.first(1)) ^ crc32c(ByteSpan(other).first(1));
    for (std::size_t i = 0; i < 4; ++i)
        other[1 + i] ^= static_cast<std::byte>(changed >> (8 * i));
    EXPECT_EQ(crc32c(other), crc32c(block));
    return other;
}

// A full run and three of changes, of which one point was deleted and what it alone had given back.
inline void make_history(VaultModel& model) {
    EXPECT_TRUE(model.full());
    for (int i = 0; i < 3; ++i)
        EXPECT_TRUE(model.run(RunMode::kExtents, model.change_some(4)));
    Collector collector(model.vault(), model.series, {.dead_share_max = 0});
    const auto state = SeriesLog(model.vault(), model.series).read();
    EXPECT_TRUE(collector.delete_points({state->counting[1]}));
    EXPECT_TRUE(collector.collect());
    EXPECT_EQ(model.check_all(), 3U);
}

// An encrypted vault's config, and what opens it. The cheapest stretching: it is not what is
// tested.
inline VaultConfig encrypted_config() {
    return encrypted({}, KeyKind::kPassphrase, std::as_bytes(std::span("test")), {.log2_n = 10})
        .value();
}
inline KeySource test_keys() {
    return {.ask = [](const std::string&) {
        return Result<Secret>(Secret::copy_of(std::as_bytes(std::span("test"))));
    }};
}

// Of a vault that keeps equal blocks once.
inline VaultConfig with_dedup(VaultConfig config = {}) {
    config.dedup = Uuid::random();
    return config;
}

inline std::shared_ptr<Vault> new_vault(const std::filesystem::path& folder,
                                        const VaultConfig& config = {}) {
    EXPECT_TRUE(Vault::init(folder, config));
    auto vault = Vault::open(folder, config.encryption ? test_keys() : KeySource{});
    EXPECT_TRUE(vault) << vault.error().text();
    return vault ? *vault : nullptr;
}

}  // namespace towline::testing
