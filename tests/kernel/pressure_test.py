#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# runs alone: who swaps has work for a whole processor, and there are two kernels.
"""Swap on the tracked disk while memory runs out: noting a write needs memory that only that write's
completion can free. Nothing hangs, no page is lost, every block that was swapped to is noted."""

import re

from rig.builds import run
from rig.changes import MIB
from rig.qemu import Disk
from rig.runner import count, main
from rig.tracking import Scene, play

MEMORY_MIB = 314
HOG_MIB = 230  # beside what a kernel with its checks on leaves free
ROUNDS = 3


def swap_disk(rig):
    disk = rig.disk("swap", 1 * MIB)
    with open(disk.path, "r+b") as file:
        file.truncate(384 * MIB)
    run(["mkswap", disk.path])
    return Disk(disk.name, disk.path)


# What the driver of the disk asks for between two pages is there: that it went without and tried
# again is a complaint in the kernel's log like any other.
RESERVE = "echo 8192 > /proc/sys/vm/min_free_kbytes"


def hog():
    return f"""{RESERVE}
        swapon $disk
        for round in $(seq {count(ROUNDS)}); do hog {HOG_MIB} 3; done
        swapoff $disk"""


def test_swapping_to_a_tracked_disk(rig):
    boot = play(rig, [Scene("swap", swap_disk(rig), {"swapping": hog()})], memory_mib=MEMORY_MIB)
    assert boot.log.count("hog:") == count(ROUNDS), boot.log


def swap_with_snapshots(rig, store, disks):
    boot = rig.boot(f"""
        {RESERVE}
        disk=/dev/disk/swap
        insmod /towline.ko
        uuid=$(track attach $disk 4K)
        swapon $disk
        for round in $(seq {count(ROUNDS)}); do
            hog {HOG_MIB} 1
            track snapshot {store} 64K $uuid
            hog {HOG_MIB} 2
            track snapshot_status $uuid
            track snapshot_delete $uuid
        done
        swapoff $disk
        track status $uuid
        track detach $uuid
        rmmod towline
        """, [swap_disk(rig), *disks], memory_mib=MEMORY_MIB)
    stored = [int(each) for each in re.findall(r"stored=(\d+)", boot.log)]
    rig.count(bios_seen=int(re.search(r"writes_seen=(\d+)", boot.log)[1]))
    assert len(stored) == count(ROUNDS) and sum(stored) > 50, boot.log


def test_a_snapshot_of_the_disk_that_is_swapped_to(rig):
    """Each page that goes out may first have to be read and kept, in memory that is scarce."""
    swap_with_snapshots(rig, "24M", [])


main(globals())
