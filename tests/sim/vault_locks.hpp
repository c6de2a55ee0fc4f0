// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "userspace/vault/object_store.hpp"

namespace towline::testing {

// The locks of a vault, and which process has them: they end with it, whatever becomes of the
// objects in which it believed to hold them.
class VaultLocks {
  public:
    Result<std::unique_ptr<ObjectHold>> take(std::uint64_t process, const std::string& name,
                                             HoldKind kind) {
        const bool taken = std::ranges::any_of(*held_, [&](const auto& each) {
            const Held& other = each.second;
            return other.name == name &&
                   (kind == HoldKind::kExclusive || other.kind == HoldKind::kExclusive);
        });
        if (taken) return fail(Code::kBusy, name + " is held");
        held_->emplace(++last_, Held{process, name, kind});
        return std::make_unique<Hold>(held_, last_);
    }
    // It died; or it sleeps, and its locks ran out.
    void end(std::uint64_t process) {
        std::erase_if(*held_, [&](const auto& each) { return each.second.process == process; });
    }

    bool has(std::uint64_t process, const std::string& prefix) const {
        return std::ranges::any_of(*held_, [&](const auto& each) {
            return each.second.process == process && each.second.name.starts_with(prefix);
        });
    }

  private:
    struct Held {
        std::uint64_t process;
        std::string name;
        HoldKind kind;
    };
    using All = std::map<std::uint64_t, Held>;
    class Hold final : public ObjectHold {
      public:
        Hold(std::shared_ptr<All> all, std::uint64_t number)
            : all_(std::move(all)), number_(number) {}
        ~Hold() override { all_->erase(number_); }
        Hold(const Hold&) = delete;
        Hold& operator=(const Hold&) = delete;

      private:
        std::shared_ptr<All> all_;
        std::uint64_t number_;
    };

    std::shared_ptr<All> held_ = std::make_shared<All>();
    std::uint64_t last_ = 0;
};

}  // namespace towline::testing
