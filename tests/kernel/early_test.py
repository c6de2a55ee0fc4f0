#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A root volume whose intent log lies on itself, attached by Debian's initramfs before it is
mounted."""

from rig.changes import MIB, blocks_different
from rig.machine import expect_crashed
from rig.root_volume import BLOCK, blocks_of_log, boot_root, make_initramfs, make_log, root_disk
from rig.runner import main
from rig.tracking import fields, read_epoch

TRUST_EXACT, TRUST_SUPERSET, TRUST_UNKNOWN = 1, 2, 3
SIZE = 48 * MIB

STAGES = {
    # The first attach was over a gap; a consumer compares all, and commits.
    1: """
        track freeze loose $uuid >first
        track commit $uuid $(sed -n 's/.* sequence=\\([0-9]*\\) .*/\\1/p' first)
        echo one >/written-1; sync
        keep first
        """,
    # After a shutdown nothing is lost; then the kernel crashes under load.
    2: """
        epoch second $uuid
        keep second.epoch second.map
        writer /data how=buffered count=60 span=1M seed=2
        sync
        disk crash
        """,
    3: """
        epoch third $uuid
        keep third.epoch third.map
        """,
}


def test_a_root_volume(rig):
    root = root_disk(rig, SIZE, STAGES)
    extents = make_log(rig, root)
    image = make_initramfs(rig, extents)

    def boot(stage, **more):
        return boot_root(rig, image, stage, [root], **more)

    first = fields(boot(1).read("first").decode())
    assert int(first["trust"]) == TRUST_UNKNOWN, first
    before = rig.copy(root)
    crashed = boot(2, unchecked=True)
    expect_crashed(crashed)
    second, sealed = read_epoch(crashed, "second")
    assert second["uuid"] == first["uuid"] and second["trust"] == TRUST_EXACT, second
    was = rig.copy(root)
    third, marked = read_epoch(boot(3), "third")
    assert third["uuid"] == first["uuid"] and third["trust"] == TRUST_SUPERSET, third
    changed = blocks_different(before, was, BLOCK)
    # What the second boot's epoch held was committed in it.
    lost = changed - sealed - marked - blocks_of_log(extents)
    rig.count(crash_points=1, crash_points_lost=int(bool(lost)))
    assert not lost, f"{len(lost)} blocks lost: {sorted(lost)[:10]}"
    assert changed - sealed and len(marked) < SIZE // BLOCK, (len(changed), len(marked))


main(globals())
