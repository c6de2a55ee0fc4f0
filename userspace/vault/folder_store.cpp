// SPDX-License-Identifier: Apache-2.0
// The order that makes an object immutable and whole: contents written and synced without a name,
// then the name given if nobody has it, then the folder synced. Locks are files apart (locks/): a
// lock on an object's own file would end with the file, and two could hold "the" lock.

#include "userspace/vault/folder_store.hpp"

#include <algorithm>
#include <fcntl.h>
#include <set>
#include <sys/file.h>
#include <sys/stat.h>

#include "io/fd.hpp"

namespace towline {

namespace {

constexpr const char* kLocks = "locks";

std::string folder_of(const std::string& name) {
    const auto slash = name.rfind('/');
    return slash == std::string::npos ? "" : name.substr(0, slash);
}

// The layer walls names in; this keeps those out that mean something else than they say.
Status check_name(const std::string& name) {
    std::size_t start = 0;
    while (start <= name.size()) {
        const std::size_t slash = std::min(name.find('/', start), name.size());
        const std::string part = name.substr(start, slash - start);
        const bool odd = part.empty() || part.front() == '.' || part.size() > 255 ||
                         part.find('\0') != std::string::npos;
        if (odd) return fail(Code::kRefused, "a name that no object of a vault can have");
        start = slash + 1;
    }
    return {};
}

class FolderUpload final : public ObjectUpload {
  public:
    FolderUpload(FileLayer& files, std::unique_ptr<LayerFile> file, std::string name)
        : files_(files), file_(std::move(file)), name_(std::move(name)) {}

    Status write(std::uint64_t offset_bytes, ByteSpan bytes) override {
        return file_->write(offset_bytes, bytes);
    }
    Result<bool> commit(std::uint64_t length_bytes) override {
        TRY_STATUS(file_->finish(length_bytes));
        TRY_STATUS(files_.make_folder(folder_of(name_)));
        const bool published = TRY(file_->publish(name_));
        if (published) TRY_STATUS(files_.sync_folder(folder_of(name_)));
        return published;
    }

  private:
    FileLayer& files_;
    std::unique_ptr<LayerFile> file_;
    std::string name_;
};

class FileHold final : public ObjectHold {
  public:
    explicit FileHold(Fd fd) : fd_(std::move(fd)) {}
    bool keeps_others_out() const override { return static_cast<bool>(fd_); }

  private:
    Fd fd_;
};

// Where nothing can be written, or folders are never synced, there is nothing to wait for.
Status settle(FileLayer& files, const std::string& folder) {
    Status synced = files.sync_folder(folder);
    if (synced) return synced;
    const int why = synced.error().system_errno;
    const bool none = why == EROFS || why == EACCES || why == EINVAL || why == ENOTSUP;
    return none ? Status{} : synced;
}

std::string lock_name(std::string name) {
    std::ranges::replace(name, '/', '+');
    return name;
}

// The file stays when the lock goes: removing it would let two hold "the" lock.
Result<std::unique_ptr<ObjectHold>> hold_file(const std::filesystem::path& folder,
                                              const std::string& name, HoldKind kind) {
    const auto locks = folder / kLocks;
    if (::mkdir(locks.c_str(), 0700) < 0 && errno != EEXIST)
        return fail_errno("cannot create " + locks.string());
    const auto path = locks / lock_name(name);
    Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    // Of a vault that may only be read: the lock's file, if somebody made it, else none is needed.
    if (!fd && (errno == EROFS || errno == EACCES))
        fd = Fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd && kind == HoldKind::kShared && (errno == ENOENT || errno == EACCES))
        return std::make_unique<FileHold>(Fd());
    if (!fd) return fail_errno("cannot open the lock " + path.string());
    const int operation = (kind == HoldKind::kShared ? LOCK_SH : LOCK_EX) | LOCK_NB;
    while (::flock(fd.get(), operation) != 0) {
        if (errno == EINTR) continue;
        if (errno != EWOULDBLOCK) return fail_errno("cannot lock " + path.string());
        return fail(Code::kBusy, name + " of the vault is in use by another process");
    }
    return std::make_unique<FileHold>(std::move(fd));
}

}  // namespace

Result<std::unique_ptr<ObjectStore>> FolderStore::open(const std::filesystem::path& folder) {
    auto files = TRY(system_file_layer(folder));
    return std::make_unique<FolderStore>(
        std::move(files),
        [folder](const std::string& name, HoldKind kind) { return hold_file(folder, name, kind); });
}

Result<std::unique_ptr<ObjectUpload>> FolderStore::begin_put(const std::string& name) {
    TRY_STATUS(check_name(name));
    return std::make_unique<FolderUpload>(*files_, TRY(files_->create()), name);
}

Result<std::size_t> FolderStore::get_range(const std::string& name, std::uint64_t offset_bytes,
                                           MutableByteSpan into) {
    TRY_STATUS(check_name(name));
    return files_->read(name, offset_bytes, into);
}

Result<std::optional<std::uint64_t>> FolderStore::size(const std::string& name) {
    TRY_STATUS(check_name(name));
    return files_->size(name);
}

void FolderStore::forget(const std::string& name) {
    if (check_name(name)) files_->forget(name);
}

Result<std::vector<ObjectInfo>> FolderStore::list(const std::string& folder) {
    std::vector<ObjectInfo> objects;
    for (const LayerEntry& entry : TRY(files_->list(folder)))
        if (!entry.folder) objects.push_back({folder + entry.name, entry.bytes});
    // A process that died between naming an object and syncing its folder left one that a power cut
    // can take back. What is told of, and stood upon, is durable first.
    if (!objects.empty()) TRY_STATUS(settle(*files_, folder));
    return objects;
}

Result<std::vector<std::string>> FolderStore::list_folders(const std::string& folder) {
    std::vector<std::string> folders;
    for (const LayerEntry& entry : TRY(files_->list(folder)))
        if (entry.folder) folders.push_back(entry.name);
    return folders;
}

Status FolderStore::remove(std::span<const std::string> names) {
    std::set<std::string> folders;
    for (const std::string& name : names) {
        TRY_STATUS(check_name(name));
        TRY_STATUS(files_->unlink(name));
        // Whoever locks it now finds that there is nothing to lock it for.
        TRY_STATUS(files_->unlink(std::string(kLocks) + "/" + lock_name(name)));
        folders.insert(folder_of(name));
    }
    for (const std::string& folder : folders)
        TRY_STATUS(files_->sync_folder(folder));
    return {};
}

Result<std::unique_ptr<ObjectHold>> FolderStore::hold(const std::string& name, HoldKind kind) {
    TRY_STATUS(check_name(name));
    return holder_(name, kind);
}

Result<std::uint64_t> FolderStore::sweep() {
    return files_->sweep();
}

}  // namespace towline
