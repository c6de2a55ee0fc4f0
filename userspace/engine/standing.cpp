// SPDX-License-Identifier: Apache-2.0
// The key is the kernel's name for this boot together with the source's name: hashes of two sources
// say nothing about each other, and those of before a reboot nothing at all. Where on a shared
// device each side lies is told in the clear, or two partitions of a disk could not be told from
// the same one.

#include "userspace/engine/standing.hpp"

#include <algorithm>
#include <fstream>

namespace towline {

namespace {

constexpr const char* kBootName = "/proc/sys/kernel/random/boot_id";

BlockHasher::Seed seed_of(const std::string& boot, const Uuid& source) {
    BlockHasher::Seed seed{};
    const BlockHasher plain(seed);
    const Hash128 hash = plain.of(std::as_bytes(std::span(boot)));
    store_le(&seed[0], hash.low);
    store_le(&seed[8], hash.high);
    std::ranges::copy(source.bytes, seed.begin() + 16);
    return seed;
}

std::string text_of(const Hash128& name) {
    return std::to_string(name.high) + "-" + std::to_string(name.low);
}

}  // namespace

std::optional<StandingKey> StandingKey::of_this_host(const Uuid& source) {
    std::ifstream file(kBootName);
    std::string boot;
    if (!std::getline(file, boot) || boot.empty()) return std::nullopt;
    return StandingKey(boot, source);
}

StandingKey::StandingKey(const std::string& boot, const Uuid& source)
    : hasher_(seed_of(boot, source)), host_(name("host")) {}

Hash128 StandingKey::name(const std::string& element) const {
    return hasher_.of(std::as_bytes(std::span(element)));
}

Standing StandingKey::hide(const Footing& footing) const {
    Standing standing{.host = host_, .complete = footing.complete};
    for (std::size_t i = 0; i < footing.elements.size(); ++i) {
        const Footing::Place& place = footing.places[i];
        standing.elements.push_back({.name = name(footing.elements[i]),
                                     .start_bytes = place.start_bytes,
                                     .end_bytes = place.end_bytes,
                                     .above = static_cast<std::uint32_t>(place.above),
                                     .dealt_out = place.dealt_out});
    }
    return standing;
}

Footing StandingKey::hidden(Footing footing) const {
    for (std::string& element : footing.elements)
        element = text_of(name(element));
    return footing;
}

Status check_standing(const Standing& standing) {
    for (std::size_t i = 0; i < standing.elements.size(); ++i) {
        const Standing::Element& element = standing.elements[i];
        const bool stands_on_itself = element.above == i && i == 0;
        if ((element.above < i || stands_on_itself) && element.start_bytes <= element.end_bytes)
            continue;
        return fail(Code::kProtocol, "the source stands on what cannot be");
    }
    return {};
}

Footing told_footing(const Standing& standing) {
    Footing footing;
    footing.complete = standing.complete;
    for (const Standing::Element& element : standing.elements) {
        footing.elements.push_back(text_of(element.name));
        footing.places.push_back({.start_bytes = element.start_bytes,
                                  .end_bytes = element.end_bytes,
                                  .above = element.above,
                                  .dealt_out = element.dealt_out});
    }
    return footing;
}

}  // namespace towline
