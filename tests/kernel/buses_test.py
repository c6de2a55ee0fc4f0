#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Disks other than virtio-blk, and what is stacked by LVM and md: epochs are copied to a replica while
writers are at work, some from an image, and in the end the replica is the origin."""

import re

from rig.changes import MIB
from rig.runner import count, main

ROUNDS = 3  # of each; TOWLINE_COUNT asks for more
SIZE = 16 * MIB

# replicated DEVICE TRACKED SPAN: DEVICE is written, of which TRACKED is followed.
REPLICATED = """
insmod /towline.ko
replicated() {{
    local tracked=$2 uuid writers='' start=0 how
    disk copy $tracked /dev/disk/replica
    uuid=$(track attach $tracked 4K)
    for how in direct uring buffered; do
        writer $1 how=$how seed={seed} seconds=600 max=64K depth=6 start=$start span=$3 \\
            ranges=${{4:-0}} pause_us=3000 &
        writers="$writers $!"
        start=$((start + $3))
    done
    replicate $tracked /dev/disk/replica $uuid rounds={rounds} seed={seed} drain=2 pause_us=10000
    replicate $tracked /dev/disk/replica $uuid rounds={rounds} seed={seed} snapshot=50M chunk=64K verify=2
    kill -TERM $writers
    for writer in $writers; do wait $writer; done
    sync
    replicate $tracked /dev/disk/replica $uuid rounds=1
    track status $uuid | grep writes_seen
    track detach $uuid
    # Past the cache, which writes to another node of the same bytes do not reach.
    echo 3 >/proc/sys/vm/drop_caches
    cmp -n $(blockdev --getsize64 $tracked) $tracked /dev/disk/replica || echo "blocks of the replica differ"
}}
"""


def scene(rig, script, disks, **more):
    text = REPLICATED.format(seed=rig.random.randrange(1 << 30), rounds=count(ROUNDS))
    disks = [*disks, rig.disk("replica", 64 * MIB)]
    boot = rig.boot(f"{text}{script}\nrmmod towline\n", disks, deadline=400 + 5 * count(ROUNDS),
                    **more)
    differ = boot.log.count("replica differ")
    rig.count(blocks_missed=differ,
              bios_seen=sum(int(each) for each in re.findall(r"writes_seen=(\d+)", boot.log)))
    assert not differ, boot.log
    return boot


def on_bus(rig, bus):
    disk = rig.disk("origin", SIZE)
    disk.bus = bus
    return disk


def test_nvme_and_scsi(rig):
    """An NVMe disk, one of virtio-scsi, and the kernel's own scsi_debug; discards among the writes."""
    nvme, scsi = on_bus(rig, "nvme"), rig.disk("scsi", SIZE)
    scsi.bus = "scsi"
    scene(rig, f"""
        modprobe nvme
        modprobe virtio_scsi
        modprobe sd_mod
        wait_until [ -b /dev/nvme0n1 ]
        wait_until [ -b /dev/sda ]
        replicated /dev/nvme0n1 /dev/nvme0n1 {SIZE // 3 // 4096 * 4096} 5
        replicated /dev/sda /dev/sda {SIZE // 3 // 4096 * 4096} 5
        modprobe scsi_debug dev_size_mb=16 lbpu=1 lbprz=1 delay=1
        wait_until [ -b /dev/sdb ]
        replicated /dev/sdb /dev/sdb {SIZE // 3 // 4096 * 4096} 5
        """, [nvme, scsi], modules=("nvme", "virtio_scsi", "sd_mod", "scsi_debug"))


def test_lvm_over_md(rig):
    """A volume of LVM on a mirror of md: the volume is followed, then the mirror, then a disk of it,
    while the volume is written to."""
    scene(rig, f"""
        modprobe dm_mod
        modprobe raid1
        mkdir -p /etc/lvm /run/lock/lvm
        one=$(readlink -f /dev/disk/one)
        two=$(readlink -f /dev/disk/two)
        mdadm --create /dev/md0 --run --level=1 --metadata=1.0 --raid-devices=2 --assume-clean $one $two
        lvm pvcreate -qq /dev/md0
        lvm vgcreate -qq vg /dev/md0
        lvm lvcreate -qq --zero n --wipesignatures n -L 16M -n lv vg 2>/dev/null
        lvm vgmknodes -qq
        replicated /dev/vg/lv /dev/vg/lv 4194304
        replicated /dev/vg/lv /dev/md0 4194304
        replicated /dev/vg/lv $one 4194304
        lvm vgchange -qq -an vg
        mdadm --stop /dev/md0
        """, [rig.disk("one", 24 * MIB), rig.disk("two", 24 * MIB)],
        modules=("raid1",), host_programs=("lvm", "mdadm"))


def test_md_over_lvm(rig):
    """The other way round: stripes of md over two volumes of LVM."""
    scene(rig, f"""
        modprobe dm_mod
        modprobe raid0
        mkdir -p /etc/lvm /run/lock/lvm
        one=$(readlink -f /dev/disk/one)
        lvm pvcreate -qq $one
        lvm vgcreate -qq vg $one
        for name in a b; do
            lvm lvcreate -qq --zero n --wipesignatures n -L 12M -n $name vg 2>/dev/null
        done
        lvm vgmknodes -qq
        mdadm --create /dev/md0 --run --level=0 --chunk=64 --raid-devices=2 /dev/vg/a /dev/vg/b
        replicated /dev/md0 /dev/md0 4194304 5
        replicated /dev/md0 /dev/vg/a 4194304
        replicated /dev/md0 $one 4194304
        mdadm --stop /dev/md0
        lvm vgchange -qq -an vg
        """, [rig.disk("one", 48 * MIB)], modules=("raid0",), host_programs=("lvm", "mdadm"))


main(globals())
