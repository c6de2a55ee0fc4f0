// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>

#include "userspace/vault/file_layer.hpp"
#include "userspace/vault/object_store.hpp"

namespace towline {

// Objects as files beneath one folder.
class FolderStore final : public ObjectStore {
  public:
    // How names are held; the layer has no locks of its own.
    using Holder =
        std::function<Result<std::unique_ptr<ObjectHold>>(const std::string& name, HoldKind kind)>;

    FolderStore(std::unique_ptr<FileLayer> files, Holder holder)
        : files_(std::move(files)), holder_(std::move(holder)) {}
    static Result<std::unique_ptr<ObjectStore>> open(const std::filesystem::path& folder);

    Result<std::unique_ptr<ObjectUpload>> begin_put(const std::string& name) override;
    Result<std::size_t> get_range(const std::string& name, std::uint64_t offset_bytes,
                                  MutableByteSpan into) override;
    Result<std::optional<std::uint64_t>> size(const std::string& name) override;
    void forget(const std::string& name) override;
    Result<std::vector<ObjectInfo>> list(const std::string& folder) override;
    Result<std::vector<std::string>> list_folders(const std::string& folder) override;
    Status remove(std::span<const std::string> names) override;
    Result<std::unique_ptr<ObjectHold>> hold(const std::string& name, HoldKind kind) override;
    Result<std::uint64_t> sweep() override;

  private:
    std::unique_ptr<FileLayer> files_;
    Holder holder_;
};

}  // namespace towline
