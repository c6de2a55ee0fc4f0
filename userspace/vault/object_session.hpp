// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <set>

#include "userspace/vault/object_store.hpp"
#include "userspace/vault/object_wire.hpp"

namespace towline {

// One host that keeps its sealed objects here. It may add, and read what is there; it removes
// nothing but what it has put itself over this connection.
class ObjectSession {
  public:
    // `stored`: of an encrypted vault, as it is stored. Safe to use from several threads.
    ObjectSession(std::shared_ptr<ObjectStore> stored, Fd socket)
        : stored_(std::move(stored)), connection_(std::move(socket)) {}

    // Until the other side goes. The error is why it ended, where that was not in order.
    Status run();

  private:
    static constexpr std::size_t kUploadsMax = 8;
    static constexpr std::size_t kHoldsMax = 256;
    struct Upload {
        std::string name;
        std::unique_ptr<ObjectUpload> upload;
        std::uint64_t written_bytes = 0;
    };
    struct Answer {
        std::vector<std::byte> head;
        std::vector<std::byte> body;
    };

    Result<Answer> answer(const object_wire::Message& message);
    Result<Answer> hello(ByteReader& head);
    Result<Answer> list(const std::string& folder);
    Result<Answer> list_folders(const std::string& folder);
    Result<Answer> size(const std::string& name);
    Result<Answer> get(const std::string& name, ByteReader& head);
    Result<Answer> begin_put(const std::string& name);
    Result<Answer> write(ByteReader& head, ByteSpan body);
    Result<Answer> commit(ByteReader& head);
    Result<Answer> remove(ByteSpan body);
    Result<Answer> hold(const std::string& name, ByteReader& head);

    std::shared_ptr<ObjectStore> stored_;
    object_wire::Connection connection_;
    bool greeted_ = false;
    std::uint32_t next_id_ = 1;
    std::map<std::uint32_t, Upload> uploads_;
    std::map<std::uint32_t, std::unique_ptr<ObjectHold>> holds_;
    std::set<std::string> put_;  // over this connection
};

}  // namespace towline
