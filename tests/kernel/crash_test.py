#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""After a crash, whatever the replica has not is in the map. A guest writes, and keeps a replica by
epochs; its disks note each write and flush. From that, disks are made as they are after a power cut
at random moments, a part of them in the middle of an update of the intent log. In another boot they
are attached again: blocks that differ from the last sealed replica must be marked."""

import os
import shutil
from dataclasses import dataclass, field

from rig.builds import run
from rig.changes import MIB, Finding, blocks_different
from rig.disks import PARTITION_START, format_disk, format_partition
from rig.qemu import Disk
from rig.power_cut import SECTOR, Part, WriteLog
from rig.runner import count, main, on_one_kernel
from rig.tracking import TRUST_EXACT, fields, read_epoch

TRUST_SUPERSET, TRUST_UNKNOWN = 2, 3
REASON_RESTORED, REASON_CRASHED = 0x20, 0x40
BLOCK = 4096
VOLUME = 16 * MIB
LOG_START = PARTITION_START + VOLUME
LOG_SIZE = 8 * MIB  # room for an ext4 of its own
# Moments of each recording, as disks of one boot; TOWLINE_COUNT asks for that many recordings.
CUTS = 20 if "TOWLINE_COUNT" in os.environ else 5
CUTS_IN_LOG = CUTS * 2 // 5  # of these, in the middle of an update of the log
ORIGIN_SEAL = 100  # a sector before the first partition
REPLICA_SEAL = VOLUME // SECTOR

PART = """
name_parts() {
    local disk
    for disk in "$@"; do
        ln -sf "$(readlink /dev/disk/$disk)1" /dev/disk/$disk-1
        ln -sf "$(readlink /dev/disk/$disk)2" /dev/disk/$disk-2
    done
}
insmod /towline.ko
"""

# Small places that are written for a moment each: regions heat and cool all the time.
RECORD = """
name_parts origin
{setup}
intent attach /dev/disk/origin-1 {log} create no_gap region=1M block=4K >attached
uuid=$(sed -n 's/uuid=\\([0-9a-f]*\\) .*/\\1/p' attached)
disk copy /dev/disk/origin-1 /dev/disk/replica
replicate /dev/disk/origin-1 /dev/disk/replica $uuid rounds=1 {seals}
(
    seed={seed}
    while [ ! -e stop ]; do
        seed=$(((seed * 1103515245 + 12345) % 2147483648))
        start=$((seed / 65536 % {places}))
        for how in {hows}; do
            {write}
        done
    done
) &
replicate /dev/disk/origin-1 /dev/disk/replica $uuid rounds={rounds} seed={seed} \
    pause_us=150000 unsettled=6 {seals}
: >stop
wait
intent status $uuid >status
track status $uuid >track.status
{ranges}
keep attached status track.status ranges
"""
# No two writes to one place at once: which of them a disk has last its log does not say.
WRITE_FILE = """
            writer /mnt/file$start how=$how seed=$seed count=12 max=32K span=1M pause_us=1000 >/dev/null
"""
WRITE_HALVES = """
            for half in 0 512; do
                writer /dev/disk/origin-1 how=$how seed=$((seed + half)) count=6 max=32K depth=1 \
                    start=$((start * 1024 + half))K span=512K pause_us=1000 {flushes} >/dev/null &
            done
            wait
