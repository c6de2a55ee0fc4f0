// SPDX-License-Identifier: Apache-2.0
// What a keeper without the key can give: an object of an encrypted vault, and the wraps of its
// config. Nothing that was not sealed under the key is handed out.

#include <algorithm>
#include <cstdlib>

#include <nlohmann/json.hpp>

#include "io/checksum.hpp"
#include "userspace/vault/key_wrap.hpp"
#include "userspace/vault/sealed_object.hpp"

namespace {

using namespace towline;

void look_at_wraps(std::string_view text) {
    const auto json = nlohmann::json::parse(text, nullptr, false);
    if (!json.is_object()) return;
    const auto encryption = encryption_from_json(json, "a config");
    if (!encryption) return;
    const auto again = encryption_from_json(to_json(*encryption), "the same config");
    if (!again || *again != *encryption) std::abort();
}

void look_at_object(ByteSpan raw) {
    const auto plain_bytes = plain_bytes_of(raw.size());
    if (!plain_bytes) return;
    const std::string name = "segment/name/object";
    // Checks that need no key are put right: what is behind them is to be seen.
    std::vector<std::byte> stored(raw.begin(), raw.end());
    const Secret key(kKeyBytes);
    SealedHead head;
    std::ranges::copy(ByteSpan(stored).subspan(32, head.salt.size()), head.salt.begin());
    std::ranges::copy(head.encode(name), stored.begin());
    const auto chunks = SealedChunks::of_stored(key, head.vault, name,
                                                ByteSpan(stored).first(sealed_format::kHeadBytes));
    if (!chunks) std::abort();
    const auto body = MutableByteSpan(stored).subspan(sealed_format::kHeadBytes);
    for (std::size_t at = 0; at < body.size(); at += sealed_format::kStrideBytes) {
        const auto its = body.subspan(at, std::min(sealed_format::kStrideBytes, body.size() - at));
        store_le(its.last(4).data(), crc32c(its.first(its.size() - 4)));
        std::vector<std::byte> plain(its.size() - sealed_format::kChunkEndBytes);
        const bool last = at + its.size() == body.size();
        if (chunks->open(at / sealed_format::kStrideBytes, last, its, plain)) std::abort();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const ByteSpan raw = std::as_bytes(std::span(data, size));
    static_cast<void>(SealedHead::decode(raw.first(std::min(size, sealed_format::kHeadBytes)),
                                         Uuid{}, "segment/name/object"));
    look_at_wraps({reinterpret_cast<const char*>(data), size});
    look_at_object(raw);
    return 0;
}
