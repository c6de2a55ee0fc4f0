#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every way in which programs write is noted, each write in its epoch, at sizes of 512 B to 1 MiB:
to a raw disk and through filesystems."""

from rig.changes import KIB, MIB
from rig.disks import format_disk
from rig.runner import count, main
from rig.tracking import Scene, play

WAYS = ("direct", "buffered", "mmap", "aio", "uring")
WRITES = 100  # of each way; TOWLINE_COUNT asks for more


def writes(rig, path, how, extra=""):
    seed = rig.random.randrange(1 << 30)
    return f"writer {path} how={how} seed={seed} count={count(WRITES)} {extra}"


def test_every_way_of_writing_to_a_disk(rig):
    """Once a block each, and once with blocks that are larger than most writes."""
    scenes = []
    for block in [4 * KIB, 64 * KIB]:
        steps = {how: writes(rig, "$disk", how) for how in WAYS}
        steps["nothing"] = ":"
        scenes.append(Scene(f"raw{block // KIB}", rig.disk(f"raw{block // KIB}", 32 * MIB + 12 * KIB),
                            steps, block=block))
    play(rig, scenes)


def mounted(act):
    return f"mount $disk /mnt\n{act}\numount /mnt"


def filesystem(rig, kind, size):
    disk = rig.disk(kind, size)
    format_disk(disk.path, kind)
    steps = {how: mounted(writes(rig, "/mnt/file", how, "span=8M")) for how in WAYS}
    steps["files"] = mounted("rm /mnt/file; for n in $(seq 40); do echo $n >/mnt/$n; done")
    return Scene(kind, disk, steps, setup=f"modprobe {kind}")


def test_filesystems(rig):
    scenes = [filesystem(rig, "ext4", 32 * MIB), filesystem(rig, "btrfs", 128 * MIB),
              filesystem(rig, "xfs", 320 * MIB)]
    play(rig, scenes, modules=("xfs", "btrfs"))


main(globals())
