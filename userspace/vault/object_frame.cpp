// SPDX-License-Identifier: Apache-2.0
// Nothing of an object is believed before its head says that it is this one, its trailer that it is
// whole, and the CRC of what is read that it is what was written. Lengths are bounded by the
// object's own before memory is spent on them.

#include "userspace/vault/object_frame.hpp"

#include <algorithm>
#include <charconv>

#include <nlohmann/json.hpp>

#include "io/check.hpp"
#include "io/checksum.hpp"

namespace towline {

namespace format = vault_format;
using format::ObjectKind;

namespace {

constexpr std::size_t kWriterDigits = 32;

std::string hex(std::uint64_t value, int digits) {
    char text[17];
    std::snprintf(text, sizeof text, "%0*llx", digits, static_cast<unsigned long long>(value));
    return text;
}

std::string hex(const Uuid& uuid) {
    std::string text = uuid.text();
    std::erase(text, '-');
    return text;
}

std::optional<std::uint64_t> parse_hex(std::string_view text) {
    std::uint64_t value = 0;
    const bool lower = std::ranges::none_of(text, [](char c) { return c >= 'A' && c <= 'F'; });
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
    if (!lower || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::optional<Uuid> parse_writer(std::string_view digits) {
    if (digits.size() != kWriterDigits) return std::nullopt;
    std::string text(digits);
    for (const std::size_t at : {8, 13, 18, 23})
        text.insert(at, "-");
    return Uuid::parse(text);
}

bool plain(char byte) {
    return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
           (byte >= '0' && byte <= '9') || byte == '_' || byte == '-' || byte == '.';
}

std::uint32_t crc_of_text(const std::string& text) {
    return crc32c(std::as_bytes(std::span(text)));
}

Status check_head(ByteSpan raw, const Uuid& vault, const ObjectId& id, const std::string& name) {
    ByteReader reader(raw);
    const auto magic = reader.get<std::uint64_t>();
    const auto kind = reader.get<std::uint16_t>();
    const auto version = reader.get<std::uint16_t>();
    const auto generation = reader.get<std::uint32_t>();
    Uuid its_vault;
    std::ranges::copy(reader.get_bytes(16), its_vault.bytes.begin());
    Uuid writer;
    std::ranges::copy(reader.get_bytes(16), writer.bytes.begin());
    const auto number = reader.get<std::uint64_t>();
    const auto name_crc = reader.get<std::uint32_t>();
    const auto crc = reader.get<std::uint32_t>();
    if (magic != format::kMagic) return object_damaged(name, "it is no object of a vault");
    if (crc != crc32c(raw.first(format::kHeadBytes - 4)))
        return object_damaged(name, "its head fails its check");
    if (version < format::kVersion) {
        return fail(Code::kUnsupported,
                    "the vault's object " + name +
                        " was made by a Towline from before the first release (version " +
                        std::to_string(version) +
                        "), which this one does not read; make a new vault: towline vault init");
    }
    if (version > format::kVersion) {
        return fail(Code::kUnsupported, "the vault's object " + name +
                                            " was made by a newer Towline (version " +
                                            std::to_string(version) + "); upgrade this one");
    }
    const std::uint32_t series_crc = id.series.empty() ? 0 : crc_of_text(id.series);
    if (kind != static_cast<std::uint16_t>(id.kind) || generation != id.generation ||
        writer != id.writer || number != id.number || name_crc != series_crc ||
        (!vault.is_nil() && its_vault != vault)) {
        return object_damaged(name, "another object is under its name");
    }
    return {};
}

struct Trailer {
    std::uint64_t table_offset = 0;
    std::uint64_t table_bytes = 0;
    std::uint32_t table_crc = 0;
};

Result<Trailer> check_trailer(ByteSpan raw, std::uint64_t object_bytes, const std::string& name) {
    ByteReader reader(raw);
    Trailer trailer;
    const auto length = reader.get<std::uint64_t>();
    trailer.table_offset = reader.get<std::uint64_t>();
    trailer.table_bytes = reader.get<std::uint64_t>();
    trailer.table_crc = reader.get<std::uint32_t>();
    const auto crc = reader.get<std::uint32_t>();
    if (crc != crc32c(raw.first(format::kTrailerBytes - 4)))
        return object_damaged(name, "its end fails its check; it was cut off or overwritten");
    const std::uint64_t room = object_bytes - format::kHeadBytes - format::kTrailerBytes;
    if (length != object_bytes || trailer.table_bytes > room ||
        trailer.table_offset != object_bytes - format::kTrailerBytes - trailer.table_bytes) {
        return object_damaged(name, "it has another length than it says");
    }
    return trailer;
}

}  // namespace

std::unexpected<Error> object_damaged(const std::string& object_name, const std::string& what) {
    return fail(Code::kCorrupt, "the vault's object " + object_name + " is damaged: " + what);
}

void put_block_number(ByteWriter& writer, std::uint64_t block) {
    CHECK(block < format::kBlockCountMax);
    writer.put(static_cast<std::uint32_t>(block)).put(static_cast<std::uint8_t>(block >> 32));
}

std::uint64_t get_block_number(ByteReader& reader) {
    const auto low = reader.get<std::uint32_t>();
    return low | std::uint64_t{reader.get<std::uint8_t>()} << 32;
}

// --- names --------------------------------------------------------------------------------------

std::string object_folder(ObjectKind kind, const std::string& series) {
    switch (kind) {
        case ObjectKind::kConfig:
            return "config/";
        case ObjectKind::kLogEntry:
            return "log/" + series + "/";
        case ObjectKind::kIndex:
            return "index/" + series + "/";
        case ObjectKind::kSegment:
            return "segment/" + series + "/";
    }
    return {};
}

std::string ObjectId::object_name() const {
    const std::string folder = object_folder(kind, series);
    switch (kind) {
        case ObjectKind::kConfig:
        case ObjectKind::kLogEntry:
            return folder + hex(number, 16);
        case ObjectKind::kIndex:
            return folder + hex(writer) + "-" + hex(number, 8);
        case ObjectKind::kSegment:
            return folder + hex(writer) + "-" + hex(number, 8) + "-" + hex(generation, 4);
    }
    return {};
}

std::optional<ObjectId> parse_object_name(ObjectKind kind, const std::string& series,
                                          const std::string& object_name) {
    const std::string folder = object_folder(kind, series);
    if (!object_name.starts_with(folder)) return std::nullopt;
    const std::string_view file = std::string_view(object_name).substr(folder.size());
    ObjectId id{.kind = kind, .series = series};
    std::optional<std::uint64_t> number;
    std::optional<std::uint64_t> generation = 0;
    if (kind == ObjectKind::kConfig || kind == ObjectKind::kLogEntry) {
        number = parse_hex(file);
    } else {
        const auto writer = parse_writer(file.substr(0, std::min(kWriterDigits, file.size())));
        const bool segment = kind == ObjectKind::kSegment;
        if (!writer || file.size() != kWriterDigits + (segment ? 14 : 9)) return std::nullopt;
        id.writer = *writer;
        number = parse_hex(file.substr(kWriterDigits + 1, 8));
        if (segment) generation = parse_hex(file.substr(kWriterDigits + 10, 4));
    }
    if (!number || !generation) return std::nullopt;
    id.number = *number;
    id.generation = static_cast<std::uint32_t>(*generation);
    // Only the one form of each: two names never mean one object.
    if (id.object_name() != object_name) return std::nullopt;
    return id;
}

Result<std::string> encode_series(const std::string& name) {
    std::string encoded;
    for (const char byte : name) {
        if (plain(byte) && !(byte == '.' && encoded.empty())) {
            encoded += byte;
            continue;
        }
        char text[4];
        std::snprintf(text, sizeof text, "%%%02X", static_cast<unsigned char>(byte));
        encoded += text;
    }
    if (encoded.empty() || encoded.size() > format::kNameBytesMax) {
        return fail(Code::kInvalid, "a name in a vault has 1 to " +
                                        std::to_string(format::kNameBytesMax) +
                                        " bytes, and three for each that is no letter, digit, _, - "
                                        "or . ; choose a shorter one");
    }
    return encoded;
}

std::string decode_series(const std::string& encoded) {
    const auto digit = [](char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    };
    std::string name;
    for (std::size_t at = 0; at < encoded.size(); ++at) {
        const bool escape = encoded[at] == '%' && at + 2 < encoded.size() &&
                            digit(encoded[at + 1]) >= 0 && digit(encoded[at + 2]) >= 0;
        if (!escape) {
            name += encoded[at];
            continue;
        }
        name += static_cast<char>(digit(encoded[at + 1]) * 16 + digit(encoded[at + 2]));
        at += 2;
    }
    return name;
}

// --- heads and tables ---------------------------------------------------------------------------

std::vector<std::byte> ObjectFrame::head() const {
    ByteWriter writer;
    writer.put(format::kMagic)
        .put(static_cast<std::uint16_t>(id_.kind))
        .put(format::kVersion)
        .put(id_.generation)
        .put_bytes(vault_.bytes)
        .put_bytes(id_.writer.bytes)
        .put(id_.number)
        .put(id_.series.empty() ? std::uint32_t{0} : crc_of_text(id_.series));
    writer.put(crc32c(writer.bytes()));
    return writer.take();
}

std::vector<std::byte> ObjectFrame::end(std::uint64_t contents_bytes, ByteSpan table) {
    const std::uint64_t table_offset = format::kHeadBytes + contents_bytes;
    ByteWriter trailer;
    trailer.put(table_offset + table.size() + format::kTrailerBytes)
        .put(table_offset)
        .put(static_cast<std::uint64_t>(table.size()))
        .put(crc32c(table));
    trailer.put(crc32c(trailer.bytes()));
    ByteWriter writer;
    writer.put_bytes(table).put_bytes(trailer.bytes());
    return writer.take();
}

Status read_exactly(ObjectStore& store, const std::string& object_name, std::uint64_t offset_bytes,
                    MutableByteSpan into) {
    const std::size_t got = TRY(store.get_range(object_name, offset_bytes, into));
    if (got != into.size()) return object_damaged(object_name, "it is shorter than it should be");
    return {};
}

Result<ObjectTable> read_table(ObjectStore& store, const Uuid& vault, const ObjectId& id,
                               std::uint64_t table_bytes_max) {
    const std::string name = id.object_name();
    const auto size = TRY(store.size(name));
    if (!size) return fail_errno(ENOENT, "the vault's object " + name + " is not there");
    if (*size < format::kHeadBytes + format::kTrailerBytes)
        return object_damaged(name, "it is shorter than an object is");
    std::vector<std::byte> head(format::kHeadBytes);
    TRY_STATUS(read_exactly(store, name, 0, head));
    TRY_STATUS(check_head(head, vault, id, name));
    std::vector<std::byte> end(format::kTrailerBytes);
    TRY_STATUS(read_exactly(store, name, *size - end.size(), end));
    const Trailer trailer = TRY(check_trailer(end, *size, name));
    if (trailer.table_bytes > table_bytes_max)
        return object_damaged(name, "its table is longer than it may be");
    ObjectTable table{.object_bytes = *size, .contents_end = trailer.table_offset};
    table.table.resize(trailer.table_bytes);
    TRY_STATUS(read_exactly(store, name, trailer.table_offset, table.table));
    if (crc32c(table.table) != trailer.table_crc)
        return object_damaged(name, "its table fails its check");
    return table;
}

// --- documents ----------------------------------------------------------------------------------

Result<bool> put_document(ObjectStore& store, const Uuid& vault, const ObjectId& id,
                          const nlohmann::json& document) {
    std::string text;
    try {
        text = document.dump(1) + "\n";
    } catch (const nlohmann::json::exception&) {
        return fail(Code::kInvalid, "a text for the vault is not UTF-8");
    }
    std::vector<std::byte> object = ObjectFrame(vault, id).head();
    const auto end = ObjectFrame::end(0, std::as_bytes(std::span(text)));
    object.insert(object.end(), end.begin(), end.end());
    return store.put_if_absent(id.object_name(), object);
}

Result<nlohmann::json> get_document(ObjectStore& store, const Uuid& vault, const ObjectId& id) {
    const ObjectTable read = TRY(read_table(store, vault, id, format::kDocumentBytesMax));
    if (read.contents_end != format::kHeadBytes)
        return object_damaged(id.object_name(), "it has contents, and should have none");
    const std::string_view text(reinterpret_cast<const char*>(read.table.data()),
                                read.table.size());
    nlohmann::json document = nlohmann::json::parse(text, nullptr, false);
    if (!document.is_object()) return object_damaged(id.object_name(), "it is no JSON object");
    return document;
}

}  // namespace towline
