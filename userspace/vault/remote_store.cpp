// SPDX-License-Identifier: Apache-2.0
// A question and its answer at a time, whoever asks. A connection that broke stays broken: what was
// held over it is held no more, so nothing may go on as if it were.

#include "userspace/vault/remote_store.hpp"

#include <algorithm>
#include <sys/socket.h>
#include <sys/time.h>

#include "transport/socket.hpp"

namespace towline {

using object_wire::Message;
using object_wire::What;

namespace {

constexpr Duration kConnectTime = 15s;
constexpr int kSilenceSeconds = 120;

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

std::unexpected<Error> not_of_its_form() {
    return fail(Code::kProtocol, "an answer of the vault's server is not of its form");
}

}  // namespace

class RemoteStore::Link {
  public:
    explicit Link(Fd socket) : connection_(std::move(socket)) {
        const timeval limit{.tv_sec = kSilenceSeconds, .tv_usec = 0};
        ::setsockopt(connection_.fd(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        ::setsockopt(connection_.fd(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    }

    Result<Message> ask(What what, const ByteWriter& head, ByteSpan body = {}) {
        const std::lock_guard lock(mutex_);
        if (broken_) return std::unexpected(*broken_);
        auto answer = exchange(what, head, body);
        if (!answer) {
            broken_ = answer.error();
            return answer;
        }
        if (answer->what == What::kFailed)
            return std::unexpected(object_wire::decode_error(answer->head));
        return answer;
    }

  private:
    Result<Message> exchange(What what, const ByteWriter& head, ByteSpan body) {
        TRY_STATUS(connection_.send(what, head.bytes(), body));
        Message answer = TRY(connection_.receive());
        if (answer.what != What::kDone && answer.what != What::kFailed) return not_of_its_form();
        return answer;
    }

    std::mutex mutex_;
    object_wire::Connection connection_;  // under mutex_
    std::optional<Error> broken_;         // under mutex_
};

class RemoteUpload final : public ObjectUpload {
  public:
    RemoteUpload(std::shared_ptr<RemoteStore::Link> link, std::uint32_t id)
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
    std::shared_ptr<RemoteStore::Link> link_;
    std::uint32_t id_;
};

class RemoteHold final : public ObjectHold {
  public:
    RemoteHold(std::shared_ptr<RemoteStore::Link> link, std::uint32_t id)
        : link_(std::move(link)), id_(id) {}
    ~RemoteHold() override { static_cast<void>(link_->ask(What::kRelease, numbered(id_))); }

  private:
    std::shared_ptr<RemoteStore::Link> link_;
    std::uint32_t id_;
};

Result<std::unique_ptr<ObjectStore>> RemoteStore::connect(const Address& address) {
    return over(TRY(connect_to(address, kConnectTime)));
}

Result<std::unique_ptr<ObjectStore>> RemoteStore::over(Fd socket) {
    auto link = std::make_shared<Link>(std::move(socket));
    ByteWriter hello;
    hello.put(object_wire::kVersion);
    TRY_STATUS(link->ask(What::kHello, hello));
    return std::unique_ptr<ObjectStore>(new RemoteStore(std::move(link)));
}

Result<std::unique_ptr<ObjectUpload>> RemoteStore::begin_put(const std::string& name) {
    const Message answer = TRY(link_->ask(What::kBeginPut, named(name)));
    if (answer.head.size() != 4) return not_of_its_form();
    return std::make_unique<RemoteUpload>(link_, load_le<std::uint32_t>(answer.head.data()));
}

Result<std::size_t> RemoteStore::get_range(const std::string& name, std::uint64_t offset_bytes,
                                           MutableByteSpan into) {
    std::size_t done = 0;
    while (done < into.size()) {
        const std::size_t some = std::min(into.size() - done, object_wire::kPieceBytes);
        ByteWriter head = named(name);
        head.put(offset_bytes + done).put(static_cast<std::uint32_t>(some));
        const Message answer = TRY(link_->ask(What::kGet, head));
        if (answer.body.size() > some) return not_of_its_form();
        std::ranges::copy(answer.body, into.begin() + static_cast<std::ptrdiff_t>(done));
        done += answer.body.size();
        if (answer.body.size() < some) break;
    }
    return done;
}

Result<std::optional<std::uint64_t>> RemoteStore::size(const std::string& name) {
    const Message answer = TRY(link_->ask(What::kSize, named(name)));
    if (answer.head.empty()) return std::optional<std::uint64_t>();
    if (answer.head.size() != 8) return not_of_its_form();
    return std::optional(load_le<std::uint64_t>(answer.head.data()));
}

Result<std::vector<ObjectInfo>> RemoteStore::list(const std::string& folder) {
    const Message answer = TRY(link_->ask(What::kList, named(folder)));
    ByteReader reader(answer.body);
    std::vector<ObjectInfo> objects;
    while (reader.rest_bytes() > 0 && !reader.bad()) {
        std::string name = object_wire::get_text(reader);
        objects.push_back({folder + name, reader.get<std::uint64_t>()});
    }
    if (reader.bad()) return not_of_its_form();
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
    ByteWriter head = named(name);
    head.put(static_cast<std::uint8_t>(kind == HoldKind::kExclusive));
    const Message answer = TRY(link_->ask(What::kHold, head));
    if (answer.head.size() != 4) return not_of_its_form();
    return std::make_unique<RemoteHold>(link_, load_le<std::uint32_t>(answer.head.data()));
}

}  // namespace towline
