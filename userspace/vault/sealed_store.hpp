// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <list>
#include <map>
#include <mutex>

#include "userspace/vault/hidden_name.hpp"
#include "userspace/vault/sealed_object.hpp"

namespace towline {

// A store that shows the objects of an encrypted vault as if they were plain. What stands on it
// knows nothing of keys; what it stands on sees sizes and times.
class SealedStore final : public ObjectStore {
  public:
    SealedStore(std::shared_ptr<ObjectStore> stored, const Uuid& vault, Secret key);

    Result<std::unique_ptr<ObjectUpload>> begin_put(const std::string& name) override;
    Result<std::size_t> get_range(const std::string& name, std::uint64_t offset_bytes,
                                  MutableByteSpan into) override;
    Result<std::optional<std::uint64_t>> size(const std::string& name) override;
    void expect(std::span<const std::string> names) override;
    void forget(const std::string& name) override;
    // The bytes are those that are stored.
    Result<std::vector<ObjectInfo>> list(const std::string& folder) override;
    Result<std::vector<std::string>> list_folders(const std::string& folder) override;
    Status remove(std::span<const std::string> names) override;
    Result<std::unique_ptr<ObjectHold>> hold(const std::string& name, HoldKind kind) override;
    Result<std::uint64_t> sweep() override { return stored_->sweep(); }

    // What the object is called in the store below.
    Result<std::string> stored_name(const std::string& name) const;
    // The key, to be wrapped once more.
    const Secret& key() const { return key_; }

  private:
    struct Opened {
        SealedChunks chunks;
        std::uint64_t plain_bytes = 0;
    };
    // Some: who reads in order needs a few at a time.
    static constexpr std::size_t kOpenedMax = 256;

    Result<std::shared_ptr<const Opened>> open(const std::string& stored_name);
    Status read_chunks(const Opened& object, std::uint64_t offset_bytes, MutableByteSpan into);

    std::shared_ptr<ObjectStore> stored_;
    Uuid vault_;
    Secret key_;
    NameHider names_;
    std::mutex mutex_;
    std::map<std::string, std::shared_ptr<const Opened>> opened_;  // under mutex_
    std::list<std::string> order_;                                 // under mutex_, the oldest first
};

}  // namespace towline
