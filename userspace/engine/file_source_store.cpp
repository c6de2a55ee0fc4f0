// SPDX-License-Identifier: Apache-2.0
// What cannot be read is kCorrupt, and the caller then treats the target as unknown: it costs a
// comparison, never a change.

#include "userspace/engine/file_source_store.hpp"

#include <nlohmann/json.hpp>

#include "io/checksum.hpp"
#include "io/document.hpp"
#include "io/durable_file.hpp"
#include "io/slot_file.hpp"
#include "userspace/engine/target_memory_file.hpp"

namespace towline {

namespace {

constexpr Duration kNamingTime = std::chrono::seconds(30);
// It is held for some writes of a small file, never while a run goes on.
constexpr Duration kMemoryTime = std::chrono::seconds(10);
constexpr std::size_t kHarvestBytesMax = std::size_t{1} << 30;

std::string hash_text(const std::string& text) {
    const BlockHasher hasher(BlockHasher::Seed{});
    const Hash128 hash = hasher.of(std::as_bytes(std::span(text)));
    Uuid name;
    store_le(name.bytes.data(), hash.low);
    store_le(name.bytes.data() + 8, hash.high);
    return name.text();
}

// What a source is called here; nothing: it has no name yet, or what noted it is damaged.
Result<std::optional<Uuid>> named_source(const std::filesystem::path& file,
                                         const std::string& identity) {
    const auto document = load_document(file);
    if (!document && document.error().code != Code::kCorrupt)
        return std::unexpected(document.error());
    const bool known = document && *document && (*document)->value("identity", "") == identity;
    return known ? Uuid::parse((*document)->value("source", "")) : std::nullopt;
}

}  // namespace

Result<FileSourceStore> FileSourceStore::open(const std::filesystem::path& state_folder,
                                              const VolumeIdentity& identity, bool read_only) {
    const auto sources = state_folder / "sources";
    const std::string text = identity.kind + "\n" + identity.locator + "\n" + identity.generation;
    const auto name_file = sources / (hash_text(text) + ".source");
    FileSourceStore store;
    auto named = TRY(named_source(name_file, text));
    Fd naming;
    if (!named && !read_only) {
        // Two first runs at once would each give the source a name, and one of them work under
        // a name that nobody finds again.
        TRY_STATUS(make_folder(sources));
        naming = TRY(lock_file(sources / "naming.lock", "the naming of a source", kNamingTime));
        named = TRY(named_source(name_file, text));
    }
    store.source_ = named.value_or(Uuid::random());
    store.folder_ = sources / store.source_.text();
    if (named || read_only) return store;
    TRY_STATUS(make_folder(store.folder_));
    TRY_STATUS(save_document(name_file, {{"identity", text}, {"source", store.source_.text()}}));
    return store;
}

Result<Fd> FileSourceStore::lock(const std::string& target_text) const {
    return lock_file(folder_ / (hash_text(target_text) + ".lock"),
                     "the run from this source to " + target_text, kHolderDies);
}

Result<MemoryHold> FileSourceStore::hold(const Uuid& target) {
    if (MemoryHold held = held_.lock(); held && held_target_ == target) return held;
    auto held = std::make_shared<const Fd>(
        TRY(lock_file(folder_ / (target.text() + ".memory-lock"),
                      "what this source remembers of its target", kMemoryTime)));
    held_ = held;
    held_target_ = target;
    return held;
}

TargetMemoryFile FileSourceStore::file_of(const Uuid& target) const {
    return TargetMemoryFile(folder_ / target.text());
}

Result<std::optional<TargetMemory>> FileSourceStore::load(const Uuid& target) {
    auto kept = TRY(file_of(target).load());
    if (!kept) return std::nullopt;
    if (kept->memory.target != target)
        return fail(Code::kCorrupt, "a state file is of another target");
    return std::move(kept->memory);
}

Result<std::optional<ChangeMap>> FileSourceStore::pending(const Uuid& target) {
    const auto kept = TRY(file_of(target).load());
    if (!kept || kept->pending.empty()) return std::nullopt;
    return TRY(ChangeMap::load(kept->pending));
}

Status FileSourceStore::save(const TargetMemory& memory) {
    const MemoryHold held = TRY(hold(memory.target));
    const TargetMemoryFile file = file_of(memory.target);
    const auto kept = file.load();
    // What was pending in a damaged one is not known any more, and must not become nothing.
    if (!kept && kept.error().code == Code::kCorrupt) return file.save(memory, kDamagedMap);
    if (!kept) return std::unexpected(kept.error());
    return file.save(memory, *kept ? (*kept)->pending : std::vector<std::byte>());
}

Status FileSourceStore::save_begun(const TargetMemory& memory, const ChangeMap& pending) {
    const MemoryHold held = TRY(hold(memory.target));
    return file_of(memory.target).save(memory, pending.save());
}

Status FileSourceStore::save_sealed(const TargetMemory& memory) {
    const MemoryHold held = TRY(hold(memory.target));
    return file_of(memory.target).save(memory, {}, SlotSync::kLater);
}

Result<Fd> FileSourceStore::lock_tracking(Duration wait) const {
    return lock_file(folder_ / "tracking.lock", "the tracking of this source", wait);
}

Result<std::vector<Harvest>> FileSourceStore::harvests() {
    std::vector<Harvest> harvests;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
        if (entry.path().extension() != ".harvest") continue;
        const auto target = Uuid::parse(entry.path().stem().string());
        auto saved = read_slots(entry.path(), kHarvestBytesMax);
        if (!saved && saved.error().code != Code::kCorrupt) return std::unexpected(saved.error());
        if (!target || !saved || !*saved) continue;
        auto harvest = Harvest::load(**saved);
        if (harvest && harvest->target == *target) harvests.push_back(std::move(*harvest));
    }
    if (error && error != std::errc::no_such_file_or_directory)
        return fail_errno(error.value(), "cannot read the folder " + folder_.string());
    return harvests;
}

Status FileSourceStore::save_harvest(const Harvest& harvest) {
    return write_slots(folder_ / (harvest.target.text() + ".harvest"), harvest.save());
}

}  // namespace towline
