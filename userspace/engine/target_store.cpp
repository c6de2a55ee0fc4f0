// SPDX-License-Identifier: Apache-2.0
// Most stores have a volume behind them, and nothing else to say of where blocks go.

#include "userspace/engine/target_store.hpp"

#include "userspace/engine/staged_sink.hpp"

namespace towline {

Status TargetStore::hear_volumes(const VolumeLayout& layout) {
    if (!layout.several()) return {};
    return fail(Code::kRefused,
                "the target is a device or image file, which is a replica of one "
                "volume; send several into a vault (vault:NAME), or each to a "
                "target of its own");
}

Result<std::unique_ptr<BlockSink>> TargetStore::open_sink(IoEngine& engine, WorkQueue&,
                                                          const TargetVolume& volume,
                                                          const BeginMessage&) {
    return std::make_unique<VolumeWriter>(engine, volume);
}

Result<StagedRun> TargetStore::open_stage(IoEngine&, const StageWish&) {
    return fail(Code::kUnsupported, "runs to this target are not staged");
}

}  // namespace towline
