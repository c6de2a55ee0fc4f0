// SPDX-License-Identifier: Apache-2.0
// A file is two states: what programs see, and what the medium has for certain. A power loss makes
// each sector in which they differ one or the other, and each name.

#include "userspace/vault/simulated_file_layer.hpp"

#include <algorithm>

#include "io/check.hpp"

namespace towline {

namespace {

std::string folder_of(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? "" : path.substr(0, slash);
}

std::string without_slash(std::string folder) {
    while (!folder.empty() && folder.back() == '/')
        folder.pop_back();
    return folder;
}

}  // namespace

class SimulatedFile final : public LayerFile {
  public:
    explicit SimulatedFile(SimulatedFolder& folder) : folder_(folder) {}

    Status write(std::uint64_t offset_bytes, ByteSpan bytes) override {
        return folder_.change(true, [&] {
            auto& visible = file_->visible;
            visible.resize(std::max<std::size_t>(visible.size(), offset_bytes + bytes.size()));
            std::ranges::copy(bytes, visible.begin() + static_cast<std::ptrdiff_t>(offset_bytes));
        });
    }
    Status finish(std::uint64_t length_bytes) override {
        TRY_STATUS(folder_.change(true, [&] { file_->visible.resize(length_bytes); }));
        return folder_.change(false, [&] { folder_.sync_file(*file_); });
    }
    Result<bool> publish(const std::string& path) override {
        if (folder_.names_.contains(path)) return false;
        TRY_STATUS(folder_.change(true, [&] { folder_.names_[path] = file_; }));
        return true;
    }

  private:
    SimulatedFolder& folder_;
    std::shared_ptr<SimulatedFolder::File> file_ = std::make_shared<SimulatedFolder::File>();
};

// --- the folder ---------------------------------------------------------------------------------

void SimulatedFolder::arm(Faults faults) {
    faults_ = faults;
    calls_ = 0;
    writes_ = 0;
    dead_ = false;
}

SimulatedFolder::Fate SimulatedFolder::fate(bool writes) {
    if (dead_) return {.effect = false, .error = Error{Code::kCancelled, 0, "the process is dead"}};
    ++calls_;
    if (writes) ++writes_;
    if (writes && faults_.no_space_at != 0 && writes_ >= faults_.no_space_at)
        return {.effect = false, .error = system_error(ENOSPC, "the simulated disk is full")};
    if (calls_ != faults_.die_at) return {};
    dead_ = true;
    return {.effect = random_.chance(0.5), .error = Error{Code::kCancelled, 0, "the process died"}};
}

Status SimulatedFolder::change(bool writes, const std::function<void()>& effect) {
    Fate drawn = fate(writes);
    if (drawn.effect) effect();
    if (drawn.error) return std::unexpected(std::move(*drawn.error));
    return {};
}

void SimulatedFolder::sync_file(File& file) const {
    if (!faults_.syncs_lie) file.durable = file.visible;
}

void SimulatedFolder::lose_of(File& file) {
    Bytes left = random_.chance(0.5) ? file.visible : file.durable;
    const Bytes& other = left == file.visible ? file.durable : file.visible;
    for (std::size_t at = 0; at < left.size(); at += kSectorBytes) {
        const std::size_t end = std::min({at + kSectorBytes, left.size(), other.size()});
        if (end <= at || random_.chance(0.5)) continue;
        std::copy(other.begin() + static_cast<std::ptrdiff_t>(at),
                  other.begin() + static_cast<std::ptrdiff_t>(end),
                  left.begin() + static_cast<std::ptrdiff_t>(at));
    }
    file.visible = left;
    file.durable = std::move(left);
}

void SimulatedFolder::power_loss() {
    Names all = names_;
    all.insert(durable_names_.begin(), durable_names_.end());
    Names left;
    for (const auto& [path, file] : all) {
        const auto seen = names_.find(path);
        const auto kept = durable_names_.find(path);
        const bool certain =
            seen != names_.end() && kept != durable_names_.end() && seen->second == kept->second;
        const auto& drawn = certain || random_.chance(0.5) ? seen : kept;
        if (drawn != names_.end() && drawn != durable_names_.end()) left[path] = drawn->second;
    }
    for (const auto& [path, file] : left)
        if (file->visible != file->durable) lose_of(*file);
    names_ = left;
    durable_names_ = std::move(left);
}

std::uint64_t SimulatedFolder::bytes() const {
    std::uint64_t bytes = 0;
    for (const auto& [path, file] : names_)
        bytes += file->visible.size();
    return bytes;
}

std::vector<std::string> SimulatedFolder::names() const {
    std::vector<std::string> names;
    for (const auto& [path, file] : names_)
        names.push_back(path);
    return names;
}

std::vector<std::byte>& SimulatedFolder::contents(const std::string& path) {
    CHECK(names_.contains(path));
    return names_.at(path)->visible;
}

void SimulatedFolder::lose(const std::string& path) {
    names_.erase(path);
    durable_names_.erase(path);
}

// --- the process --------------------------------------------------------------------------------

Result<std::unique_ptr<LayerFile>> SimulatedFileLayer::create() {
    TRY_STATUS(folder_.change(true, [] {}));
    return std::make_unique<SimulatedFile>(folder_);
}

Result<std::size_t> SimulatedFileLayer::read(const std::string& path, std::uint64_t offset_bytes,
                                             MutableByteSpan into) {
    const auto found = folder_.names_.find(path);
    if (found == folder_.names_.end()) return fail_errno(ENOENT, "no object " + path);
    const auto& bytes = found->second->visible;
    if (offset_bytes >= bytes.size()) return 0;
    const std::size_t count = std::min<std::size_t>(into.size(), bytes.size() - offset_bytes);
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset_bytes), count, into.begin());
    return count;
}

Result<std::optional<std::uint64_t>> SimulatedFileLayer::size(const std::string& path) {
    const auto found = folder_.names_.find(path);
    if (found == folder_.names_.end()) return std::optional<std::uint64_t>();
    return std::optional<std::uint64_t>(found->second->visible.size());
}

Result<std::vector<LayerEntry>> SimulatedFileLayer::list(const std::string& folder) {
    const std::string prefix = without_slash(folder) + "/";
    std::map<std::string, LayerEntry> entries;
    for (const auto& [path, file] : folder_.names_) {
        if (!path.starts_with(prefix)) continue;
        const std::string rest = path.substr(prefix.size());
        const auto slash = rest.find('/');
        const std::string name = rest.substr(0, slash);
        entries[name] = {name, file->visible.size(), slash != std::string::npos};
    }
    std::vector<LayerEntry> listed;
    listed.reserve(entries.size());
    for (auto& [name, entry] : entries)
        listed.push_back(std::move(entry));
    return listed;
}

Status SimulatedFileLayer::unlink(const std::string& path) {
    return folder_.change(false, [&] { folder_.names_.erase(path); });
}

Status SimulatedFileLayer::make_folder(const std::string& folder) {
    if (!folder_.folders_.insert(folder).second) return {};
    return folder_.change(true, [] {});
}

Status SimulatedFileLayer::sync_folder(const std::string& folder) {
    return folder_.change(false, [&] {
        if (folder_.faults_.syncs_lie) return;
        const std::string here = without_slash(folder);
        std::erase_if(folder_.durable_names_,
                      [&](const auto& each) { return folder_of(each.first) == here; });
        for (const auto& [path, file] : folder_.names_)
            if (folder_of(path) == here) folder_.durable_names_[path] = file;
    });
}

}  // namespace towline
