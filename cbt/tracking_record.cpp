// SPDX-License-Identifier: Apache-2.0
// The record of a tracked image, and what may be concluded from it. The rule is to err towards not
// knowing: that costs a comparison, the other way costs data.

#include "cbt/tracking_record.hpp"

#include <utility>

#include <nlohmann/json.hpp>

#include "cbt/change_map_format.hpp"

namespace towline {

namespace {

constexpr unsigned kFormat = 1;
// How much later than the daemon's last sign of life an image may have been written to: the sign is
// given every few seconds, and neither time need have reached the disk when the power went.
constexpr std::int64_t kAliveSlackNs = 60'000'000'000;

std::string hexadecimal(ByteSpan bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    text.reserve(bytes.size() * 2);
    for (const std::byte byte : bytes) {
        text.push_back(kDigits[std::to_integer<unsigned>(byte) >> 4]);
        text.push_back(kDigits[std::to_integer<unsigned>(byte) & 15]);
    }
    return text;
}

int digit_of(char letter) {
    if (letter >= '0' && letter <= '9') return letter - '0';
    if (letter >= 'a' && letter <= 'f') return letter - 'a' + 10;
    return -1;
}

std::optional<std::vector<std::byte>> bytes_of(std::string_view text) {
    if (text.size() % 2 != 0) return std::nullopt;
    std::vector<std::byte> bytes;
    bytes.reserve(text.size() / 2);
    for (std::size_t i = 0; i < text.size(); i += 2) {
        const int high = digit_of(text[i]);
        const int low = digit_of(text[i + 1]);
        if (high < 0 || low < 0) return std::nullopt;
        bytes.push_back(static_cast<std::byte>(high * 16 + low));
    }
    return bytes;
}

std::unexpected<Error> damaged(const char* what) {
    return fail(Code::kCorrupt, std::string("the intent log is damaged: ") + what);
}

ChangeReasons reasons_of(std::uint32_t bits) {
    ChangeReasons reasons;
    for (const ChangeReason reason :
         {ChangeReason::kFirst, ChangeReason::kMerged, ChangeReason::kGrew, ChangeReason::kShrank,
          ChangeReason::kCrash, ChangeReason::kGap, ChangeReason::kForeign}) {
        if ((bits & std::to_underlying(reason)) != 0) reasons.add(reason);
    }
    return reasons;
}

// Throws what nlohmann throws where a field is missing or of another type.
Result<TrackingRecord> read_fields(const nlohmann::json& document) {
    if (document.at("format").get<unsigned>() != kFormat) return damaged("of an unknown format");
    TrackingRecord record;
    const auto tracker = Uuid::parse(document.at("tracker").get<std::string>());
    if (!tracker || tracker->is_nil()) return damaged("the tracker's uuid");
    record.tracker = *tracker;
    record.clean = document.at("clean").get<bool>();
    record.sequence = document.at("sequence").get<std::uint64_t>();
    record.committed = document.at("committed").get<std::uint64_t>();
    record.frozen = document.at("frozen").get<bool>();
    const auto trust = document.at("trust").get<unsigned>();
    if (trust < 1 || trust > 3) return damaged("trust");
    record.trust = static_cast<Trust>(trust);
    record.reasons = reasons_of(document.at("reasons").get<std::uint32_t>());
    record.block_bytes = document.at("block_bytes").get<std::uint32_t>();
    record.volume_bytes = document.at("volume_bytes").get<std::uint64_t>();
    record.resize_bytes = document.at("resize_bytes").get<std::uint64_t>();
    const auto hot = bytes_of(document.at("hot").get<std::string>());
    if (!hot) return damaged("the hot regions");
    record.hot = TRY(ChangeMap::load(*hot));
    const auto& identity = document.at("identity");
    record.identity = {identity.at("kind").get<std::string>(),
                       identity.at("locator").get<std::string>(),
                       identity.at("generation").get<std::string>()};
    record.sealed = document.at("sealed").get<bool>();
    record.modified_ns = document.at("modified_ns").get<std::int64_t>();
    record.maps_digest = document.at("maps_digest").get<std::uint64_t>();
    if (!change_map_format::geometry_allowed(record.volume_bytes, record.block_bytes) ||
        record.sequence == 0 || record.committed >= record.sequence)
        return damaged("its numbers do not fit each other");
    return record;
}

}  // namespace

nlohmann::json json_of(const TrackingRecord& record) {
    // Reasons are kept as bits: their numbers are fixed (cbt/change_set.hpp).
    std::uint32_t reasons = 0;
    for (std::uint32_t bit = 1; bit != 0; bit <<= 1) {
        if (record.reasons.has(static_cast<ChangeReason>(bit))) reasons |= bit;
    }
    return {{"format", kFormat},
            {"tracker", record.tracker.text()},
            {"clean", record.clean},
            {"sequence", record.sequence},
            {"committed", record.committed},
            {"frozen", record.frozen},
            {"trust", std::to_underlying(record.trust)},
            {"reasons", reasons},
            {"block_bytes", record.block_bytes},
            {"volume_bytes", record.volume_bytes},
            {"resize_bytes", record.resize_bytes},
            {"hot", hexadecimal(record.hot.save())},
            {"identity",
             {{"kind", record.identity.kind},
              {"locator", record.identity.locator},
              {"generation", record.identity.generation}}},
            {"sealed", record.sealed},
            {"modified_ns", record.modified_ns},
            {"maps_digest", record.maps_digest}};
}

Result<TrackingRecord> record_of(const nlohmann::json& document) {
    try {
        return read_fields(document);
    } catch (const nlohmann::json::exception&) {
        return damaged("a field is missing or of another type");
    }
}

std::string_view resume_text(Resume resume) {
    switch (resume) {
        case Resume::kFirst:
            return "tracked for the first time";
        case Resume::kExact:
            return "the maps were saved";
        case Resume::kSuperset:
            return "tracking was cut off; the hot regions are marked whole";
        case Resume::kForeign:
            return "the image was written to while nothing tracked it";
        case Resume::kReplaced:
            return "another image, or one of another size, is in its place";
        case Resume::kVoid:
            return "the intent log could not be written while the image was";
        case Resume::kDamaged:
            break;
    }
    return "the intent log is damaged";
}

Resume decide_resume(const TrackingRecord& record, const ImageFacts& facts) {
    if (!record.identity.same_volume(facts.identity)) return Resume::kReplaced;
    // Whoever could not write the log took the seal off the image.
    if (record.sealed && (!facts.can_seal || facts.seal != record.tracker)) return Resume::kVoid;
    if (record.clean) {
        if (record.volume_bytes != facts.volume_bytes) return Resume::kReplaced;
        if (record.modified_ns != facts.modified_ns) return Resume::kForeign;
        return facts.maps_good ? Resume::kExact : Resume::kSuperset;
    }
    if (facts.volume_bytes != record.volume_bytes && facts.volume_bytes != record.resize_bytes)
        return Resume::kReplaced;
    if (facts.modified_ns > facts.alive_ns + kAliveSlackNs) return Resume::kForeign;
    return Resume::kSuperset;
}

}  // namespace towline
