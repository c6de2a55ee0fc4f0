#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`towline sync` of a mounted filesystem that is being written to, with the module's epochs and
images: each replica is clean and of one moment, increments bring only what changed, two targets
each get what they lack, and a run that is killed loses nothing."""

import json
import os

from rig.changes import MIB, blocks_different
from rig.machine import expect_crashed
from rig.qemu import Disk
from rig.runner import main
from rig.towline import towline_programs

SIZE = 96 * MIB
PROGRAMS = ("mkfs.ext4", "e2fsck")

# The filesystem carries a writer of files; `bring` checks each replica as it finds it.
PRELUDE = """
insmod /towline.ko
modprobe ext4 || true
state='--state-dir /tmp/state'
mkfs.ext4 -q -F /dev/disk/origin
mkdir -p /mnt/origin /tmp/state
mount -t ext4 /dev/disk/origin /mnt/origin
towline track attach /dev/disk/origin --tracker kmod
scribble() {
    local at=0
    while [ ! -e /tmp/enough ]; do
        dd if=/dev/urandom of=/mnt/origin/file$((at % 9)) bs=64k count=6 conv=fsync 2>/dev/null
        at=$((at + 1))
        usleep 60000
    done
}
# bring NAME TARGET [OPTIONS...]
bring() {
    local name=$1 target=$2
    shift 2
    towline sync /dev/disk/origin "$target" $state --json --quiet "$@" >"$name.json"
    e2fsck -fn "$target" >"$name.fsck" 2>&1 || { cat "$name.fsck"; return 1; }
    keep "$name.json"
}
"""


def target(rig, name):
    path = rig.dir / f"{name}.raw"
    path.write_bytes(b"")
    os.truncate(path, SIZE)
    return Disk(name, path)


def boot(rig, script, disks):
    return rig.boot(PRELUDE + script, disks, files=towline_programs("towline"), host_programs=PROGRAMS,
                    memory_mib=1024, deadline=500)


def told(booted, name):
    return json.loads(booted.read(f"{name}.json"))


def expect_tracked(rig, report, cause="tracked"):
    assert report["tracker"] == "kmod" and report["cause"] == cause, report
    assert report["trust"] == "exact" and report["snapshot"] == "kmod", report
    assert report["label"] == "filesystem" and 0 < report["freeze_seconds"] < 10, report
    print(f"  {rig.kernel.series} {report['bytes_changed'] >> 10} KiB changed, frozen "
          f"{report['freeze_seconds'] * 1e3:.1f} ms")


def expect_equal(origin, *replicas):
    for replica in replicas:
        different = blocks_different(origin.path, replica.path, 4096)
        assert not different, f"{replica.name}: {sorted(different)[:10]} differ"


def test_a_live_filesystem_and_two_targets(rig):
    origin, one, two = rig.disk("origin", SIZE), target(rig, "one"), target(rig, "two")
    booted = boot(rig, """
        scribble &
        writer=$!
        bring first /dev/disk/one --overwrite
        bring other /dev/disk/two --overwrite
        bring second /dev/disk/one
        bring third /dev/disk/one
        bring late /dev/disk/two
        must_fail towline sync /dev/disk/origin /dev/disk/one $state --tracker scan \\
            --snapshot fuse --quiet
        towline snapshot list >left
        [ ! -s left ] || { cat left; exit 1; }
        touch /tmp/enough
        wait $writer
        wait_until umount /mnt/origin
        bring still /dev/disk/one
        bring last /dev/disk/two
        towline track status /dev/disk/origin
        towline track detach /dev/disk/origin
        rmmod towline
        """, [origin, one, two])
    for name in ("second", "third", "late"):
        expect_tracked(rig, told(booted, name))
        assert told(booted, name)["bytes_changed"] < SIZE // 2, told(booted, name)
    for name in ("still", "last"):
        report = told(booted, name)
        assert report["cause"] == "tracked" and report["snapshot"] == "none", report
        assert report["label"] == "crash", report
    expect_equal(origin, one, two)


def test_a_killed_run_loses_nothing(rig):
    """Its snapshot is left behind, its epoch is committed or not: the next run finds both."""
    origin, one = rig.disk("origin", SIZE), target(rig, "one")
    booted = boot(rig, """
        scribble &
        writer=$!
        bring first /dev/disk/one --overwrite
        for wait in 700000 1400000 2200000 3500000 5000000; do
            usleep 400000
            towline sync /dev/disk/origin /dev/disk/one $state --quiet --rate 40 &
            run=$!
            usleep $wait
            kill -9 $run 2>/dev/null || true
            wait $run || true
        done
        bring again /dev/disk/one
        touch /tmp/enough
        wait $writer
        wait_until umount /mnt/origin
        bring last /dev/disk/one
        rm -rf /tmp/state
        bring forgotten /dev/disk/one --overwrite
        towline track detach /dev/disk/origin
        rmmod towline
        """, [origin, one])
    expect_tracked(rig, told(booted, "again"))
    assert told(booted, "last")["cause"] == "tracked", told(booted, "last")
    assert told(booted, "forgotten")["mode"] == "scan", told(booted, "forgotten")
    expect_equal(origin, one)


def test_a_stranger_takes_changes(rig):
    """Another state folder commits epochs that this one never saw: it compares, and says why."""
    origin, one, two = rig.disk("origin", SIZE), target(rig, "one"), target(rig, "two")
    booted = boot(rig, """
        bring first /dev/disk/one --overwrite
        dd if=/dev/urandom of=/mnt/origin/taken bs=64k count=4 conv=fsync 2>/dev/null
        towline sync /dev/disk/origin /dev/disk/two --state-dir /tmp/strange --quiet --overwrite
        dd if=/dev/urandom of=/mnt/origin/seen bs=64k count=4 conv=fsync 2>/dev/null
        bring second /dev/disk/one
        wait_until umount /mnt/origin
        bring last /dev/disk/one
        towline track detach /dev/disk/origin
        rmmod towline
        """, [origin, one, two])
    report = told(booted, "second")
    assert (report["mode"], report["cause"]) == ("scan", "changes-taken"), report
    assert told(booted, "last")["cause"] == "tracked", told(booted, "last")
    expect_equal(origin, one)


CRASH_PRELUDE = """
insmod /towline.ko
modprobe ext4 || true
mkdir -p /mnt/keep /mnt/origin
bring() {
    local name=$1
    shift
    towline sync /dev/disk/origin /dev/disk/one --state-dir /mnt/keep/state --json --quiet "$@" \\
        >"$name.json"
    e2fsck -fn /dev/disk/one >"$name.fsck" 2>&1 || { cat "$name.fsck"; return 1; }
    keep "$name.json"
}
"""


def test_a_crash_costs_the_hot_regions(rig):
    """With a log, what may have been written when the host died is compared, and nothing else."""
    size = 768 * MIB
    origin, one, keep = target(rig, "origin"), target(rig, "one"), rig.disk("keep", 32 * MIB)
    os.truncate(origin.path, size)
    os.truncate(one.path, size)
    disks, more = [origin, one, keep], {"files": towline_programs("towline"), "host_programs": PROGRAMS,
                                        "memory_mib": 1024, "deadline": 600}
    crashed = rig.boot(CRASH_PRELUDE + """
        mkfs.ext4 -q -F /dev/disk/keep
        mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 /dev/disk/origin
        mount -t ext4 /dev/disk/keep /mnt/keep
        mkdir /mnt/keep/state
        towline track attach /dev/disk/origin --tracker kmod --log /mnt/keep/origin.log
        mount -t ext4 /dev/disk/origin /mnt/origin
        bring first
        dd if=/dev/urandom of=/mnt/origin/sent bs=64k count=16 conv=fsync 2>/dev/null
        bring second
        dd if=/dev/urandom of=/mnt/origin/unsent bs=64k count=16 conv=fsync 2>/dev/null
        sync
        disk crash
        """, disks, unchecked=True, **more)
    expect_crashed(crashed)
    booted = rig.boot(CRASH_PRELUDE + """
        mount -t ext4 /dev/disk/keep /mnt/keep
        towline track attach /dev/disk/origin --tracker kmod --log /mnt/keep/origin.log
        mount -t ext4 /dev/disk/origin /mnt/origin
        bring third
        dd if=/dev/urandom of=/mnt/origin/more bs=64k count=16 conv=fsync 2>/dev/null
        bring fourth
        wait_until umount /mnt/origin
        bring last
        towline track detach /dev/disk/origin
        wait_until umount /mnt/keep
        rmmod towline
        """, disks, **more)
    report = told(booted, "third")
    assert (report["cause"], report["trust"]) == ("hot-regions", "superset"), report
    assert "crash" in report["trust_reasons"], report
    # Less is read than there is, and less is sent than is read.
    assert 0 < report["bytes_changed"] < report["bytes_read"] < size * 3 // 4, report
    print(f"  {rig.kernel.series} {report['bytes_read'] >> 20} of {size >> 20} MiB were compared")
    for name in ("fourth", "last"):
        assert told(booted, name)["cause"] == "tracked", told(booted, name)
    assert told(booted, "fourth")["audited_blocks"] > 0, told(booted, "fourth")
    expect_equal(origin, one)


main(globals())
