#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many epoch switches while writes are under way that land late: each epoch's blocks are copied from
the live origin to a replica, and when the writers have stopped the replica is the origin. What a
switch loses is in the replica for ever.

The delay is what makes the fault visible: a write that is noted when it begins, and lands after the
copy of its epoch, is lost if it is not noted again when it ends."""

import filecmp
import re

from rig.changes import MIB, blocks_different
from rig.qemu import Disk
from rig.runner import count, main
from rig.tracking import fields

SWITCHES = 25  # of each storm; TOWLINE_COUNT asks for more
SIZE = 24 * MIB
DELAY_MS = 60  # below 50 the 6.12 kernel waits by polling, which emulation does not bear

# Each writer has a quarter of its own: the kernel fails direct writers that collide with cached ones.
# They write until they are told to stop, however slow the machine is.
STORM = """
insmod /towline.ko
{setup}
uuid=$(track attach {device} {block})
writers=''
start=0
for how in direct uring aio buffered; do
    writer {device} how=$how seed={seed} seconds=100000 max=64K depth=6 start=$start span={quarter} \
        pause_us=2000 &
    writers="$writers $!"
    start=$((start + {quarter}))
done
replicate {device} {replica} $uuid rounds={switches} seed={seed} drain={drain} pause_us=20000
kill -TERM $writers
for writer in $writers; do wait $writer; done
sync
replicate {device} {replica} $uuid rounds=1
track status $uuid >status
keep status
track detach $uuid
{teardown}
rmmod towline
"""


def replica_of(disk):
    path = disk.path.with_name("replica.raw")
    path.write_bytes(disk.path.read_bytes())
    return Disk("replica", path)


def storm(rig, origin, *, device="/dev/disk/origin", replica="/dev/disk/replica", setup=":",
          teardown=":", drain=2, block=4096):
    copy = replica_of(origin)
    before = rig.copy(origin)
    boot = rig.boot(STORM.format(
        device=device, replica=replica, setup=setup, teardown=teardown,
        drain=drain, block=block, quarter=SIZE // 4, seed=rig.random.randrange(1 << 30),
        switches=count(SWITCHES)), [origin, copy], deadline=300 + 8 * count(SWITCHES))
    missed = blocks_different(origin.path, copy.path, block)
    rig.count(blocks_missed=len(missed), bios_seen=int(fields(boot.read("status").decode())
                                                       ["writes_seen"]))
    switches = [fields(line) for line in re.findall(r"switches=.*", boot.log)]
    print(f"  {rig.kernel.series} {switches}")
    assert not missed, f"{len(missed)} blocks of the replica differ: {sorted(missed)[:10]}"
    assert not filecmp.cmp(before, origin.path, shallow=False), "nothing was written"
    assert sum(int(each["blocks"]) for each in switches) > count(SWITCHES), "no storm"


def slow(disk, name, milliseconds):
    sectors = SIZE // 512
    return (f'echo "0 {sectors} delay {disk} 0 0 {disk} 0 {milliseconds}" |'
            f" dmsetup create --noudevsync {name}\ndmsetup mknodes {name}")


def test_storm_over_a_slow_device(rig):
    storm(rig, rig.disk("origin", SIZE), device="/dev/mapper/slow",
          setup=f"modprobe dm_mod; modprobe dm_delay\n{slow('/dev/disk/origin', 'slow', DELAY_MS)}",
          teardown="dmsetup remove --noudevsync slow")


def test_storm_over_a_throttled_disk(rig):
    """The disk itself is late: writes wait in its queue."""
    storm(rig, rig.disk("origin", SIZE, "throttling.iops-write=300"), block=65536)


def test_storm_without_holding_writes(rig):
    storm(rig, rig.disk("origin", SIZE), device="/dev/mapper/slow", drain=0,
          setup=f"modprobe dm_mod; modprobe dm_delay\n{slow('/dev/disk/origin', 'slow', DELAY_MS)}",
          teardown="dmsetup remove --noudevsync slow")


main(globals())
