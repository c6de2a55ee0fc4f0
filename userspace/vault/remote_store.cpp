// SPDX-License-Identifier: Apache-2.0
// What is asked is small, what is answered may be large, and an answer takes as long as the link:
// so objects that are small are fetched whole and once, and many of them at a time where it is
// known which will be read. What they were is checked by who reads them, here as anywhere.

#include "userspace/vault/remote_store.hpp"

#include <algorithm>

#include "transport/socket.hpp"
#include "userspace/vault/object_frame.hpp"

namespace towline {

using object_wire::Message;
using object_wire::What;

namespace {

constexpr Duration kConnectTime = 15s;
constexpr std::string_view kLogs = "log/";
constexpr std::size_t kSmallBytes = std::size_t{64} << 10;

ByteWriter named(const std::string& name) {
    ByteWriter head;
    object_wire::put_text(head, name);
    return head;
}

ByteWriter numbered(std::uint32_t id) {
    ByteWriter head;
    head.put(id);
    return head;
}

ByteWriter range_of(const std::string& name, std::uint64_t offset_bytes, std::size_t length_bytes) {
    ByteWriter head = named(name);
    head.put(offset_bytes).put(static_cast<std::uint32_t>(length_bytes));
    return head;
}

std::uint64_t last_number_of(const std::string& log, const std::vector<ObjectInfo>& objects) {
    std::uint64_t last = 0;
    for (const ObjectInfo& each : objects) {
        const auto id = parse_object_name(vault_format::ObjectKind::kLogEntry, log, each.name);
        if (id) last = std::max(last, id->number);
    }
    return last;
}

std::unexpected<Error> not_of_its_form() {
    return fail(Code::kProtocol, "an answer of the vault's server is not of its form");
}

}  // namespace

class RemoteUpload final : public ObjectUpload {
  public:
    RemoteUpload(std::shared_ptr<ObjectLink> link, std::uint32_t id)
        : link_(std::move(link)), id_(id) {}
    ~RemoteUpload() override {
        if (id_ != 0) static_cast<void>(link_->ask(What::kDrop, numbered(id_)));
    }

    Status write(std::uint64_t offset_bytes, ByteSpan bytes) override {
        while (!bytes.empty()) {
            const auto some = bytes.first(std::min(bytes.size(), object_wire::kPieceBytes));
            ByteWriter head;
            head.put(id_).put(offset_bytes);
            TRY_STATUS(link_->ask(What::kWrite, head, some));
            offset_bytes += some.size();
            bytes = bytes.subspan(some.size());
        }
        return {};
    }
    Result<bool> commit(std::uint64_t length_bytes) override {
        ByteWriter head;
        head.put(std::exchange(id_, 0)).put(length_bytes);
        const Message answer = TRY(link_->ask(What::kCommit, head));
        if (answer.head.size() != 1) return not_of_its_form();
        return answer.head.front() == std::byte{1};
    }

  private:
    std::shared_ptr<ObjectLink> link_;
    std::uint32_t id_;
};

class RemoteHold final : public ObjectHold {
  public:
    RemoteHold(std::shared_ptr<ObjectLink> link, std::uint32_t number)
        : link_(std::move(link)), number_(number) {}
    ~RemoteHold() override { link_->release(number_); }

