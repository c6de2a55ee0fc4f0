// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include <nlohmann/json_fwd.hpp>

#include "cbt/tracker_registry.hpp"
#include "io/volume.hpp"
#include "userspace/engine/filesystem_freeze.hpp"
#include "userspace/engine/hooks.hpp"
#include "userspace/engine/moment.hpp"
#include "userspace/engine/moment_choice.hpp"

namespace towline {

struct LiveMomentOptions {
    MomentWish wish;
    SnapshotRequest store;  // of a snapshot
    bool freeze = true;     // filesystems, around the cut
    Duration freeze_max = std::chrono::seconds(10);
    Duration drain_max = std::chrono::seconds(1);
    bool used_only = false;  // leave out what the filesystem says is free
    Hooks hooks;
    TrackerPlaces places;
    bool dry_run = false;
    std::filesystem::path source;
    std::string target;
    // Where what must be found again after a death of this process is noted.
    std::filesystem::path memory_folder;
    std::function<Result<Fd>()> lock_tracking;
    std::string why_no_rounds;  // of the target: it can't be brought up to date in rounds
};

// The moment of a real volume: hooks, freeze, the tracker's epoch and the image in one gate where
// there is such a gate, thaw, hooks. The image goes with this object, which outlives every reader.
// Without an image (MomentWish::Snapshot::kFrozen) the source stays frozen until all is read.
class LiveMoment final : public MomentTaker {
  public:
    // Looks at what there is and decides; nothing is changed yet but that a tracker that was asked
    // for by name is attached.
    static Result<std::unique_ptr<LiveMoment>> choose(const Volume& source,
                                                      LiveMomentOptions options);
    // What choose() would take. Nothing is attached.
    static Result<MomentChoice> foresee(const Volume& source, LiveMomentOptions options);
    ~LiveMoment() override;

    Status take() override;
    Result<Moment> open(IoEngine& engine) override;
    Status settle(bool noted) override;
    void release() override { tracking_lock_.reset(); }
    Status with_harvests(const std::function<Status()>& change) override;
    Status all_read() override;
    bool steady() override;
    // Thaws, and tells the programs that wait for it.
    void conclude() override;
    bool in_rounds() const override { return choice_.converge; }
    const MomentFacts& facts() const override { return facts_; }

    const MomentChoice& choice() const { return choice_; }

  private:
    LiveMoment() = default;
    static Result<std::unique_ptr<LiveMoment>> look(const Volume& source,
                                                    LiveMomentOptions options);
    void find_trackers(const Volume& source, MomentFindings& findings);
    void find_snapshots(const Volume& source, MomentFindings& findings);
    Status use(const Volume& source);
    Status cut();
    std::string why_no_rounds(const Volume& source) const;
    bool frozen_wish() const { return options_.wish.snapshot == MomentWish::Snapshot::kFrozen; }
    Status cut_frozen();
    Status cut_self_frozen();
    Status stay_frozen();
    Status thaw_after_reading();
    void leave_out_free(Moment& moment);
    void tell_after();
    std::map<std::string, std::string> hook_words() const;
    Status freeze_epoch();
    Status make_image();
    Status remove_left_over();
    Status remove_noted(const nlohmann::json& note);
    void remove_image();

    LiveMomentOptions options_;
    std::vector<std::unique_ptr<Tracker>> trackers_;
    std::vector<std::unique_ptr<SnapshotProvider>> providers_;
    MomentChoice choice_;
    bool live_ = false;
    Tracker* tracker_ = nullptr;
    Uuid tracked_;
    SnapshotProvider* provider_ = nullptr;
    std::vector<std::string> mounts_;
    std::optional<FilesystemFreeze> frozen_;  // until all is read
    bool told_ = false;                       // `pre-snapshot` did what there was to do
    bool after_due_ = false;                  // `post-snapshot` is still to be run

    Fd tracking_lock_;
    Fd image_lock_;
    std::optional<ChangeSet> changes_;
    std::optional<SnapshotImage> image_;
    bool image_is_later_ = false;
    std::optional<Volume> read_from_;
    std::uint64_t writes_before_ = 0;
    MomentFacts facts_;
};

}  // namespace towline
