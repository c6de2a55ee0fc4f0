#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The eBPF tracker on stock kernels, locked down as under Secure Boot: its programs load, each way of
writing is marked, and on a slow device-mapper device nothing in flight is lost."""

import json

from rig.changes import KIB, MIB, blocks_different
from rig.runner import count, main
from rig.towline import towline_programs

LOCKED = "lockdown=integrity"
BLOCK = 4 * KIB
PROGRAMS = ("tracker_probe", "bpf_race")
WAYS = ("direct", "buffered", "mmap", "aio", "uring")


PRELUDE = """
mount -t securityfs none /sys/kernel/security
grep -q "\\[integrity\\]" /sys/kernel/security/lockdown
probe() { tracker_probe bpf /tmp/state /sys/fs/bpf/towline "$@"; }
attach() { probe attach "$@" 4096 >/tmp/answer || { cat /tmp/answer; return 1; }; tr -d '"' </tmp/answer; }
"""


def sets_of(boot, names):
    return {name: json.loads(boot.read(name))[0] for name in names}


def blocks_in(answer):
    return {first + n for first, number in answer["runs"] for n in range(number)}


def judged(before, disk, sets):
    changed = blocks_different(before, disk.path, BLOCK)
    marked = set().union(*(blocks_in(each) for each in sets.values()))
    assert changed and not changed - marked, f"missed {sorted(changed - marked)[:9]}"
    for name, each in sets.items():
        assert each["trust"] == "exact" and each["runs"], f"{name}: {each}"


def load(rig, device, names):
    steps = []
    for number, how in enumerate(names):
        extra = "ranges=20" if how == "direct" else ""
        steps.append(f"writer {device} how={how} seed={rig.random.randrange(1 << 30)} "
                     f"count={count(20)} {extra}\n"
                     f"probe freeze $tracker >{how}\nprobe commit $tracker {number + 1}\n")
    return "".join(steps)


def test_every_way_of_writing(rig):
    disk = rig.disk("origin", 32 * MIB)
    before = rig.copy(disk)
    boot = rig.boot(f"""{PRELUDE}
        tracker=$(attach /dev/disk/origin)
        {load(rig, "/dev/disk/origin", WAYS)}
        keep {' '.join(WAYS)}
        """, [disk], module=False, files=towline_programs(*PROGRAMS), append=LOCKED)
    judged(before, disk, sets_of(boot, WAYS))


def slow(name):
    return f"""
        echo 0 {32 * MIB // 512} delay /dev/disk/{name} 0 0 /dev/disk/{name} 0 30 |
            dmsetup create --noudevsync slow-{name}
        dmsetup mknodes slow-{name}
        """


def test_slow_mapped_devices(rig):
    """Bio-based, and what is written reaches the disk 30 ms after it was submitted."""
    disk, raced = rig.disk("origin", 32 * MIB), rig.disk("raced", 32 * MIB)
    before = rig.copy(disk)
    boot = rig.boot(f"""{PRELUDE}
        modprobe dm_delay
        {slow("origin")} {slow("raced")}
        tracker=$(attach /dev/mapper/slow-origin)
        {load(rig, "/dev/mapper/slow-origin", WAYS)}
        bpf_race /dev/mapper/slow-raced /sys/fs/bpf/race {count(1)} {rig.random.randrange(1 << 30)} >race
        keep race {' '.join(WAYS)}
        """, [disk, raced], module=False, files=towline_programs(*PROGRAMS), append=LOCKED)
    judged(before, disk, sets_of(boot, WAYS))
    race = json.loads(boot.read("race"))
    assert race["stale_blocks"] == 0 and race["untrusted"] == 0 and race["harvests"] > 2, race
    rig.count(bpf_race_writes=race["writes"], bpf_stale_blocks=race["stale_blocks"])
    print(f"{rig.kernel.release}: {race}")


main(globals())
