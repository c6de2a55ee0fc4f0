// SPDX-License-Identifier: Apache-2.0
// One bit a block, 64 to a word. The invariant that everything here leans on: bits past the last
// block are clear, so that words can be counted, compared, hashed and scanned whole. A map has one
// owner at a time and no lock. Its persistent form is in change_map_save.cpp.

#include "cbt/change_map.hpp"

#include <algorithm>
#include <array>
#include <bit>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "cbt/change_map_format.hpp"
#include "io/check.hpp"

namespace towline {
namespace {

constexpr std::uint64_t kAllOnes = ~std::uint64_t{0};
constexpr std::uint64_t kWordBits = 64;

// Calls visit(word index, mask of the run's bits in it) until it returns false.
template <typename Visit>
void visit_words(BlockRun run, Visit visit) {
    if (run.count == 0) return;
    const std::uint64_t last = run.end() - 1;
    const std::uint64_t word_last = last / kWordBits;
    std::uint64_t mask = kAllOnes << (run.first % kWordBits);
    for (std::uint64_t word = run.first / kWordBits; word < word_last; ++word) {
        if (!visit(word, mask)) return;
        mask = kAllOnes;
    }
    visit(word_last, mask & (kAllOnes >> (kWordBits - 1 - last % kWordBits)));
}

// The first block at or after `from` whose bit differs from those of `flip`; at most `limit`.
// Searches for set bits with flip = 0, for clear ones with flip = all ones.
std::uint64_t find_block(const std::vector<std::uint64_t>& words, std::uint64_t from,
                         std::uint64_t limit, std::uint64_t flip) {
    if (from >= limit) return limit;
    const std::uint64_t word_end = (limit + kWordBits - 1) / kWordBits;
    std::uint64_t word = from / kWordBits;
    std::uint64_t bits = (words[word] ^ flip) & (kAllOnes << (from % kWordBits));
    while (bits == 0 && ++word < word_end)
        bits = words[word] ^ flip;
    if (bits == 0) return limit;
    return std::min(limit, word * kWordBits + static_cast<std::uint64_t>(std::countr_zero(bits)));
}

}  // namespace

ChangeMap::ChangeMap(std::uint64_t volume_bytes, std::uint32_t block_bytes)
    : volume_bytes_(volume_bytes), block_bytes_(block_bytes) {
    CHECK(change_map_format::geometry_allowed(volume_bytes, block_bytes));
    block_count_ = change_map_format::block_count_of(volume_bytes, block_bytes);
    words_.resize((block_count_ + kWordBits - 1) / kWordBits);
}

void ChangeMap::mark(Extent extent) {
    if (extent.length_bytes == 0 || extent.offset_bytes >= volume_bytes_) return;
    // What a tracker reports past the end is not ours to copy.
    const std::uint64_t length = std::min(extent.length_bytes, volume_bytes_ - extent.offset_bytes);
    const std::uint64_t first = extent.offset_bytes / block_bytes_;
    const std::uint64_t last = (extent.offset_bytes + length - 1) / block_bytes_;
    mark_blocks({first, last - first + 1});
}

void ChangeMap::mark_blocks(BlockRun run) {
    CHECK(run.first <= block_count_ && run.count <= block_count_ - run.first);
    visit_words(run, [this](std::uint64_t word, std::uint64_t mask) {
        words_[word] |= mask;
        return true;
    });
}

void ChangeMap::clear_blocks(BlockRun run) {
    CHECK(run.first <= block_count_ && run.count <= block_count_ - run.first);
    visit_words(run, [this](std::uint64_t word, std::uint64_t mask) {
        words_[word] &= ~mask;
        return true;
    });
}

void ChangeMap::mark_all() {
    mark_blocks({0, block_count_});
}

void ChangeMap::clear_all() {
    std::ranges::fill(words_, 0);
}

bool ChangeMap::test(std::uint64_t block) const {
    CHECK(block < block_count_);
    return (words_[block / kWordBits] >> (block % kWordBits) & 1) != 0;
}

bool ChangeMap::all_set(BlockRun run) const {
    CHECK(run.first <= block_count_ && run.count <= block_count_ - run.first);
    return find_block(words_, run.first, run.end(), kAllOnes) == run.end();
}

bool ChangeMap::any_set(BlockRun run) const {
    CHECK(run.first <= block_count_ && run.count <= block_count_ - run.first);
    return find_block(words_, run.first, run.end(), 0) != run.end();
}

bool ChangeMap::empty() const {
    return std::ranges::all_of(words_, [](std::uint64_t word) { return word == 0; });
}

std::uint64_t ChangeMap::marked_blocks() const {
    std::uint64_t count = 0;
    for (const std::uint64_t word : words_)
        count += static_cast<std::uint64_t>(std::popcount(word));
    return count;
}

std::uint64_t ChangeMap::marked_bytes() const {
    if (block_count_ == 0) return 0;
    const std::uint64_t past_end = block_count_ * block_bytes_ - volume_bytes_;
    return marked_blocks() * block_bytes_ - (test(block_count_ - 1) ? past_end : 0);
}

std::optional<BlockRun> ChangeMap::next_run(std::uint64_t from, std::uint64_t count_max) const {
    CHECK(count_max > 0);
    const std::uint64_t first = find_block(words_, from, block_count_, 0);
    if (first >= block_count_) return std::nullopt;
    const std::uint64_t limit = first + std::min(count_max, block_count_ - first);
    return BlockRun{first, find_block(words_, first, limit, kAllOnes) - first};
}

Extent ChangeMap::extent_of(BlockRun run) const {
    CHECK(run.first <= block_count_ && run.count <= block_count_ - run.first);
    const std::uint64_t begin = std::min(run.first * block_bytes_, volume_bytes_);
    return {begin, std::min(run.end() * block_bytes_, volume_bytes_) - begin};
}

void ChangeMap::merge(const ChangeMap& other) {
    CHECK(volume_bytes_ == other.volume_bytes_ && block_bytes_ == other.block_bytes_);
    for (std::size_t word = 0; word < words_.size(); ++word)
        words_[word] |= other.words_[word];
}

void ChangeMap::merge_bits(ByteSpan bits) {
    CHECK(bits.size() * 8 >= block_count_);
    const std::uint64_t whole_words = block_count_ / kWordBits;
    for (std::uint64_t word = 0; word < whole_words; ++word)
        words_[word] |= load_le<std::uint64_t>(bits.data() + word * 8);
    for (std::uint64_t block = whole_words * kWordBits; block < block_count_; ++block) {
        const auto byte = std::to_integer<unsigned>(bits[block / 8]);
        if ((byte >> (block % 8) & 1) != 0) mark_blocks({block, 1});
    }
}

void ChangeMap::subtract(const ChangeMap& other) {
    CHECK(volume_bytes_ == other.volume_bytes_ && block_bytes_ == other.block_bytes_);
    for (std::size_t word = 0; word < words_.size(); ++word)
        words_[word] &= ~other.words_[word];
}

ChangeMap ChangeMap::resampled(std::uint64_t volume_bytes, std::uint32_t block_bytes) const {
    if (volume_bytes == volume_bytes_ && block_bytes == block_bytes_) return *this;
    ChangeMap map(volume_bytes, block_bytes);
    for (auto run = next_run(0); run; run = next_run(run->end()))
        map.mark(extent_of(*run));
    return map;
}

std::uint64_t ChangeMap::digest() const {
    const std::array<std::uint64_t, 2> geometry{volume_bytes_, block_bytes_};
    const std::uint64_t seed = XXH3_64bits(geometry.data(), sizeof geometry);
    return XXH3_64bits_withSeed(words_.data(), memory_bytes(), seed);
}

}  // namespace towline
