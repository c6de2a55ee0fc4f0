// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "io/bytes.hpp"

namespace towline {

// Whole objects that are small and came from afar, the newest used ones. Safe to use from several
// threads.
class SmallObjects {
  public:
    using Bytes = std::shared_ptr<const std::vector<std::byte>>;

    explicit SmallObjects(std::size_t bytes_max) : bytes_max_(bytes_max) {}

    // Null when it is not here.
    Bytes find(const std::string& name) {
        const std::lock_guard lock(mutex_);
        const auto found = objects_.find(name);
        if (found == objects_.end()) return nullptr;
        order_.splice(order_.end(), order_, found->second.place);
        return found->second.bytes;
    }
    void keep(const std::string& name, std::vector<std::byte> bytes) {
        const std::lock_guard lock(mutex_);
        if (objects_.contains(name) || bytes.size() > bytes_max_) return;
        kept_bytes_ += bytes.size();
        objects_[name] = {std::make_shared<const std::vector<std::byte>>(std::move(bytes)),
                          order_.insert(order_.end(), name)};
        while (kept_bytes_ > bytes_max_)
            erase(objects_.find(order_.front()));
    }
    // All whose names begin so.
    void forget(const std::string& prefix) {
        const std::lock_guard lock(mutex_);
        auto at = objects_.lower_bound(prefix);
        while (at != objects_.end() && at->first.starts_with(prefix))
            at = erase(at);
    }

  private:
    struct Kept {
        Bytes bytes;
        std::list<std::string>::iterator place;
    };
    using Objects = std::map<std::string, Kept>;

    Objects::iterator erase(Objects::iterator at) {
        kept_bytes_ -= at->second.bytes->size();
        order_.erase(at->second.place);
        return objects_.erase(at);
    }

    const std::size_t bytes_max_;
    std::mutex mutex_;  // over all below
    Objects objects_;
    std::list<std::string> order_;  // the least used first
    std::size_t kept_bytes_ = 0;
};

}  // namespace towline
