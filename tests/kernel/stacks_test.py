#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Devices of other drivers, and stacks of them, each level attached at once: NVMe and SCSI disks with
their partitions; a mirror by md below a volume group, the volume on it, and what lies under both.
Truth is the image of the disk at the bottom, before and after."""

from dataclasses import dataclass

from rig import lvm
from rig.changes import KIB, MIB, Finding, blocks_different
from rig.disks import PARTITION_START, partition
from rig.qemu import Disk
from rig.runner import count, main
from rig.tracking import TRUST_EXACT, read_epoch

BLOCK = 4 * KIB
WAYS = ("direct", "buffered", "mmap", "aio", "uring")
WRITES = 30
PART = 16 * MIB
VOLUME = 24 * MIB


@dataclass
class Level:
    """A device of the guest that is attached; its byte `shift` is the byte 0 of what was written to,
    which lies on `disk` from `start`, `length` bytes."""
    name: str
    device: str
    disk: Disk
    start: int
    length: int
    shift: int = 0


def writes(rig, device):
    text = ""
    for how in WAYS:
        text += (f"writer {device} how={how} seed={rig.random.randrange(1 << 30)} "
                 f"count={count(WRITES)} {'ranges=10' if how == 'direct' else ''}\n")
    return text


def tracked(levels, act):
    """The script: every level is attached, `act` is done, and an epoch of each ends."""
    begin = "".join(f"{each.name}=$(track attach {each.device} {BLOCK})\n" for each in levels)
    end = "".join(f"epoch {each.name} ${each.name}\nkeep {each.name}.epoch {each.name}.map\n"
                  for each in levels)
    detach = "".join(f"track detach ${each.name}\n" for each in levels)
    return f"insmod /towline.ko\n{begin}{act}\nsync\n{end}{detach}rmmod towline\n"


def judge(rig, boot, levels, befores):
    for each in levels:
        told, marked = read_epoch(boot, each.name)
        assert told["trust"] == TRUST_EXACT and told["block_size"] == BLOCK, told
        changed = blocks_different(befores[each.disk.name], each.disk.path, BLOCK, each.start,
                                   each.length)
        first = each.shift // BLOCK
        finding = Finding({first + block for block in changed}, marked)
        rig.count(blocks_missed=len(finding.missed))
        assert changed and not finding.missed, f"{each.name}: {finding}"
        print(f"  {rig.kernel.series} {each.name}: {finding}")


def test_nvme_and_scsi_disks_and_their_partitions(rig):
    levels, befores, disks = [], {}, []
    for bus, name, part in (("nvme", "nvme0n1", "nvme0n1p1"), ("scsi", "sda", "sda1")):
        disk = rig.disk(bus, 24 * MIB, bus=bus)
        partition(disk.path, PART)
        befores[bus] = rig.copy(disk)
        disks.append(disk)
        levels += [Level(f"{bus}_disk", f"/dev/{name}", disk, 0, 24 * MIB),
                   Level(f"{bus}_part", f"/dev/{part}", disk, PARTITION_START, PART)]
    # By the partition, and by the disk's node across the partition's edges.
    act = "".join(writes(rig, each.device) for each in levels if each.name.endswith("part"))
    for each in levels:
        if each.name.endswith("disk"):
            act += f"disk write {each.device} 1020K 8K 1\ndisk write {each.device} 17404K 8K 2\n"
    boot = rig.boot("for name in nvme virtio_scsi sd_mod; do modprobe $name; done\n"
                    "wait_until test -b /dev/nvme0n1p1\nwait_until test -b /dev/sda1\n"
                    + tracked(levels, act), disks, modules=("nvme", "virtio_scsi", "sd_mod"))
    judge(rig, boot, levels, befores)


def test_a_volume_on_a_mirror(rig):
    """What is written to the logical volume, its filesystem included, is noted at each level."""
    disks = [rig.disk("one", 48 * MIB), rig.disk("two", 48 * MIB)]
    befores = {disk.name: rig.copy(disk) for disk in disks}
    span = (lvm.DATA_START, VOLUME)
    levels = [Level("volume", "/dev/mapper/data-volume", disks[0], *span),
              Level("mirror", "/dev/md0", disks[0], *span, lvm.DATA_START),
              Level("member_one", "/dev/disk/one", disks[0], *span, lvm.DATA_START),
              Level("member_two", "/dev/disk/two", disks[1], *span, lvm.DATA_START)]
    act = writes(rig, "/dev/mapper/data-volume") + """
        mkfs.ext4 -q -F -E nodiscard /dev/mapper/data-volume
        mount -t ext4 /dev/mapper/data-volume /mnt
        for n in $(seq 40); do echo $n >/mnt/$n; done
        umount /mnt
        """
    # The superblock at the end: what is on the mirror lies on its members at the same place.
    boot = rig.boot("""
        for name in raid1 dm_mod ext4; do modprobe $name; done
        mdadm --create /dev/md0 --quiet --run --assume-clean --level=1 --raid-devices=2 --metadata=1.0 \\
            $(readlink -f /dev/disk/one) $(readlink -f /dev/disk/two)
        lvm vgcreate -q data /dev/md0
        lvm lvcreate -q -y -n volume -L %db data
        """ % VOLUME + tracked(levels, act) + """
        lvm vgchange -q -an data
        mdadm --stop --quiet /dev/md0
        """, disks, modules=("raid1",), host_programs=("lvm", "mdadm", "mkfs.ext4"),
                    files=lvm.FILES)
    judge(rig, boot, levels, befores)


main(globals())
