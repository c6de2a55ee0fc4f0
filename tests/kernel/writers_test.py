#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every way in which programs write is noted, each write in its epoch, at sizes of 512 B to 1 MiB:
to a raw disk and through filesystems; and what every tracker promises (cbt/tracker.hpp) holds of the
module's, as tests/integration/tracker_conformance_test.py asks it of the others."""

import json

from rig.changes import KIB, MIB, blocks_different
from rig.disks import format_disk
from rig.runner import count, main
from rig.towline import towline_programs
from rig.tracking import Scene, play

WAYS = ("direct", "buffered", "mmap", "aio", "uring")
WRITES = 100  # of each way; TOWLINE_COUNT asks for more
WRITES_TOLD = 20  # of each way, through the tracker interface


def writes(rig, path, how, extra="", sample=WRITES):
    seed = rig.random.randrange(1 << 30)
    return f"writer {path} how={how} seed={seed} count={count(sample)} {extra}"


def test_every_way_of_writing_to_a_disk(rig):
    """Once a block each, once with blocks that are larger than most writes, and once through the
    tracker interface."""
    scenes, disk = [], rig.disk("conform", 16 * MIB)
    before = rig.copy(disk)
    for block in [4 * KIB, 64 * KIB]:
        steps = {how: writes(rig, "$disk", how) for how in WAYS}
        steps["nothing"] = ":"
        scenes.append(Scene(f"raw{block // KIB}", rig.disk(f"raw{block // KIB}", 32 * MIB + 12 * KIB),
                            steps, block=block))
    boot = play(rig, scenes, also=conformance(rig), disks=[disk],
                files=towline_programs("tracker_probe"), deadline=900)
    judge_conformance(boot, before, disk)


PROBE = r"""
probe() { tracker_probe kmod /tmp/state /tmp/pins "$@"; }
refused() {
    local code=$1
    shift
    must_fail probe "$@" >/tmp/refused
    grep "\"code\":\"$code\"" /tmp/refused || { cat /tmp/refused; return 1; }
}
sequence() { sed -n 's/.*[{,]"sequence":\([0-9]*\)[,}].*/\1/p' "$1"; }
freeze() { probe freeze "$tracker" >"$1"; keep "$1"; }
write_block() { dd if=/dev/urandom of=/dev/disk/conform bs=4096 count=1 seek="$1" oflag=direct 2>/dev/null; }
probe attach /dev/disk/conform 4096 | tr -d '"' >/tmp/tracker
tracker=$(cat /tmp/tracker)
"""
# Who froze, and died: the next freeze has both, and marks are dropped by commit alone.
PROMISES = """
write_block 100
freeze first
probe give-back $tracker $(sequence first)
probe give-back $tracker $(sequence first)
refused refused commit $tracker $(sequence first)
write_block 200
freeze second
write_block 300
freeze third
refused refused commit $tracker $(sequence second)
probe commit $tracker $(sequence third)
probe commit $tracker $(sequence third)
refused refused give-back $tracker $(sequence third)
probe status $tracker >status
freeze last
keep status
probe commit $tracker $(sequence last)
refused invalid status 00000000-0000-4000-8000-000000000000
refused invalid freeze 00000000-0000-4000-8000-000000000000
refused busy attach /dev/disk/conform
probe find /dev/disk/marks | grep null
probe find /dev/disk/conform | grep $tracker
probe detach $tracker
"""


def conformance(rig):
    steps = ""
    for how in WAYS:
        steps += (writes(rig, "/dev/disk/conform", how, sample=WRITES_TOLD) +
                  f"\nfreeze {how}\nprobe commit $tracker $(sequence {how})\n")
    return PROBE + steps + PROMISES


def judge_conformance(boot, before, disk):
    sets = {name: json.loads(boot.read(name))[0]
            for name in (*WAYS, "first", "second", "third", "last")}
    blocks = {name: {first + at for first, number in each["runs"] for at in range(number)}
              for name, each in sets.items()}
    assert all(each["trust"] == "exact" for each in sets.values()), sets
    missed = blocks_different(before, disk.path, 4096) - set().union(*blocks.values())
    assert not missed, f"missed {sorted(missed)[:9]}"
    assert all(blocks[how] for how in WAYS), {how: len(blocks[how]) for how in WAYS}
    assert [blocks[name] for name in ("first", "second", "third", "last")] == [
        {100}, {100, 200}, {100, 200, 300}, set()], blocks
    assert "merged" in sets["third"]["reasons"], sets["third"]
    status, third = json.loads(boot.read("status")), sets["third"]["sequence"]
    assert (status["sequence_frozen"], status["sequence_committed"]) == (0, third), status
    assert sets["last"]["after"] == third, sets["last"]


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
