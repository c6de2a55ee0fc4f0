// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>

#include "userspace/engine/acknowledged_journal.hpp"
#include "userspace/engine/staged_files.hpp"
#include "userspace/engine/staged_sink.hpp"
#include "userspace/engine/target_place.hpp"
#include "userspace/engine/target_store.hpp"

namespace towline {

// Records as files in a state folder, apart from the images: NAME-HASH.record (a document),
// .acknowledged (the journal), .lock. A record is tied to its volume by identity, size, and for a
// sealed one by modification time and a hash of the first bytes; when they differ the record is
// void, and what the volume holds is anybody's guess.
class FileTargetStore final : public TargetStore {
  public:
    // Called before the lock is taken; ends an earlier session of the same source or says kBusy.
    using Claim = std::function<Status(const std::string& name, const Uuid& source, bool dry_run)>;

    // The folders are there already. `journal_folder`: where runs are staged; empty: where the
    // place has it.
    FileTargetStore(std::filesystem::path state_folder, const TargetPlace& place, Claim claim = {},
                    std::filesystem::path journal_folder = {});
    ~FileTargetStore() override;
    FileTargetStore(const FileTargetStore&) = delete;
    FileTargetStore& operator=(const FileTargetStore&) = delete;

    void hear_standing(const Uuid& source, const Standing& standing) override {
        source_ = source;
        standing_ = standing;
    }
    Result<DiskSample> sample_disk(const std::string& name) override;
    Result<TargetFacts> look(const std::string& name, const Uuid& source, bool dry_run) override;
    Result<TargetVolume> prepare(IoEngine& engine, std::uint64_t volume_bytes,
                                 bool dry_run) override;
    Result<StagedRun> open_stage(IoEngine& engine, const StageWish& wish) override;
    Result<std::vector<Extent>> data_ranges() override;
    Status mark(const TargetRecord& record, bool keep_journal) override;
    Status confirm(const TargetRecord& found) override;
    Status journal(std::span<const Extent> acknowledged) override;
    Result<std::vector<Extent>> acknowledged() override;
    Status note_flush_failed(const TargetRecord& record) override;
    Status fit_size() override;
    Status seal(const TargetRecord& record, const Attestation&) override;

    // The replicas whose last run is staged whole and not applied.
    static Result<std::vector<std::string>> unapplied(const std::filesystem::path& state_folder);

  private:
    std::filesystem::path file(const char* ending) const;
    Status inspect(TargetFacts& facts);
    Status load_record(TargetFacts& facts);
    Result<nlohmann::json> tie(const TargetRecord& record) const;
    Status save(const TargetRecord& record);
    StagedFiles staged_files() const;

    std::filesystem::path state_folder_;
    std::filesystem::path journal_folder_;  // as asked for, then as the record has it
    const TargetPlace& place_;
    Claim claim_;
    Uuid source_;
    Standing standing_;  // the source's
    std::string name_;
    std::string key_;
    Fd lock_;
    std::optional<Volume> volume_;
    std::optional<AcknowledgedJournal> journal_;
    std::uint64_t volume_bytes_ = 0;
    Uuid target_;
    std::optional<Volume> staged_blocks_;
};

}  // namespace towline
