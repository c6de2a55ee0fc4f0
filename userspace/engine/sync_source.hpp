// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "cbt/extent.hpp"
#include "io/volume.hpp"
#include "io/work_queue.hpp"
#include "userspace/engine/live_moment.hpp"
#include "userspace/engine/standing.hpp"
#include "userspace/vault/key_source.hpp"

namespace towline {

// A source as the engine of a run reads it. The engine is the run's own, or stands on it.
struct OpenSource {
    IoEngine* engine = nullptr;
    VolumeView view;
};

// A volume as a user names it.
struct SourceName {
    std::filesystem::path path;  // or vault:DIR/NAME@ID
    std::string name{};          // in the point; empty: the path's last word, or the target's name
    std::string volume{};        // of a point that has several: which one
};

// What a run reads: volumes of this host, or a volume of a point of a vault.
class SyncSource {
  public:
    virtual ~SyncSource() = default;

    // In the order in which they were named.
    virtual std::vector<std::uint64_t> sizes() const = 0;
    virtual Result<std::vector<VolumeIdentity>> identities() const = 0;
    // In which it is best read; nothing: whatever is wanted.
    virtual std::optional<std::uint32_t> block_bytes() const { return std::nullopt; }
    // Null: it never changes. What else is to be known of it comes with the moment, or as follows.
    virtual Result<std::unique_ptr<MomentTaker>> moment(LiveMomentOptions options) const = 0;
    virtual MomentFacts facts() const { return {}; }
    // Outside of these ranges it is holes.
    virtual Result<std::vector<Extent>> data() const { return std::vector<Extent>{}; }
    // What it stands on, for a target that may be on this host.
    virtual Result<Standing> standing(const Uuid& name) const = 0;
    virtual Status refuse_same(const Volume& target) const = 0;
    // A vault that lies on the source: what a run writes would be what the next one brings.
    virtual Status refuse_vault(const std::filesystem::path& folder) const = 0;

    // Used no more when the engine goes.
    virtual Result<OpenSource> open(IoEngine& engine, WorkQueue& workers) = 0;
    // Why reading failed, where it knows more than an errno.
    virtual std::optional<Error> failure() const { return std::nullopt; }
};

// `keys`: of the vault that a point is in. `records`: this host's folder.
Result<std::unique_ptr<SyncSource>> open_source(const std::vector<SourceName>& names,
                                                const KeySource& keys,
                                                const std::filesystem::path& records);

}  // namespace towline
