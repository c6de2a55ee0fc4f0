// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "userspace/vault/object_store.hpp"

namespace towline::testing {

// Locks of processes that may die: what they hold ends with them.
class SimulatedHolds {
  public:
    Result<std::unique_ptr<ObjectHold>> take(const std::string& name, HoldKind kind) {
        auto& state = held_[name];
        const bool free = kind == HoldKind::kShared ? !state.second : !state.second && !state.first;
        if (!free) return fail(Code::kBusy, name + " is held");
        return std::make_unique<Hold>(state, kind);
    }

  private:
    using State = std::pair<unsigned, bool>;  // how many share it; somebody has it alone
    class Hold final : public ObjectHold {
      public:
        Hold(State& state, HoldKind kind) : state_(state), kind_(kind) {
            if (kind_ == HoldKind::kShared) ++state_.first;
            if (kind_ == HoldKind::kExclusive) state_.second = true;
        }
        ~Hold() override {
            if (kind_ == HoldKind::kShared) --state_.first;
            if (kind_ == HoldKind::kExclusive) state_.second = false;
        }
        Hold(const Hold&) = delete;
        Hold& operator=(const Hold&) = delete;

      private:
        State& state_;
        HoldKind kind_;
    };
    std::map<std::string, State> held_;
};

}  // namespace towline::testing
