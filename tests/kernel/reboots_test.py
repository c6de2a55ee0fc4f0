#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A clean reboot loses nothing and adds nothing: both maps come back to the block, the frozen one as
frozen, by the shutdown alone, since nobody detaches. Again and again, with other writes between:
TOWLINE_COUNT says how often. What was written is what QEMU saw."""

from rig.builds import run
from rig.changes import MIB, blocks_marked
from rig.disks import FORMATS
from rig.runner import count, main
from rig.tracking import TRUST_EXACT, blocks_of, fields, read_epoch

REASON_FIRST, REASON_RESTORED = 1, 0x20
BLOCK = 4096
REGION = 1 * MIB
SIZE = 24 * MIB
FILESYSTEM = 8 * MIB  # of these; behind it the device is written to as it is
REBOOTS = 2
MEMORY_MIB = 256

PRELUDE = """
insmod /towline.ko
intent attach /dev/disk/origin /dev/disk/log {create} >begun
uuid=$(sed -n 's/uuid=\\([0-9a-f]*\\) .*/\\1/p' begun)
keep begun
"""
# What the last boot left. After it nothing is marked.
TAKE = """
{frozen}
epoch present $uuid
keep present.epoch present.map
"""
TAKE_FROZEN = """
track map $uuid {sequence} {blocks} frozen.map
track commit $uuid {sequence}
keep frozen.map
"""
LEAVE = """
mark 1
{first}
sync
mark 2
{freeze}
{second}
sync
mark 3
intent status $uuid >status
keep status
"""
FREEZE = """
track freeze loose $uuid >frozen
keep frozen
"""


def writing(rig):
    """In the filesystem, or behind it."""
    how = rig.random.choice(("direct", "uring", "buffered", "mounted"))
    seed = rig.random.randrange(1 << 30)
    if how == "mounted":
        return f"""
            modprobe ext4
            mount /dev/disk/origin /mnt
            writer /mnt/file{seed % 3} how=buffered seed={seed} count=6 max=16K span=1M >/dev/null
            umount /mnt"""
    return f"writer /dev/disk/origin how={how} seed={seed} count=5 max=32K start={FILESYSTEM} span=12M >/dev/null"


class Left:
    """What a boot leaves to the next: the blocks of its two maps, and what it said of the frozen one."""

    def __init__(self, boot, uuid, with_frozen):
        def written(after, before):
            return blocks_of(boot.trace.writes("origin", after, before), BLOCK)
        self.uuid = uuid
        self.frozen = fields(boot.read("frozen").decode()) if with_frozen else None
        self.frozen_blocks = written(1, 2) if with_frozen else set()
        self.present_blocks = written(2, 3) if with_frozen else written(1, 3)
        regions = {block * BLOCK // REGION for block in self.frozen_blocks | self.present_blocks}
        hot = int(fields(boot.read("status").decode())["regions_hot"])
        assert hot == len(regions) > 0, f"{hot} regions are hot, not those of {sorted(regions)}"


def begun(boot):
    told = fields(boot.read("begun").decode())
    return told["uuid"], int(told["trust"]), int(told["reasons"])


def judge(rig, boot, left):
    """That the boot found what the one before it left."""
    assert begun(boot) == (left.uuid, TRUST_EXACT, REASON_RESTORED), begun(boot)
    told, marked = read_epoch(boot, "present")
    assert told["trust"] == TRUST_EXACT and told["uuid"] == left.uuid, told
    for name, found, written in (("present", marked, left.present_blocks),
                                 ("frozen", frozen_map(boot, left), left.frozen_blocks)):
        rig.count(blocks_missed=len(written - found))
        assert found == written, f"{name}: {sorted(written - found)} missed, " \
                                 f"{sorted(found - written)} more than written"


def frozen_map(boot, left):
    if not left.frozen:
        return set()
    return blocks_marked(boot.read("frozen.map"), SIZE // BLOCK)


def test_clean_reboots(rig):
    disks = [rig.disk("origin", SIZE), rig.disk("log", 1 * MIB)]
    run([*FORMATS["ext4"], disks[0].path, f"{FILESYSTEM // 1024}k"])
    left = None
    for number in range(count(REBOOTS) + 1):
        with_frozen = number % 2 == 0
        script = PRELUDE.format(create="" if left else "create region=1M block=4K")
        if left:
            script += TAKE.format(frozen=TAKE_FROZEN.format(**left.frozen) if left.frozen else "")
        script += LEAVE.format(first=writing(rig), second=writing(rig),
                               freeze=FREEZE if with_frozen else "")
        if number == count(REBOOTS):
            script += "track detach $uuid\nrmmod towline\n"
        boot = rig.boot(script, disks, memory_mib=MEMORY_MIB)
        if left:
            judge(rig, boot, left)
            rig.count(clean_reboots=1)
        else:
            assert begun(boot)[1:] == (TRUST_EXACT, REASON_FIRST), begun(boot)
        left = Left(boot, begun(boot)[0], with_frozen)


main(globals())