"""
SEALS = f"seal=/dev/disk/replica,{REPLICA_SEAL} seal=/dev/disk/origin,{ORIGIN_SEAL}"
CHECK = """
intent attach /dev/disk/cut{n}-1 {log} no_gap >cut{n}.begin
uuid=$(sed -n 's/uuid=\\([0-9a-f]*\\) .*/\\1/p' cut{n}.begin)
epoch cut{n} $uuid
track detach $uuid
keep cut{n}.begin cut{n}.epoch cut{n}.map
"""


@dataclass
class Recording:
    origin: Disk
    replica: Disk
    boot: object
    both: Disk | None = None  # of which the origin and the log's disk are parts
    log_disk: Disk | None = None
    at_extents: str = ""  # of the log on the volume; "": it has a partition of its own
    own: list = field(default_factory=list)  # bytes of the log on the disk: (first, end)
    uuid: str = ""


def two_partitions(path):
    """The volume, and what is for the log."""
    table = "label: dos\n" + "".join(
        f"start={start // SECTOR}, size={size // SECTOR}, type=83\n"
        for start, size in ((PARTITION_START, VOLUME), (LOG_START, LOG_SIZE)))
    table_file = path.with_suffix(".sfdisk")
    table_file.write_text(table, encoding="ascii")
    run(["sh", "-c", f"sfdisk --quiet --wipe never '{path}' <'{table_file}'"])


class Power:
    """What the disks noted, and how they are after a cut. `order` is all of it in order, an index
    into it a moment. Two disks lose what they did not flush each for itself."""

    def __init__(self, made):
        self.origin = WriteLog(made.origin.write_log)
        self.order = WriteLog(made.both.write_log) if made.both else self.origin
        self.log = WriteLog(made.log_disk.write_log) if made.both else None

    def first(self):
        """From where on there is a replica: the guest knows of the first seal when it makes another."""
        return sorted(self.order.seals(ORIGIN_SEAL).values())[1]

    def replay(self, disk, at, random):
        """The index into the origin's own log."""
        if not self.log:
            self.origin.replay(disk, at, random)
            return at
        Part(self.log, self.order, LOG_START, LOG_START + LOG_SIZE).replay(disk, at, random)
        return Part(self.origin, self.order, 0, LOG_START).replay(disk, at, random)


def parts_of(both):
    """As disks of their own: what is before the log's partition, and that."""
    return [Disk("origin", both.path, part_of=both, start=0, size=LOG_START),
            Disk("log", both.path, part_of=both, start=LOG_START, size=LOG_SIZE)]


def record(rig, name, *, on_volume=False, on_disk=False):
    origin = rig.disk("origin", LOG_START + LOG_SIZE)
    two_partitions(origin.path)
    more = {"setup": "", "log": "/dev/disk/origin-2", "places": VOLUME // MIB,
            "write": WRITE_HALVES.format(flushes=""), "hows": "direct uring buffered", "ranges": ": >ranges"}
    if on_volume:
        format_partition(origin.path, "ext4", VOLUME)
        more = {"setup": "modprobe ext4; mount /dev/disk/origin-1 /mnt\n"
                         "intent make /mnt/log /dev/disk/origin-1 region=1M",
                "log": "/mnt/log", "places": 9, "write": WRITE_FILE, "hows": "direct buffered",
                "ranges": "intent extents /mnt/log >ranges"}
    shutil.copy(origin.path, rig.dir / "before.raw")
    disks, both, log_disk = [origin], None, None
    if on_disk:
        both = Disk("both", origin.path, write_log=rig.dir / "both.log")
        origin, log_disk = disks = parts_of(both)
        log_disk.write_log = rig.dir / "log.log"
        # Nobody flushes the volume but the module, when a region is to cool.
        more |= {"log": "/dev/disk/log", "hows": "direct uring",
                 "write": WRITE_HALVES.format(flushes="unflushed=1")}
    replica = rig.disk("replica", VOLUME + MIB)
    shutil.copy(replica.path, rig.dir / "replica-before.raw")
    origin.write_log, replica.write_log = rig.dir / "origin.log", rig.dir / "replica.log"
    script = RECORD.format(seed=rig.random.randrange(1 << 30), rounds=30, seals=SEALS, **more)
    boot = rig.boot(PART + script, [*disks, replica])
    made = Recording(origin, replica, boot, both, log_disk,
                     uuid=fields(boot.read("attached").decode())["uuid"])
    rig.count(bios_seen=int(fields(boot.read("track.status").decode())["writes_seen"]))
    made.own = [(LOG_START, LOG_START + LOG_SIZE)]
    if on_volume:
        made.at_extents = boot.read("ranges").decode().strip()
        made.own = [tuple(PARTITION_START + at * SECTOR for at in (first, first + sectors))
                    for first, sectors in (map(int, each.split("+"))
                                           for each in made.at_extents.split(","))]
    print(f"  {rig.kernel.series} {name}: {fields(boot.read('status').decode())}")
    return made


