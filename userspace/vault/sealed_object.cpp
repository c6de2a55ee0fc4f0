// SPDX-License-Identifier: Apache-2.0
// The object's key is derived from a salt that is drawn for each attempt to write it, and from the
// object's name: no nonce comes twice, whatever a crash or a second writer leaves behind, and what
// was sealed as one object opens as no other. The chunk's number and whether it is the last one are
// in the nonce: chunks can be neither moved nor cut off.

#include "userspace/vault/sealed_object.hpp"

#include <algorithm>

#include "io/checksum.hpp"
#include "userspace/vault/object_frame.hpp"

namespace towline {

namespace format = sealed_format;

namespace {

constexpr std::string_view kPurpose = "towline vault object 1";
constexpr std::size_t kChunksAtOnce = 64;

std::uint32_t crc_of_name(const std::string& name) {
    return crc32c(std::as_bytes(std::span(name)));
}

Nonce nonce_of(std::uint64_t index, bool last) {
    Nonce nonce{};
    store_le(nonce.data(), index);
    nonce.back() = static_cast<std::byte>(last);
    return nonce;
}

Secret derive_key(const Secret& vault_key, const SealedHead& head, const std::string& name) {
    ByteWriter info;
    info.put_bytes(std::as_bytes(std::span(kPurpose))).put_bytes(head.vault.bytes);
    info.put_bytes(std::as_bytes(std::span(name)));
    return hkdf_sha256(vault_key.bytes(), head.salt, info.bytes(), kKeyBytes);
}

Status check_crc(ByteSpan stored, const std::string& name) {
    const ByteSpan sealed = stored.first(stored.size() - 4);
    if (crc32c(sealed) == load_le<std::uint32_t>(stored.last(4).data())) return {};
    return object_damaged(name, "a chunk fails its check");
}

}  // namespace

std::array<std::byte, format::kHeadBytes> SealedHead::encode(const std::string& stored_name) const {
    ByteWriter writer;
    writer.put(format::kMagic)
        .put(format::kVersion)
        .put(static_cast<std::uint16_t>(format::kChunkLog2))
        .put(std::uint32_t{0})
        .put_bytes(vault.bytes)
        .put_bytes(salt)
        .put(crc_of_name(stored_name));
    writer.put(crc32c(writer.bytes()));
    std::array<std::byte, format::kHeadBytes> raw{};
    std::ranges::copy(writer.bytes(), raw.begin());
    return raw;
}

Result<SealedHead> SealedHead::decode(ByteSpan raw, const Uuid& vault,
                                      const std::string& stored_name) {
    ByteReader reader(raw);
    SealedHead head;
    const auto magic = reader.get<std::uint64_t>();
    const auto version = reader.get<std::uint16_t>();
    const auto chunk_log2 = reader.get<std::uint16_t>();
    const auto zero = reader.get<std::uint32_t>();
    std::ranges::copy(reader.get_bytes(16), head.vault.bytes.begin());
    std::ranges::copy(reader.get_bytes(format::kSaltBytes), head.salt.begin());
    const auto name_crc = reader.get<std::uint32_t>();
    const auto crc = reader.get<std::uint32_t>();
    if (reader.bad() || magic != format::kMagic)
        return object_damaged(stored_name, "it is no sealed object of a vault");
    if (crc != crc32c(raw.first(format::kHeadBytes - 4)))
        return object_damaged(stored_name, "its head fails its check");
    if (version > format::kVersion) {
        return fail(Code::kUnsupported, "the vault's object " + stored_name +
                                            " was sealed by a newer Towline (version " +
                                            std::to_string(version) + "); upgrade this one");
    }
    if (version == 0 || chunk_log2 != format::kChunkLog2 || zero != 0 || head.vault != vault ||
        name_crc != crc_of_name(stored_name))
        return object_damaged(stored_name, "another object is under its name");
    return head;
}

std::optional<std::uint64_t> plain_bytes_of(std::uint64_t stored_bytes) {
    if (stored_bytes < format::kHeadBytes) return std::nullopt;
    const std::uint64_t body = stored_bytes - format::kHeadBytes;
    const std::uint64_t rest = body % format::kStrideBytes;
    if (body == 0 || (rest != 0 && rest <= format::kChunkEndBytes)) return std::nullopt;
    return body / format::kStrideBytes * format::kChunkBytes +
           (rest == 0 ? 0 : rest - format::kChunkEndBytes);
}

// --- chunks -------------------------------------------------------------------------------------

SealedChunks::SealedChunks(const Secret& vault_key, const SealedHead& head, std::string stored_name)
    : key_(derive_key(vault_key, head, stored_name)),
      head_(head.encode(stored_name)),
      name_(std::move(stored_name)) {}

SealedChunks SealedChunks::draw(const Secret& vault_key, const Uuid& vault,
                                const std::string& stored_name) {
    SealedHead head{.vault = vault};
    fill_random(head.salt);
    return {vault_key, head, stored_name};
}

Result<SealedChunks> SealedChunks::of_stored(const Secret& vault_key, const Uuid& vault,
                                             const std::string& stored_name, ByteSpan head) {
    return SealedChunks(vault_key, TRY(SealedHead::decode(head, vault, stored_name)), stored_name);
}

void SealedChunks::seal(std::uint64_t index, bool last, ByteSpan plain,
                        MutableByteSpan stored) const {
    const MutableByteSpan sealed = stored.first(plain.size() + kTagBytes);
    AesGcm(key_.bytes()).seal(nonce_of(index, last), head_, plain, sealed);
    store_le(stored.last(4).data(), crc32c(sealed));
}

Status SealedChunks::open(std::uint64_t index, bool last, ByteSpan stored,
                          MutableByteSpan plain) const {
    Status intact = check_crc(stored, name_);
    const bool opened =
        intact && AesGcm(key_.bytes())
                      .open(nonce_of(index, last), head_, stored.first(stored.size() - 4), plain);
    if (opened) return {};
    std::ranges::fill(plain, std::byte{0});
    if (!intact) return intact;
    return object_damaged(name_,
                          "a chunk is not what was sealed there; it was damaged before it was "
                          "stored, or replaced by somebody without the key");
}

// --- without the key ----------------------------------------------------------------------------

Status check_sealed_object(ObjectStore& stored, const Uuid& vault, const std::string& stored_name) {
    const auto size = TRY(stored.size(stored_name));
    if (!size) return fail_errno(ENOENT, "the vault's object " + stored_name + " is not there");
    if (!plain_bytes_of(*size))
        return object_damaged(stored_name, "it has a length that no sealed object has");
    stored.forget(stored_name);
    std::array<std::byte, format::kHeadBytes> head{};
    TRY_STATUS(read_exactly(stored, stored_name, 0, head));
    TRY_STATUS(SealedHead::decode(head, vault, stored_name));
    std::vector<std::byte> piece;
    for (std::uint64_t at = format::kHeadBytes; at < *size; at += piece.size()) {
        piece.resize(std::min<std::uint64_t>(kChunksAtOnce * format::kStrideBytes, *size - at));
        TRY_STATUS(read_exactly(stored, stored_name, at, piece));
        for (std::size_t from = 0; from < piece.size(); from += format::kStrideBytes) {
            const std::size_t length = std::min(format::kStrideBytes, piece.size() - from);
            TRY_STATUS(check_crc(ByteSpan(piece).subspan(from, length), stored_name));
        }
    }
    return {};
}

}  // namespace towline
