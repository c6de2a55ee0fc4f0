// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a source and a target keep durably, in memory: for tests and fuzzers of the engine. A store
// can be told to fail from its nth call on, which is what a crash at that point leaves.

#include <map>
#include <string>
#include <vector>

#include "io/engine_simulated.hpp"
#include "userspace/engine/source_store.hpp"
#include "userspace/engine/target_store.hpp"

namespace towline::testing {

inline Uuid uuid_of(int fill) {
    Uuid uuid;
    uuid.bytes.fill(static_cast<std::byte>(fill));
    return uuid;
}

class MemorySourceStore : public SourceStore {
  public:
    Result<std::optional<TargetMemory>> load(const Uuid& target) override {
        if (memory_damaged) return fail(Code::kCorrupt, "damaged");
        const auto at = memories.find(target);
        if (at == memories.end()) return std::optional<TargetMemory>{};
        return std::optional(at->second);
    }
    Result<std::optional<ChangeMap>> pending(const Uuid& target) override {
        if (pending_damaged) return fail(Code::kCorrupt, "damaged");
        const auto at = maps.find(target);
        if (at == maps.end()) return std::optional<ChangeMap>{};
        return std::optional(at->second);
    }
    Status save(const TargetMemory& memory) override {
        if (!may_write()) return fail(Code::kIo, "the store broke");
        memory_damaged = false;
        memories[memory.target] = memory;
        return {};
    }
    Status save_begun(const TargetMemory& memory, const ChangeMap& pending) override {
        TRY_STATUS(save(memory));
        pending_damaged = false;
        maps[memory.target] = pending;
        return {};
    }
    Status save_sealed(const TargetMemory& memory) override {
        TRY_STATUS(save(memory));
        pending_damaged = false;
        maps.erase(memory.target);
        return {};
    }

    Result<std::vector<Harvest>> harvests() override {
        std::vector<Harvest> all;
        all.reserve(kept.size());
        for (const auto& [target, harvest] : kept)
            all.push_back(harvest);
        return all;
    }
    Status save_harvest(const Harvest& harvest) override {
        if (!may_write()) return fail(Code::kIo, "the store broke");
        kept[harvest.target] = harvest;
        return {};
    }

    std::map<Uuid, TargetMemory> memories;
    std::map<Uuid, Harvest> kept;
    std::map<Uuid, ChangeMap> maps;
    bool memory_damaged = false;
    bool pending_damaged = false;
    int writes_left = INT32_MAX;

  private:
    bool may_write() { return writes_left > 0 && writes_left-- > 0; }
};

// One replica on a simulated disk.
class MemoryTargetStore final : public TargetStore {
  public:
    MemoryTargetStore(SimulatedEngine& engine, SimulatedDisk& disk)
        : engine_(&engine), disk_(&disk) {}
    // The process that served died; what is durable here stays.
    void restart(SimulatedEngine& engine) { engine_ = &engine; }

    Result<TargetFacts> look(const std::string&, const Uuid&, bool) override {
        calls.push_back("look");
        return facts;
    }
    Result<TargetVolume> prepare(IoEngine&, std::uint64_t, bool) override {
        calls.push_back("prepare");
        return TargetVolume{.view = {.handle = engine_->attach_disk(*disk_),
                                     .size_bytes = disk_->size_bytes(),
                                     .alignment_bytes = 512},
                            .zeroed = zeroed};
    }
    Result<std::vector<Extent>> data_ranges() override {
        return std::vector<Extent>{{0, disk_->size_bytes()}};
    }
    Status mark(const TargetRecord& record, bool keep_journal) override {
        calls.push_back("mark");
        if (!keep_journal) entries.clear();
        facts.record = record;
        return {};
    }
    Status journal(std::span<const Extent> extents) override {
        calls.push_back("journal");
        entries.insert(entries.end(), extents.begin(), extents.end());
        return {};
    }
    Result<std::vector<Extent>> acknowledged() override { return normalized(entries); }
    Status note_flush_failed(const TargetRecord& record) override {
        calls.push_back("note");
        facts.record = record;
        return {};
    }
    Status fit_size() override { return {}; }
    Status seal(const TargetRecord& record, const Attestation&) override {
        calls.push_back("seal");
        facts.record = record;
        entries.clear();
        return {};
    }

    TargetFacts facts;
    bool zeroed = false;
    std::vector<Extent> entries;
    std::vector<std::string> calls;

  private:
    SimulatedEngine* engine_;
    SimulatedDisk* disk_;
};

}  // namespace towline::testing
