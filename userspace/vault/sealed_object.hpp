// SPDX-License-Identifier: Apache-2.0
#pragma once

// An object as it is stored in an encrypted vault: a head in clear, then the plain object in
// chunks, each sealed by itself, so that any range can be read and none is read unchecked.

#include <optional>
#include <string>
#include <vector>

#include "io/uuid.hpp"
#include "userspace/vault/object_store.hpp"
#include "userspace/vault/sealed_format.hpp"
#include "userspace/vault/vault_crypto.hpp"

namespace towline {

struct SealedHead {
    Uuid vault;
    std::array<std::byte, sealed_format::kSaltBytes> salt{};

    // `stored_name`: as the object is called in its store.
    std::array<std::byte, sealed_format::kHeadBytes> encode(const std::string& stored_name) const;
    static Result<SealedHead> decode(ByteSpan raw, const Uuid& vault,
                                     const std::string& stored_name);
};

// How long the plain object is; nothing when no sealed one has this length.
std::optional<std::uint64_t> plain_bytes_of(std::uint64_t stored_bytes);

// One object's chunks. A key is of one object and one attempt to write it: chunk n is sealed at
// most once under it.
class SealedChunks {
  public:
    // A new object: its salt is drawn.
    static SealedChunks draw(const Secret& vault_key, const Uuid& vault,
                             const std::string& stored_name);
    static Result<SealedChunks> of_stored(const Secret& vault_key, const Uuid& vault,
                                          const std::string& stored_name, ByteSpan head);

    ByteSpan head() const { return head_; }
    const std::string& name() const { return name_; }
    // `stored` is longer than `plain` by kChunkEndBytes. Safe from several threads.
    void seal(std::uint64_t index, bool last, ByteSpan plain, MutableByteSpan stored) const;
    // kCorrupt, and nothing in `plain`, when it is not what was sealed as this chunk.
    Status open(std::uint64_t index, bool last, ByteSpan stored, MutableByteSpan plain) const;

  private:
    SealedChunks(const Secret& vault_key, const SealedHead& head, std::string stored_name);

    Secret key_;
    std::array<std::byte, sealed_format::kHeadBytes> head_;
    std::string name_;
};

// What can be known without the key: that every stored byte is the one that was stored.
Status check_sealed_object(ObjectStore& stored, const Uuid& vault, const std::string& stored_name);

}  // namespace towline
