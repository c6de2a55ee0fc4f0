// SPDX-License-Identifier: Apache-2.0
#pragma once

// What every object of a vault has around its contents: a head that says what it is, a table, and a
// trailer that says how long it is.

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "io/uuid.hpp"
#include "userspace/vault/object_store.hpp"
#include "userspace/vault/vault_format.hpp"

namespace towline {

// Who an object is: decides its name, and stands in its head.
struct ObjectId {
    vault_format::ObjectKind kind{};
    std::string series;  // the name of the volumes, encoded; empty for the config
    Uuid writer;         // indexes and segments
    std::uint64_t number = 0;
    std::uint32_t generation = 0;

    std::string object_name() const;
    bool operator==(const ObjectId&) const = default;
};

// The folder of a kind's objects.
std::string object_folder(vault_format::ObjectKind kind, const std::string& series);
// What an object of this folder says that it is; nothing when its name is not of the form.
std::optional<ObjectId> parse_object_name(vault_format::ObjectKind kind, const std::string& series,
                                          const std::string& object_name);

// The name that a user gives, as it stands in object names: kInvalid when it cannot be one.
Result<std::string> encode_series(const std::string& name);
std::string decode_series(const std::string& encoded);

class ObjectFrame {
  public:
    ObjectFrame(const Uuid& vault, ObjectId id) : vault_(vault), id_(std::move(id)) {}

    std::vector<std::byte> head() const;
    // The table and what follows it, for contents of this length (the head not counted).
    static std::vector<std::byte> end(std::uint64_t contents_bytes, ByteSpan table);

  private:
    Uuid vault_;
    ObjectId id_;
};

// The end of an object that was read: its table, and where the contents end.
struct ObjectTable {
    std::uint64_t object_bytes = 0;
    std::uint64_t contents_end = 0;  // an offset in the object; contents begin behind the head
    std::vector<std::byte> table;
};

// Reads and checks head, trailer and table. `vault` nil: any vault's (the config says which). A
// table longer than `table_bytes_max` is kCorrupt. Errors name the object.
Result<ObjectTable> read_table(ObjectStore& store, const Uuid& vault, const ObjectId& id,
                               std::uint64_t table_bytes_max);

// Objects that are a table alone.
Result<bool> put_document(ObjectStore& store, const Uuid& vault, const ObjectId& id,
                          const nlohmann::json& document);
Result<nlohmann::json> get_document(ObjectStore& store, const Uuid& vault, const ObjectId& id);

// The number of a block, as tables and indexes have it.
void put_block_number(ByteWriter& writer, std::uint64_t block);
std::uint64_t get_block_number(ByteReader& reader);

// Exactly so many bytes, or kCorrupt that names the object.
Status read_exactly(ObjectStore& store, const std::string& object_name, std::uint64_t offset_bytes,
                    MutableByteSpan into);

std::unexpected<Error> object_damaged(const std::string& object_name, const std::string& what);

}  // namespace towline
