// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "cbt/tracker_registry.hpp"
#include "cbt/used_blocks.hpp"
#include "io/volume.hpp"
#include "userspace/engine/filesystem_freeze.hpp"
#include "userspace/engine/hooks.hpp"
#include "userspace/engine/moment.hpp"
#include "userspace/engine/moment_choice.hpp"
#include "userspace/engine/volume_layout.hpp"

namespace towline {

// A volume whose moment is taken.
struct LiveSource {
    std::filesystem::path path;
    // Where what must be found again after a death of this process is noted.
    std::filesystem::path memory_folder;
};

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
    std::vector<LiveSource> sources;  // as the layout has them
    VolumeLayout layout;
    std::string target;
    std::function<Result<std::vector<Fd>>()> lock_tracking;
    std::string why_no_rounds;  // of the target: it can't be brought up to date in rounds
};

// The moment of a run's volumes, one for all of them: hooks, freeze, the tracker's epochs and the
// images in one gate where there is such a gate, thaw, hooks. One kind of tracker and one of
// snapshots serves them all, or none does. The images go with this object, which outlives every
// reader. Without images (MomentWish::Snapshot::kFrozen) the source stays frozen until all is read.
class LiveMoment final : public MomentTaker {
  public:
    // Looks at what there is and decides; nothing is changed yet but that a tracker that was asked
    // for by name is attached.
    using Volumes = std::span<const Volume* const>;
    static Result<std::unique_ptr<LiveMoment>> choose(Volumes sources, LiveMomentOptions options);
    // What choose() would take. Nothing is attached.
    static Result<MomentChoice> foresee(Volumes sources, LiveMomentOptions options);
    ~LiveMoment() override;

    bool unseen() const override;
    Status take() override;
    Result<Moment> open(IoEngine& engine) override;
    Status settle(bool noted) override;
    void release() override { tracking_locks_.clear(); }
    Status with_harvests(const std::function<Status()>& change) override;
    Status stands() override;
    Status all_read() override;
    bool steady() override;
    // Thaws, and tells the programs that wait for it.
    void conclude() override;
    bool in_rounds() const override { return choice_.converge; }
    const MomentFacts& facts() const override { return facts_; }

    const MomentChoice& choice() const { return choice_; }

  private:
    // One of the volumes, and what was taken of it.
    struct Subject {
        std::filesystem::path path;
        std::filesystem::path memory_folder;
        Uuid tracked;
        Fd image_lock;
        std::optional<ChangeSet> changes;
        std::optional<SnapshotImage> image;
        std::optional<Volume> read_from;
        std::string filesystem;               // the uuid of the one on it
        std::vector<Extent> data;             // of the volume
        std::optional<UsedBlocks> allocated;  // by its thin pool, where it is in one
        std::uint64_t writes_before = 0;
        bool image_is_later = false;  // than the epoch
    };

    LiveMoment() = default;
    static Result<std::unique_ptr<LiveMoment>> look(Volumes sources, LiveMomentOptions options);
    TrackerFinding judge(Tracker& tracker, Volumes sources) const;
    void find_trackers(Volumes sources, MomentFindings& findings);
    void find_snapshots(Volumes sources, MomentFindings& findings);
    void find_lvm(Volumes sources, MomentFindings& findings);
    Status use(Volumes sources);
    Status use_tracker(Volumes sources);
    Status cut();
    std::string why_no_rounds(Volumes sources) const;
    std::string why_no_rounds(const Volume& source, const Subject& subject) const;
    bool frozen_wish() const { return options_.wish.snapshot == MomentWish::Snapshot::kFrozen; }
    Status cut_frozen();
    void write_back() const;
    Status cut_self_frozen();
    Status stay_frozen();
    Status thaw_after_reading();
    Status take_moment();
    Status look_at(Subject& subject, const VolumePart& part);
    Status open_part(IoEngine& engine, std::size_t place, Moment& moment);
    void leave_out_free(Subject& subject);
    void tell_after();
    std::map<std::string, std::string> hook_words() const;
    Status freeze_epoch();
    Status make_images();
    Status ask_pools();
    Status remove_left_over(Subject& subject);
    Status remove_noted(const nlohmann::json& note);
    Status still_unwritten(const Subject& subject, bool& still) const;
    bool imaged() const { return subjects_.front().image.has_value(); }
    bool several() const { return subjects_.size() > 1; }
    void abandon();
    void remove_image(Subject& subject);

    LiveMomentOptions options_;
    std::vector<std::unique_ptr<Tracker>> trackers_;
    std::vector<std::unique_ptr<SnapshotProvider>> providers_;
    MomentChoice choice_;
    bool live_ = false;
    Tracker* tracker_ = nullptr;
    SnapshotProvider* provider_ = nullptr;
    std::vector<std::string> mounts_;
    std::optional<FilesystemFreeze> frozen_;  // until all is read
    bool told_ = false;                       // `pre-snapshot` did what there was to do
    bool after_due_ = false;                  // `post-snapshot` is still to be run
    bool free_left_out_ = false;

    std::vector<Fd> tracking_locks_;
    std::vector<Subject> subjects_;  // as the layout has them
    MomentFacts facts_;
};

// Of several notes one text.
void add_note(std::string& notes, const std::string& text);

}  // namespace towline
