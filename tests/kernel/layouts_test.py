#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Wherever a device is attached, a write that changes it is noted, through whichever device it
comes: partitions and their disk, device mapper below and above; and what changes data without being
a write: discards, zeroing, fstrim."""

from rig.changes import MIB
from rig.disks import PARTITION_START, format_disk, format_partition, partition
from rig.runner import count, main
from rig.tracking import Scene, play

WRITES = 90
DISK = 40 * MIB
PARTITION = 32 * MIB


def load(rig, path, how="uring", extra=""):
    return f"writer {path} how={how} seed={rig.random.randrange(1 << 30)} count={count(WRITES)} {extra}"


def in_files(rig, device, how="buffered"):
    return f"mount {device} /mnt\n{load(rig, '/mnt/file', how, 'span=8M')}\numount /mnt"


def partitioned(rig, name, kind="ext4"):
    disk = rig.disk(name, DISK)
    partition(disk.path, PARTITION)
    format_partition(disk.path, kind, PARTITION)
    return disk


def test_partitions(rig):
    at_partition = {"attach": "${disk}-part", "start": PARTITION_START, "length": PARTITION}
    setup = 'ln -s "$(readlink $disk)1" ${disk}-part; modprobe ext4'
    play(rig, [
        Scene("part", partitioned(rig, "part"),
              {"files": in_files(rig, "$device"), "direct": load(rig, "$device", "direct")},
              setup=setup, **at_partition),
        Scene("whole", partitioned(rig, "whole"),
              {"files": in_files(rig, "${disk}-part"), "node": load(rig, "$disk", "aio")},
              setup=setup),
        # The partition is attached; its disk's node is written, within it and around it.
        Scene("byDisk", partitioned(rig, "byDisk"), {
            "across": load(rig, "$disk", "direct", "start=0"),
            "edges": "disk write $disk 1020K 8K 1; disk write $disk 33788K 8K 2",
            "outside": "disk write $disk 512K 64K 3; disk write $disk 34M 1M 4",
        }, setup=setup, **at_partition),
    ])


def test_device_mapper(rig):
    """A linear device over the larger part of a disk, in two pieces so that writes are split."""
    pieces = [(0, 16 * MIB, 4 * MIB), (16 * MIB, 16 * MIB, 22 * MIB)]
    table = "\\n".join(f"{at // 512} {size // 512} linear $disk {target // 512}"
                       for at, size, target in pieces)
    setup = f'modprobe dm_mod; printf "{table}\\n" | dmsetup create --noudevsync mapped\n' \
            "dmsetup mknodes mapped"
    cleanup = "dmsetup remove --noudevsync mapped"
    # The upper one's blocks lie at two places; here at one, so that the trace can tell them.
    one = "0 65536 linear $disk 8192"
    setup_one = f'modprobe dm_mod; echo "{one}" | dmsetup create --noudevsync mapped\n' \
                "dmsetup mknodes mapped"
    upper = {"attach": "/dev/mapper/mapped", "start": 4 * MIB, "length": 32 * MIB}
    play(rig, [
        Scene("lower", rig.disk("lower", DISK),
              {how: load(rig, "/dev/mapper/mapped", how) for how in ("uring", "buffered", "direct")},
              setup=setup, cleanup=cleanup),
        Scene("upper", rig.disk("upper", DISK),
              {how: load(rig, "$device", how) for how in ("uring", "buffered", "direct")},
              setup=setup_one, cleanup=cleanup, **upper),
        Scene("upperFs", mapped_ext4(rig), {"files": in_files(rig, "$device")},
              setup=f"{setup_one}\nmodprobe ext4", cleanup=cleanup, **upper),
        Scene("lowerFs", mapped_ext4(rig, "lowerFs"), {"files": in_files(rig, "/dev/mapper/mapped")},
              setup=f"{setup_one}\nmodprobe ext4", cleanup=cleanup),
    ])


def mapped_ext4(rig, name="upperFs"):
    disk = rig.disk(name, DISK)
    inner = disk.path.with_suffix(".inner")
    with open(inner, "wb") as file:
        file.truncate(32 * MIB)
    format_disk(inner, "ext4")
    with open(disk.path, "r+b") as file:
        file.seek(4 * MIB)
        file.write(inner.read_bytes())
    return disk


def test_discards_and_zeroes(rig):
    trimmed = rig.disk("trimmed", DISK)
    format_disk(trimmed.path, "ext4")
    # Beyond the filesystem's own structures there were random bytes: trimming them is a change.
    play(rig, [
        Scene("ranges", rig.disk("ranges", DISK), {
            "discard": "disk range discard $disk 1M 512K; disk range discard $disk 4098K 9K",
            "zero": "disk range zero $disk 8M 1M; disk range zero $disk 10250K 3K",
            "mixed": load(rig, "$disk", "direct", "ranges=50"),
        }, discards=True),
        Scene("wholeDiscard", rig.disk("wholeDiscard", DISK),
              {"discard": "disk range discard $disk 0 0"}, discards=True),
        Scene("trimmed", trimmed, {
            "trim": "mount $disk /mnt\ndisk trim /mnt\numount /mnt",
            "unlinked": f"mount -o discard $disk /mnt\n{load(rig, '/mnt/file', 'direct', 'span=8M')}\n"
                        "rm /mnt/file\numount /mnt",
        }, setup="modprobe ext4", discards=True),
    ])


main(globals())
