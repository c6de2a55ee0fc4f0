// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cbt/change_set.hpp"
#include "io/clock.hpp"
#include "io/engine.hpp"
#include "io/whole_read.hpp"
#include "transport/messages.hpp"

namespace towline {

std::string_view label_name(Label label);

// How a run came by what it read; for its report.
struct MomentFacts {
    std::string tracker = "none";  // its kind
    std::string snapshot = "none";
    std::string notes;  // why no better ones, and what that costs
    std::optional<Trust> trust;
    std::string reasons;
    Label label = Label::kFuzzy;
    bool group = false;      // several volumes, and all of them at this one moment
    Duration frozen{};       // how long filesystems were frozen for it
    bool retreated = false;  // what was to be the last of several rounds became one more live one
    bool overran = false;    // it was thawed before all of it was read, so that nothing is sealed
    Duration held{};         // how long writes were held back for it
    bool used_only = false;  // what its filesystem says is free was to be left out
    std::string used_filesystem;
    std::uint64_t used_bytes = 0;
    std::optional<std::uint64_t> pool_bytes;  // what thin pools have allocated, where they said so
    std::string used_doubt;  // why what one of them holds free was not left out after all
};

// What a run brings over: the volume as it is to be read, and what changed up to that moment.
struct Moment {
    VolumeView view;
    std::vector<Extent> data;  // ranges outside of which it is holes
    std::string filesystem;    // the uuid of the one on it (of several volumes, each), or empty
    std::int64_t modified_ns = 0;
    std::vector<ChangeSet> changes;  // one a volume; none: nothing tracks them all
    // `data` leaves out what is free as well, and that is not zeros: it is to be taken for zeros.
    bool free_left_out = false;
};

// Makes the moment of one run. Unless nobody can tell, the pipeline asks for it when the target is
// known, so that a run that is refused froze nothing.
class MomentTaker {
  public:
    virtual ~MomentTaker() = default;

    // Taking it changes nothing and nobody can tell: it need not wait for the target, and may turn
    // out to be for nothing.
    virtual bool unseen() const { return false; }
    // Blocks: programs are run, filesystems frozen, writes held back, and what is to be known of
    // what was taken is read. Called off the loop thread.
    virtual Status take() = 0;
    // What was taken, on the loop thread, for the engine that will read it.
    virtual Result<Moment> open(IoEngine& engine) = 0;
    // The changes are durably noted for every target, or could not be: the tracker may drop them,
    // or gets them back. On the loop thread.
    virtual Status settle(bool noted) = 0;
    // What was seen for this run's target was taken over. From take() to here, and within
    // `with_harvests`, no other run writes to the harvests of this source's targets: one that did
    // would have its marks overwritten.
    virtual void release() = 0;
    virtual Status with_harvests(const std::function<Status()>& change) = 0;
    // An Error: what was to be read is not there any more, which is why reading it failed.
    virtual Status stands() { return {}; }
    // All has been read. An Error: what was read is no moment after all, and must not be sealed.
    // Called off the loop thread.
    virtual Status all_read() = 0;
    // Whether what is read cannot have changed since the moment: else a block that differs proves
    // nothing.
    virtual bool steady() = 0;
    // The run has ended, one way or the other: what still stands still for it goes on.
    virtual void conclude() {}
    // No moment is to be had but in rounds (rounds.hpp): this one is not taken.
    virtual bool in_rounds() const { return false; }
    virtual const MomentFacts& facts() const = 0;
};

}  // namespace towline