def moments(rig, made, power):
    """Indices of entries, each the first that is not there any more, those in the log first; and how
    many writes of the log there were."""
    first, end = power.first(), len(power.order.entries)
    within = [index for index in range(first, end) if power.order.touches(index, made.own)]
    inside = [index + 1 for index in rig.random.sample(within, min(len(within), CUTS_IN_LOG))]
    return inside + [rig.random.randrange(first, end + 1)
                     for _ in range(CUTS - len(inside))], len(within)


def cut(rig, number, at, power, replica_log, replica_seals):
    """The origin's disk as it is after the cut, and the replica as it was last sealed before."""
    disk = Disk(f"cut{number}", rig.dir / f"cut{number}.raw")
    shutil.copy(rig.dir / "before.raw", disk.path)
    at = power.replay(disk.path, at, rig.random)
    seals = power.origin.seals(ORIGIN_SEAL)
    sealed = max(each for each, behind in seals.items() if behind <= at)
    replica = rig.dir / f"replica{number}.raw"
    shutil.copy(rig.dir / "replica-before.raw", replica)
    replica_log.replay(replica, replica_seals[sealed])
    return disk, replica


def judge(rig, made, boot, number, disk, replica, was):
    """`was`: the volume after the cut, before anybody attached it again."""
    begun = fields(boot.read(f"cut{number}.begin").decode())
    told, marked = read_epoch(boot, f"cut{number}")
    changed = blocks_different(was, replica, BLOCK, 0, VOLUME)
    own = {block for first, end in made.own
           for block in range((first - PARTITION_START) // BLOCK, (end - 1 - PARTITION_START) // BLOCK + 1)}
    finding = Finding(changed - own, marked)
    lost = bool(finding.missed) and told["trust"] != TRUST_UNKNOWN
    rig.count(crash_points=1, crash_points_lost=int(lost), blocks_missed=len(finding.missed) if lost else 0)
    print(f"  {rig.kernel.series} {disk.name}: {finding}")
    # The last of a recording is its shutdown: behind it there was no crash.
    expected = {TRUST_SUPERSET: REASON_CRASHED, TRUST_EXACT: REASON_RESTORED}
    assert begun["uuid"] == made.uuid and told["trust"] in expected, (begun, told)
    assert told["reasons"] & expected[told["trust"]], told
    assert not finding.missed, f"{disk.name}: {finding}"
    assert len(marked) < VOLUME // BLOCK, "all of it is hot: nothing was tested"


def crash(rig, name, **where):
    made = record(rig, name, **where)
    power, replica_log = Power(made), WriteLog(made.replica.write_log)
    replica_seals = replica_log.seals(REPLICA_SEAL)
    disks, replicas, befores, script = [], [], [], PART
    cuts, log_writes = moments(rig, made, power)
    for number, at in enumerate(cuts):
        disk, replica = cut(rig, number, at, power, replica_log, replica_seals)
        disks.append(disk)
        replicas.append(replica)
        was = rig.dir / f"was{number}.raw"
        run(["dd", f"if={disk.path}", f"of={was}", "bs=1M", f"skip={PARTITION_START // MIB}",
             f"count={VOLUME // MIB}", "conv=sparse", "status=none"])
        befores.append(was)
        script += f"name_parts {disk.name}\n" + CHECK.format(
            n=number, log=f"/dev/disk/{disk.name}-1 extents={made.at_extents}" if made.at_extents
            else f"/dev/disk/{disk.name}-2")
    boot = rig.boot(script + "rmmod towline\n", disks)
    for number, disk in enumerate(disks):
        judge(rig, made, boot, number, disk, replicas[number], befores[number])
    assert log_writes > 20, f"{log_writes} writes of the log: regions did not heat and cool"


def test_power_cuts_with_the_log_on_another_partition(rig):
    for _ in range(count(1)):
        crash(rig, "another")


def test_power_cuts_with_the_log_on_the_volume(rig):
    for _ in range(count(1)):
        crash(rig, "same", on_volume=True)


@on_one_kernel
def test_power_cuts_with_the_log_on_another_disk(rig):
    """Each of the two keeps what it flushed, and no more."""
    for _ in range(count(1)):
        crash(rig, "disk", on_disk=True)


main(globals())
