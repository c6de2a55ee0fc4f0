#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A device that does not stay as it is: it grows, it shrinks, it is pulled out under load, it comes
back as another. Nothing is claimed of what the module did not see."""

from rig.changes import MIB
from rig.runner import main
from rig.tracking import TRUST_EXACT, read_epoch

TRUST_SUPERSET = 2
REASON_GREW, REASON_SHRANK = 4, 8
BLOCK = 64 * 1024

# A linear device over the disk whose length can be changed while it is in use.
MAPPED = """
modprobe dm_mod
length() {
    echo "0 $(($1 * 2048)) linear /dev/disk/origin 0"
}
length 16 | dmsetup create --noudevsync mapped
dmsetup mknodes mapped
resize() {
    length $1 | dmsetup reload mapped
    dmsetup suspend --noudevsync mapped
    dmsetup resume --noudevsync mapped
}
insmod /towline.ko
uuid=$(track attach /dev/mapper/mapped 64K)
"""


def blocks(first_mib, end_mib):
    return set(range(first_mib * MIB // BLOCK, end_mib * MIB // BLOCK))


def test_a_device_that_grows(rig):
    """What it grew by is news to the target, written or not; what follows is tracked there, too."""
    boot = rig.boot(MAPPED + """
        disk write /dev/mapper/mapped 1M 64K 1
        resize 24
        disk write /dev/mapper/mapped 20M 64K 2
        disk write /dev/mapper/mapped 2M 64K 3
        epoch grown $uuid
        disk write /dev/mapper/mapped 23M 64K 4
        epoch after $uuid
        disk write /dev/mapper/mapped 22M 64K 5
        epoch last $uuid
        keep grown.epoch grown.map after.epoch after.map last.epoch last.map
        track detach $uuid
        dmsetup remove --noudevsync mapped
        rmmod towline
        """, [rig.disk("origin", 32 * MIB)])
    told, marked = read_epoch(boot, "grown")
    assert told["device_bytes"] == 24 * MIB and told["blocks"] == 24 * MIB // BLOCK, told
    assert told["reasons"] & REASON_GREW and told["trust"] == TRUST_SUPERSET, told
    assert blocks(16, 24) | {16, 32} <= marked, sorted(marked)
    assert {23 * 16} <= read_epoch(boot, "after")[1]
    told, marked = read_epoch(boot, "last")
    assert told["trust"] == TRUST_EXACT and marked == {22 * 16}, (told, marked)


def test_a_device_that_shrinks_and_grows_again(rig):
    """What lay beyond may be something else when it comes back."""
    boot = rig.boot(MAPPED + """
        disk write /dev/mapper/mapped 1M 64K 1
        disk write /dev/mapper/mapped 15M 64K 1
        resize 8
        epoch shrunk $uuid
        disk write /dev/mapper/mapped 2M 64K 1
        resize 16
        epoch back $uuid
        keep shrunk.epoch shrunk.map back.epoch back.map
        track detach $uuid
        dmsetup remove --noudevsync mapped
        rmmod towline
        """, [rig.disk("origin", 32 * MIB)])
    told, marked = read_epoch(boot, "shrunk")
    assert told["device_bytes"] == 8 * MIB and told["reasons"] & REASON_SHRANK, told
    assert marked == {16}, marked
    _, marked = read_epoch(boot, "back")
    assert blocks(8, 16) | {32} <= marked, sorted(marked)


def test_a_disk_that_is_pulled_out_under_load(rig):
    """The writers get their errors from the kernel; the module lets go, and the next disk that is
    given the same numbers is not taken for it."""
    rig.boot("""
        insmod /towline.ko
        disk=$(readlink -f /dev/disk/origin)
        uuid=$(track attach $disk)
        writer $disk how=uring seconds=600 seed=1 max=64K depth=8 >/dev/null 2>&1 &
        writer $disk how=buffered seconds=600 seed=2 max=64K >/dev/null 2>&1 &
        sleep 1
        device=$(readlink -f /sys/block/${disk##*/}/device)
        echo 1 >$device/../remove
        wait || true
        must_fail track freeze loose $uuid
        track status $uuid || true
        echo 1 >/sys/bus/pci/rescan
        wait_until [ -e $disk ]
        must_fail track freeze loose $uuid
        again=$(track attach $disk)
        [ $again != $uuid ]
        disk write $disk 0 4K 1
        epoch again $again
        grep -q "blocks_changed=1 " again.epoch
        track detach $again
        track detach $uuid || true
        [ -z "$(track list)" ]
        rmmod towline
        """, [rig.disk("origin", 24 * MIB)])


main(globals())
