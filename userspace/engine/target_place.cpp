// SPDX-License-Identifier: Apache-2.0
// The two kinds of place. A peer's names are resolved by RootFolder alone; a local user's are
// paths.

#include "userspace/engine/target_place.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "userspace/engine/target_safety.hpp"

namespace towline {

namespace {

class RootPlace final : public TargetPlace {
  public:
    explicit RootPlace(RootFolder root) : root_(std::move(root)) {}
    Result<bool> exists(const std::string& name) const override { return root_.exists(name); }
    Result<Volume> open(const std::string& name, Access access) const override {
        return root_.open_volume(name, access);
    }
    Result<Volume> create(const std::string& name, std::uint64_t size_bytes) const override {
        return root_.create(name, size_bytes);
    }
    Result<Fd> open_folder(const std::string& name) const override {
        return root_.open_folder_of(name);
    }
    // A peer's source may be anywhere; what this host itself uses is refused as "in use".
    Status refuse_same(const Volume& target, const Uuid& source,
                       const Standing& standing) const override {
        const auto key = StandingKey::of_this_host(source);
        if (!key || !key->is_host_of(standing)) return {};
        return refuse_if_same(*key, standing, target);
    }

  private:
    RootFolder root_;
};

class LocalPlace final : public TargetPlace {
  public:
    explicit LocalPlace(std::function<Status(const Volume&)> refuse_same)
        : refuse_same_(std::move(refuse_same)) {}

    Result<bool> exists(const std::string& name) const override {
        struct stat status {};
        if (::stat(name.c_str(), &status) == 0) return true;
        if (errno == ENOENT) return false;
        return fail_errno("cannot look at " + name);
    }
    Result<Volume> open(const std::string& name, Access access) const override {
        return Volume::open(name, access);
    }
    Result<Volume> create(const std::string& name, std::uint64_t size_bytes) const override {
        Fd fd(::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        if (!fd) return fail_errno("cannot create the target " + name);
        if (::ftruncate(fd.get(), static_cast<off_t>(size_bytes)) < 0) {
            return fail_errno("cannot make " + name + " " + std::to_string(size_bytes) +
                              " bytes long");
        }
        const auto folder = std::filesystem::path(name).parent_path();
        const Fd parent(
            ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!parent || ::fsync(fd.get()) < 0 || ::fsync(parent.get()) < 0) {
            return fail_errno("cannot make the new target " + name + " durable");
        }
        return Volume::open(name, Access::kReadWrite);
    }
    Result<Fd> open_folder(const std::string& name) const override {
        const auto folder = std::filesystem::path(name).parent_path();
        Fd opened(
            ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!opened) return fail_errno("cannot open the folder of " + name);
        return opened;
    }
    Status refuse_same(const Volume& target, const Uuid&, const Standing&) const override {
        return refuse_same_(target);
    }
    // An image's journal has the image's room, and lasts as long as it does.
    std::optional<std::filesystem::path> beside(const Volume& target) const override {
        if (target.kind() != VolumeKind::kImageFile) return std::nullopt;
        return std::filesystem::path(target.name()).parent_path();
    }

  private:
    std::function<Status(const Volume&)> refuse_same_;
};

}  // namespace

std::unique_ptr<TargetPlace> place_beneath(RootFolder root) {
    return std::make_unique<RootPlace>(std::move(root));
}

std::unique_ptr<TargetPlace> local_place(std::function<Status(const Volume& target)> refuse_same) {
    return std::make_unique<LocalPlace>(std::move(refuse_same));
}

}  // namespace towline
