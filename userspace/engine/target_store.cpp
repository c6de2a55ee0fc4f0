// SPDX-License-Identifier: Apache-2.0
// Most stores have a volume behind them, and nothing else to say of where blocks go.

#include "userspace/engine/target_store.hpp"

#include "userspace/engine/volume_writer.hpp"

namespace towline {

Result<std::unique_ptr<BlockSink>> TargetStore::open_sink(IoEngine& engine, WorkQueue&,
                                                          const TargetVolume& volume,
                                                          const BeginMessage&) {
    return std::make_unique<VolumeWriter>(engine, volume);
}

}  // namespace towline
