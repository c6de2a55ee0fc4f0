// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "io/engine_simulated.hpp"
#include "io/simulated_disk.hpp"
#include "io/simulated_random.hpp"
#include "userspace/engine/moment.hpp"

namespace towline {

// What a tracker outside of all processes does with the writes of a disk: epochs as the module has
// them, and the ways in which it comes to know less.
class SimulatedTracker {
  public:
    SimulatedTracker(std::uint64_t volume_bytes, std::uint32_t block_bytes,
                     SimulatedRandom& random);

    void wrote(Extent extent);
    // A broken one: of so many marks one is forgotten.
    void forget_one_of(std::uint64_t count) { forget_one_of_ = count; }
    void attach_anew();
    void resize(std::uint64_t volume_bytes);
    // The host dies: whole regions are hot, and nothing is frozen any more.
    void crash();
    void miss_something() { trust_ = Trust::kUnknown, reasons_.add(ChangeReason::kGap); }

    ChangeSet freeze();
    void commit(std::uint64_t sequence);
    void give_back(std::uint64_t sequence);
    std::uint64_t committed() const { return committed_; }

  private:
    void fold();

    SimulatedRandom& random_;
    std::uint64_t forget_one_of_ = 0;
    Uuid uuid_;
    std::uint64_t sequence_ = 1;
    std::uint64_t committed_ = 0;
    ChangeMap present_;
    Trust trust_ = Trust::kExact;
    ChangeReasons reasons_;
    std::optional<ChangeSet> frozen_;
};

// One run's moment: the tracker's freeze and a copy of the disk, at once.
class SimulatedMoment final : public MomentTaker {
  public:
    SimulatedMoment(SimulatedWorld& world, SimulatedTracker& tracker, SimulatedDisk& origin)
        : world_(world), tracker_(tracker), origin_(origin) {}

    Status take() override;
    Result<Moment> open(IoEngine& engine) override;
    Status settle(bool noted) override;
    void release() override { locked_ = false; }
    Status with_harvests(const std::function<Status()>& change) override {
        locked_ = true;
        const Status changed = change();
        locked_ = false;
        return changed;
    }
    // Whether other runs of this source are kept from the harvests.
    bool locked() const { return locked_; }
    Status all_read() override { return {}; }
    bool steady() override { return true; }
    const MomentFacts& facts() const override { return facts_; }

    bool taken() const { return image_ != nullptr; }
    std::vector<std::byte> contents() const { return image_->contents(); }
    void set_modified(std::int64_t modified_ns) { modified_ns_ = modified_ns; }

  private:
    SimulatedWorld& world_;
    SimulatedTracker& tracker_;
    SimulatedDisk& origin_;
    std::unique_ptr<SimulatedDisk> image_;
    ChangeSet set_;
    bool locked_ = false;
    std::int64_t modified_ns_ = 0;
    MomentFacts facts_;
};

}  // namespace towline
