// SPDX-License-Identifier: Apache-2.0
// The peer is not trusted: a name is of the form that a sealed object's has or it is refused, what
// is put is bounded by the disk alone as with any target, and nobody shortens anybody's history.
// What is in the objects this side cannot read.

#include "userspace/vault/object_session.hpp"

#include <algorithm>

#include "userspace/vault/object_frame.hpp"

namespace towline {

using object_wire::What;
using vault_format::ObjectKind;

namespace {

constexpr std::size_t kHiddenBytesMax = 200;

std::unexpected<Error> not_of_its_form() {
    return fail(Code::kProtocol, "a request to the vault is not of its form");
}

std::unexpected<Error> refuse(const std::string& what) {
    return fail(Code::kRefused, what);
}

bool is_hidden(std::string_view name) {
    return !name.empty() && name.size() <= kHiddenBytesMax && std::ranges::all_of(name, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '2' && c <= '7');
    });
}

struct Parts {
    std::string top;
    std::string series;
    std::string rest;
};

Parts parts_of(const std::string& name) {
    const auto first = std::min(name.find('/'), name.size());
    const auto second = std::min(name.find('/', first + 1), name.size());
    return {name.substr(0, first),
            first == name.size() ? "" : name.substr(first + 1, second - first - 1),
            second == name.size() ? "" : name.substr(second + 1)};
}

std::optional<ObjectKind> kind_of(const std::string& top) {
    if (top == "log") return ObjectKind::kLogEntry;
    if (top == "index") return ObjectKind::kIndex;
    if (top == "segment") return ObjectKind::kSegment;
    return std::nullopt;
}

// Of an object that is sealed.
bool is_sealed_name(const std::string& name) {
    const Parts parts = parts_of(name);
    const auto kind = kind_of(parts.top);
    return kind && is_hidden(parts.series) && parse_object_name(*kind, parts.series, name);
}

bool is_readable(const std::string& name) {
    return is_sealed_name(name) || parse_object_name(ObjectKind::kConfig, "", name).has_value();
}

bool is_folder(const std::string& name) {
    if (name == "config/") return true;
    const Parts parts = parts_of(name);
    return kind_of(parts.top) && is_hidden(parts.series) &&
           name == parts.top + "/" + parts.series + "/";
}

// A writer holds its series, a reader an entry of its log.
bool may_hold(const std::string& name, HoldKind kind) {
    const Parts parts = parts_of(name);
    if (parts.top != "log" || !is_hidden(parts.series)) return false;
    if (kind == HoldKind::kExclusive) return name == "log/" + parts.series;
    return is_sealed_name(name);
}

std::vector<std::byte> number(std::uint32_t value) {
    return ByteWriter().put(value).take();
}

}  // namespace

Status ObjectSession::run() {
    for (;;) {
        const auto message = connection_.receive();
        if (!message && message.error().code == Code::kDisconnected) return {};
        if (!message) return std::unexpected(message.error());
        const auto answered = answer(*message);
        if (answered) {
            TRY_STATUS(connection_.send(What::kDone, answered->head, answered->body));
            continue;
        }
        TRY_STATUS(connection_.send(What::kFailed, object_wire::encode(answered.error())));
        if (answered.error().code == Code::kProtocol) return std::unexpected(answered.error());
    }
}

Result<ObjectSession::Answer> ObjectSession::answer(const object_wire::Message& message) {
    ByteReader head(message.head);
    if (message.what == What::kHello) return hello(head);
    if (!greeted_) return not_of_its_form();
    switch (message.what) {
        case What::kList:
            return list(object_wire::get_text(head));
        case What::kListFolders:
            return list_folders(object_wire::get_text(head));
        case What::kSize:
            return size(object_wire::get_text(head));
        case What::kGet:
            return get(object_wire::get_text(head), head);
        case What::kBeginPut:
            return begin_put(object_wire::get_text(head));
        case What::kWrite:
            return write(head, message.body);
        case What::kCommit:
            return commit(head);
        case What::kDrop:
            uploads_.erase(head.get<std::uint32_t>());
            return Answer{};
        case What::kRemove:
            return remove(message.body);
        case What::kHold:
            return hold(object_wire::get_text(head), head);
        case What::kRelease:
            holds_.erase(head.get<std::uint32_t>());
            return Answer{};
        case What::kDone:
        case What::kFailed:
        case What::kHello:
            break;
    }
    return not_of_its_form();
}

Result<ObjectSession::Answer> ObjectSession::hello(ByteReader& head) {
    const auto version = head.get<std::uint16_t>();
    if (head.bad()) return not_of_its_form();
    if (version != object_wire::kVersion) {
        return fail(Code::kUnsupported, "the vault's server speaks version " +
                                            std::to_string(object_wire::kVersion) +
                                            " of its objects' wire, and this side " +
                                            std::to_string(version) + "; upgrade the older one");
    }
    greeted_ = true;
    return Answer{};
}

