// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "io/result.hpp"
#include "transport/messages.hpp"

namespace towline {

// What a target durably knows of one replica: whose it is, which moment it holds, and what is half
// done. The store adds what ties it to the very volume (identity, size, times) and voids it when
// that differs.
struct TargetRecord {
    // What is true of the unfinished run of kApplying.
    enum class Stage {
        kNone,       // it goes onto the volume as it comes
        kStaging,    // it is in a journal beside, and the volume is wholly `base`
        kCommitted,  // the journal has all of it: the volume is `run_base` once that was applied
    };

    TargetState state = TargetState::kUnclaimed;
    Uuid target;         // drawn with the first record
    Base base;           // kSealed, kApplying: the moment held (kApplying: partly overwritten)
    Uuid owner;          // the source whose replica this is, also while kBuilding
    Uuid run;            // the last sealed run, or the unfinished one
    RunMode run_mode{};  // kBuilding, kApplying: how the unfinished run works
    std::uint64_t plan_digest = 0;
    Stage stage{};
    bool verify = false;  // kCommitted: it is read back before it is sealed
    Base run_base;        // what the unfinished run becomes when it is sealed
    std::uint64_t volume_bytes = 0;
    // The run at whose flush the volume failed; nil: none since the last seal. What reads show need
    // not be on the medium until a full run that began after it is sealed.
    Uuid flush_failed_run;

    bool unfinished() const {
        return state == TargetState::kBuilding || state == TargetState::kApplying;
    }
    bool operator==(const TargetRecord&) const = default;
};

// What the record of a run that is staged whole becomes once it was applied.
TargetRecord sealed_from(const TargetRecord& committed);
// And when that can't be done: the volume may have been written to already, and nothing is known of
// it any more but whose it is.
TargetRecord stage_lost(const TargetRecord& staged);

nlohmann::json to_json(const Base& base);
Result<Base> base_from_json(const nlohmann::json& json);
nlohmann::json to_json(const TargetRecord& record);
Result<TargetRecord> record_from_json(const nlohmann::json& json);

}  // namespace towline
