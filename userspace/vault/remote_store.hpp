// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/address.hpp"
#include "userspace/vault/object_link.hpp"
#include "userspace/vault/seen_logs.hpp"
#include "userspace/vault/small_objects.hpp"

namespace towline {

// The objects of an encrypted vault that a `towline serve` keeps. What is put there is sealed
// before (SealedStore); the daemon has no key, and removes nothing that others put.
class RemoteStore final : public ObjectStore {
  public:
    // `records`: this host's folder, where it is noted what was seen.
    static Result<std::unique_ptr<ObjectStore>> connect(const Address& address,
                                                        const std::filesystem::path& records);
    // Over a connection that is there.
    static Result<std::unique_ptr<ObjectStore>> over(Fd socket,
                                                     const std::filesystem::path& records = {});

    Result<std::unique_ptr<ObjectUpload>> begin_put(const std::string& name) override;
    Result<std::size_t> get_range(const std::string& name, std::uint64_t offset_bytes,
                                  MutableByteSpan into) override;
    Result<std::optional<std::uint64_t>> size(const std::string& name) override;
    void expect(std::span<const std::string> names) override;
    void forget(const std::string& name) override;
    Result<std::vector<ObjectInfo>> list(const std::string& folder) override;
    Result<std::vector<std::string>> list_folders(const std::string& folder) override;
    Status remove(std::span<const std::string> names) override;
    Result<std::unique_ptr<ObjectHold>> hold(const std::string& name, HoldKind kind) override;
    // What a crash left is the server's to sweep.
    Result<std::uint64_t> sweep() override { return 0; }

  private:
    static constexpr std::size_t kCacheBytes = std::size_t{16} << 20;

    RemoteStore(std::shared_ptr<ObjectLink> link, const std::filesystem::path& records)
        : link_(std::move(link)), seen_(records) {}

    // Outlives the store as long as an upload or a hold needs it.
    std::shared_ptr<ObjectLink> link_;
    SmallObjects small_{kCacheBytes};
    SeenLogs seen_;
};

}  // namespace towline