  private:
    std::shared_ptr<ObjectLink> link_;
    std::uint32_t number_;
};

Result<std::unique_ptr<ObjectStore>> RemoteStore::connect(const Address& address,
                                                          const std::filesystem::path& records) {
    auto link = TRY(ObjectLink::open([address] { return connect_to(address, kConnectTime); }));
    return std::unique_ptr<ObjectStore>(new RemoteStore(std::move(link), records));
}

Result<std::unique_ptr<ObjectStore>> RemoteStore::over(Fd socket,
                                                       const std::filesystem::path& records) {
    auto link = TRY(ObjectLink::over(std::move(socket)));
    return std::unique_ptr<ObjectStore>(new RemoteStore(std::move(link), records));
}

Result<std::unique_ptr<ObjectUpload>> RemoteStore::begin_put(const std::string& name) {
    const Message answer = TRY(link_->ask(What::kBeginPut, named(name)));
    if (answer.head.size() != 4) return not_of_its_form();
    return std::make_unique<RemoteUpload>(link_, load_le<std::uint32_t>(answer.head.data()));
}

Result<std::size_t> RemoteStore::get_range(const std::string& name, std::uint64_t offset_bytes,
                                           MutableByteSpan into) {
    if (const auto whole = small_.find(name)) {
        const std::size_t from = std::min<std::uint64_t>(offset_bytes, whole->size());
        const std::size_t some = std::min(into.size(), whole->size() - from);
        std::copy_n(whole->begin() + static_cast<std::ptrdiff_t>(from), some, into.begin());
        return some;
    }
    std::size_t done = 0;
    while (done < into.size()) {
        const std::size_t some = std::min(into.size() - done, object_wire::kPieceBytes);
        const Message answer =
            TRY(link_->ask(What::kGet, range_of(name, offset_bytes + done, some)));
        if (answer.body.size() > some) return not_of_its_form();
        std::ranges::copy(answer.body, into.begin() + static_cast<std::ptrdiff_t>(done));
        done += answer.body.size();
        if (answer.body.size() < some) break;
    }
    return done;
}

// Whoever asks for a size reads the object then.
Result<std::optional<std::uint64_t>> RemoteStore::size(const std::string& name) {
    if (const auto whole = small_.find(name)) return std::optional<std::uint64_t>(whole->size());
    const Message answer = TRY(link_->ask(What::kSize, named(name)));
    if (answer.head.empty()) return std::optional<std::uint64_t>();
    if (answer.head.size() != 8) return not_of_its_form();
    const auto bytes = load_le<std::uint64_t>(answer.head.data());
    if (bytes <= kSmallBytes) {
        Message object = TRY(link_->ask(What::kGet, range_of(name, 0, kSmallBytes)));
        if (object.body.size() == bytes) small_.keep(name, std::move(object.body));
    }
    return std::optional(bytes);
}

// What comes shorter than it was asked for is whole. What does not come is asked for when it is
// read.
void RemoteStore::expect(std::span<const std::string> names) {
    std::vector<std::string> wanted;
    std::vector<ByteWriter> heads;
    for (const std::string& each : names) {
        if (small_.find(each)) continue;
        wanted.push_back(each);
        heads.push_back(range_of(each, 0, kSmallBytes));
    }
    static_cast<void>(link_->ask_all(What::kGet, heads, [&](std::size_t place, Message answer) {
        if (answer.body.size() < kSmallBytes) small_.keep(wanted[place], std::move(answer.body));
    }));
}

void RemoteStore::forget(const std::string& name) {
    small_.forget(name);
}

Result<std::vector<ObjectInfo>> RemoteStore::list(const std::string& folder) {
    // Which entries a log has, and what they say, is known anew from here on.
    small_.forget(folder);
    const Message answer = TRY(link_->ask(What::kList, named(folder)));
    ByteReader reader(answer.body);
    std::vector<ObjectInfo> objects;
    while (reader.rest_bytes() > 0 && !reader.bad()) {
        std::string name = object_wire::get_text(reader);
        objects.push_back({folder + name, reader.get<std::uint64_t>()});
    }
    if (reader.bad()) return not_of_its_form();
    if (folder.starts_with(kLogs)) {
        const std::string log = folder.substr(kLogs.size(), folder.size() - kLogs.size() - 1);
        TRY_STATUS(seen_.judge(log, last_number_of(log, objects)));
    }
    return objects;
}

Result<std::vector<std::string>> RemoteStore::list_folders(const std::string& folder) {
    const Message answer = TRY(link_->ask(What::kListFolders, named(folder)));
    ByteReader reader(answer.body);
    std::vector<std::string> folders;
    while (reader.rest_bytes() > 0 && !reader.bad())
        folders.push_back(object_wire::get_text(reader));
    if (reader.bad()) return not_of_its_form();
    return folders;
}

Status RemoteStore::remove(std::span<const std::string> names) {
    ByteWriter body;
    for (const std::string& each : names)
        object_wire::put_text(body, each);
    TRY_STATUS(link_->ask(What::kRemove, ByteWriter(), body.bytes()));
    return {};
}

Result<std::unique_ptr<ObjectHold>> RemoteStore::hold(const std::string& name, HoldKind kind) {
    return std::make_unique<RemoteHold>(link_, TRY(link_->hold(name, kind)));
}

}  // namespace towline
