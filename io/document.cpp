// SPDX-License-Identifier: Apache-2.0
// A line that names the form, then the JSON text. What the bytes are is the slot file's to vouch
// for.

#include "io/document.hpp"

#include <charconv>

#include <nlohmann/json.hpp>

#include "io/check.hpp"
#include "io/slot_file.hpp"

namespace towline {

namespace {

constexpr std::size_t kBytesMax = 64U << 20;
constexpr std::string_view kMagic = "towline-document ";
constexpr unsigned kForm = 1;

std::unexpected<Error> damaged(const std::filesystem::path& path, const char* what) {
    return fail(Code::kCorrupt, path.string() + " is damaged: " + what);
}

Result<std::string> text_of(const std::filesystem::path& path, const nlohmann::json& document) {
    try {
        return std::string(kMagic) + std::to_string(kForm) + "\n" + document.dump(2) + "\n";
    } catch (const nlohmann::json::exception&) {
        return fail(Code::kInvalid,
                    "cannot write " + path.string() + ": a text in it is not UTF-8");
    }
}

Result<nlohmann::json> parse(const std::filesystem::path& path, std::string_view text) {
    const std::size_t line_end = text.find('\n');
    if (!text.starts_with(kMagic) || line_end == std::string_view::npos) {
        return damaged(path, "not a document of Towline's");
    }
    unsigned form = 0;
    std::from_chars(text.data() + kMagic.size(), text.data() + line_end, form);
    if (form > kForm) {
        return fail(Code::kUnsupported, path.string() + " was made by a newer Towline (form " +
                                            std::to_string(form) + ")");
    }
    nlohmann::json document = nlohmann::json::parse(text.substr(line_end), nullptr, false);
    if (form == 0 || document.is_discarded()) return damaged(path, "it is not JSON");
    return document;
}

}  // namespace

Status save_document(const std::filesystem::path& path, const nlohmann::json& document) {
    const std::string text = TRY(text_of(path, document));
    CHECK(text.size() <= kBytesMax);
    return write_slots(path, std::as_bytes(std::span(text)));
}

Result<std::optional<nlohmann::json>> load_document(const std::filesystem::path& path) {
    const auto contents = TRY(read_slots(path, kBytesMax));
    if (!contents) return std::optional<nlohmann::json>();
    const std::string_view text(reinterpret_cast<const char*>(contents->data()), contents->size());
    return std::optional(TRY(parse(path, text)));
}

}  // namespace towline
