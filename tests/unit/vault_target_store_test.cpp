// SPDX-License-Identifier: Apache-2.0
// What a source is told of a name in a vault: it decides by that what its run can stand on.

#include "userspace/vault/vault_target_store.hpp"

#include "vault_fixture.hpp"

namespace towline::testing {

// Of a run that was cut off, what it was to bring are changes since its base. Upon an older point
// they are not all: the next run has to be told of that one.
TEST(VaultTargetStore, ARunThatWasCutOffIsForgottenWithItsBase) {
    TemporaryFolder folder;
    VaultModel model(new_vault(folder.path() + "/vault"), 30 * kBlock);
    model.change_some(20);
    ASSERT_TRUE(model.full());
    const Uuid older = model.expected_point();
    ASSERT_TRUE(model.run(RunMode::kExtents, model.change_some(3)));
    const Uuid newest = model.expected_point();
    const SeriesLog log(model.vault(), model.series);
    {
        TargetRecord state = model.record(TargetState::kApplying, RunMode::kExtents);
        state.run = Uuid::random();
        const auto writer =
            RunWriter::begin(model.vault(), model.series, *log.hold(),
                             {.state = state, .block_bytes = kBlock, .volume_name = model.series});
        ASSERT_TRUE(writer);
        ASSERT_TRUE(model.put(**writer, model.change_some(1)[0]));
        ASSERT_TRUE((*writer)->flush());
    }
    const auto told = [&] {
        VaultTargetStore store(model.vault());
        return store.look(model.series, model.source, false)->record;
    };
    EXPECT_EQ(told().state, TargetState::kApplying);
    EXPECT_EQ(told().base.point, newest);
    const std::uint64_t number = log.read()->newest()->number;
    ASSERT_TRUE(Collector(model.vault(), model.series).delete_points({number}));
    EXPECT_EQ(told().state, TargetState::kSealed);
    EXPECT_EQ(told().base.point, older);
}

}  // namespace towline::testing