Result<ObjectSession::Answer> ObjectSession::list(const std::string& folder) {
    if (!is_folder(folder)) return refuse("no folder of an encrypted vault: " + folder);
    ByteWriter body;
    for (const ObjectInfo& each : TRY(stored_->list(folder))) {
        object_wire::put_text(body, std::string_view(each.name).substr(folder.size()));
        body.put(each.bytes);
    }
    if (body.bytes().size() > object_wire::kBodyBytesMax)
        return fail(Code::kUnsupported, "the vault has more objects than can be listed; prune it");
    return Answer{.head = {}, .body = body.take()};
}

Result<ObjectSession::Answer> ObjectSession::list_folders(const std::string& folder) {
    const Parts parts = parts_of(folder);
    if (!kind_of(parts.top) || folder != parts.top + "/")
        return refuse("no folder of an encrypted vault: " + folder);
    ByteWriter body;
    for (const std::string& each : TRY(stored_->list_folders(folder)))
        if (is_hidden(each)) object_wire::put_text(body, each);
    return Answer{.head = {}, .body = body.take()};
}

Result<ObjectSession::Answer> ObjectSession::size(const std::string& name) {
    if (!is_readable(name)) return refuse("no object of an encrypted vault: " + name);
    const auto bytes = TRY(stored_->size(name));
    return Answer{.head = bytes ? ByteWriter().put(*bytes).take() : std::vector<std::byte>(),
                  .body = {}};
}

Result<ObjectSession::Answer> ObjectSession::get(const std::string& name, ByteReader& head) {
    const auto offset = head.get<std::uint64_t>();
    const auto length = head.get<std::uint32_t>();
    if (head.bad() || length > object_wire::kPieceBytes) return not_of_its_form();
    if (!is_readable(name)) return refuse("no object of an encrypted vault: " + name);
    Answer answer;
    answer.body.resize(length);
    const std::size_t got = TRY(stored_->get_range(name, offset, answer.body));
    answer.body.resize(got);
    return answer;
}

Result<ObjectSession::Answer> ObjectSession::begin_put(const std::string& name) {
    if (!is_sealed_name(name)) return refuse("no object of an encrypted vault: " + name);
    if (uploads_.size() == kUploadsMax) return refuse("too many objects are under way at once");
    auto upload = TRY(stored_->begin_put(name));
    const std::uint32_t id = next_id_++;
    uploads_[id] = {.name = name, .upload = std::move(upload)};
    return Answer{.head = number(id), .body = {}};
}

Result<ObjectSession::Answer> ObjectSession::write(ByteReader& head, ByteSpan body) {
    const auto found = uploads_.find(head.get<std::uint32_t>());
    const auto offset = head.get<std::uint64_t>();
    if (head.bad() || found == uploads_.end() || offset != found->second.written_bytes)
        return not_of_its_form();
    TRY_STATUS(found->second.upload->write(offset, body));
    found->second.written_bytes += body.size();
    return Answer{};
}

Result<ObjectSession::Answer> ObjectSession::commit(ByteReader& head) {
    const auto found = uploads_.find(head.get<std::uint32_t>());
    const auto length = head.get<std::uint64_t>();
    if (head.bad() || found == uploads_.end() || length != found->second.written_bytes)
        return not_of_its_form();
    const Upload upload = std::move(found->second);
    uploads_.erase(found);
    const bool first = TRY(upload.upload->commit(length));
    if (first) put_.insert(upload.name);
    return Answer{.head = {static_cast<std::byte>(first)}, .body = {}};
}

Result<ObjectSession::Answer> ObjectSession::remove(ByteSpan body) {
    ByteReader reader(body);
    std::vector<std::string> names;
    while (reader.rest_bytes() > 0 && !reader.bad())
        names.push_back(object_wire::get_text(reader));
    if (reader.bad()) return not_of_its_form();
    for (const std::string& each : names) {
        if (!put_.contains(each)) {
            return refuse(
                "a served vault gives nothing back on another host's word; prune it where it is "
                "(towline vault prune DIR)");
        }
    }
    TRY_STATUS(stored_->remove(names));
    return Answer{};
}

Result<ObjectSession::Answer> ObjectSession::hold(const std::string& name, ByteReader& head) {
    const HoldKind kind = head.get<std::uint8_t>() == 0 ? HoldKind::kShared : HoldKind::kExclusive;
    if (head.bad()) return not_of_its_form();
    if (!may_hold(name, kind)) return refuse("nothing that another host may hold: " + name);
    if (holds_.size() == kHoldsMax) return refuse("too much is held at once");
    auto held = TRY(stored_->hold(name, kind));
    const std::uint32_t id = next_id_++;
    holds_[id] = std::move(held);
    return Answer{.head = number(id), .body = {}};
}

}  // namespace towline
