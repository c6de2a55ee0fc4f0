// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <mutex>

#include "transport/address.hpp"
#include "userspace/vault/object_store.hpp"
#include "userspace/vault/object_wire.hpp"

namespace towline {

// The objects of an encrypted vault that a `towline serve` keeps. What is put there is sealed
// before (SealedStore); the daemon has no key, and removes nothing that others put.
class RemoteStore final : public ObjectStore {
  public:
    static Result<std::unique_ptr<ObjectStore>> connect(const Address& address);
    // Over a connection that is there.
    static Result<std::unique_ptr<ObjectStore>> over(Fd socket);

    Result<std::unique_ptr<ObjectUpload>> begin_put(const std::string& name) override;
    Result<std::size_t> get_range(const std::string& name, std::uint64_t offset_bytes,
                                  MutableByteSpan into) override;
    Result<std::optional<std::uint64_t>> size(const std::string& name) override;
    Result<std::vector<ObjectInfo>> list(const std::string& folder) override;
    Result<std::vector<std::string>> list_folders(const std::string& folder) override;
    Status remove(std::span<const std::string> names) override;
    Result<std::unique_ptr<ObjectHold>> hold(const std::string& name, HoldKind kind) override;
    // What a crash left is the server's to sweep.
    Result<std::uint64_t> sweep() override { return 0; }

  private:
    // Outlives the store as long as an upload or a hold needs it.
    class Link;
    explicit RemoteStore(std::shared_ptr<Link> link) : link_(std::move(link)) {}
    friend class RemoteUpload;
    friend class RemoteHold;

    std::shared_ptr<Link> link_;
};

}  // namespace towline
