#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A guest's mounted root volume, replicated while a database writes to it. Its power is cut in the
middle of a run; the next boot catches up by comparing hot regions alone, and in the end the replica
is the origin, byte for byte. `tools/try --vm` shows this very test."""

import json
import os
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

from rig.changes import MIB, blocks_different
from rig.initramfs import add_program
from rig.qemu import Disk, blank
from rig.root_volume import BLOCK, blocks_of_log, boot_root, make_initramfs, make_log, root_disk
from rig.runner import main

SIZE = 256 * MIB
CUT = "@@cut the power@@"
TOWLINE = Path(os.environ["TOWLINE_BIN"]) / "towline"

PRELUDE = """
state=/state
say() { echo "## $*"; }
# Onto the replica at once: all other disks that there are for a journal are the source itself.
bring() {
    local name=$1
    shift
    towline sync /dev/vda /dev/disk/replica --direct --state-dir $state --json --quiet "$@" >/tmp/$name.json
    keep /tmp/$name.json
}
# A row a transaction, each durable before the next; its number is its key.
load() {
    while [ ! -e /tmp/enough ]; do
        sqlite3 /database "INSERT INTO rows (body) VALUES (randomblob(3000));"
    done
}
"""
STAGES = {
    1: PRELUDE + """
        sqlite3 /database "CREATE TABLE rows (number INTEGER PRIMARY KEY, body BLOB);"
        load &
        say "the first copy, of a root filesystem in use"
        bring first --overwrite
        say "an incremental run, and one whose power is cut"
        bring second
        dd if=/dev/urandom of=/large bs=64k count=160 conv=fsync 2>/dev/null
        towline sync /dev/vda /dev/disk/replica --direct --state-dir $state --quiet --rate 16 &
        # A cut beside the freeze, which changes the superblock, may cost a comparison of all.
        imaged() { ls /dev/towline/* >/dev/null 2>&1; }
        wait_until imaged
        sleep 2
        echo "%s"
        sleep 600
        """ % CUT,
    2: PRELUDE + """
        load &
        say "after the power cut: hot regions alone are compared"
        bring third
        bring fourth
        touch /tmp/enough
        wait
        sync
        # Nothing changes any more: what is brought now is what is there.
        cp -r /state /tmp/state
        # The ring of a process that has ended lets go of its files a little later.
        wait_until mount -o remount,ro /
        state=/tmp/state
        bring last
        """,
}


def fill(folder):
    add_program(folder, str(TOWLINE))
    add_program(folder, "sqlite3")


def cut_when_told(log):
    """QEMU is killed: what the guest had not written is gone."""
    def watch(qemu):
        while qemu.poll() is None:
            if log.exists() and CUT.encode() in log.read_bytes():
                qemu.kill()
            time.sleep(0.05)
    return lambda qemu: threading.Thread(target=watch, args=(qemu,), daemon=True).start()


def told(booted, name):
    return json.loads(booted.read(f"tmp/{name}.json"))


def tell(rig, what):
    print(f"  {rig.kernel.series} {what}", flush=True)


def show(rig, report, what):
    tell(rig, f"{what}: {report['cause']}, {report['bytes_read'] >> 10} KiB read, "
              f"{report['bytes_changed'] >> 10} KiB changed, {report['label']}, frozen for "
              f"{report['freeze_seconds'] * 1e3:.0f} ms")


def rows_in(rig, disk):
    """How many the database on the disk has; it has to be whole."""
    copy = rig.dir / f"{disk.name}.database"
    subprocess.run(["debugfs", "-R", f"dump /database {copy}", disk.path], check=True,
                   capture_output=True)
    database = sqlite3.connect(copy)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    count, highest = database.execute("SELECT count(*), max(number) FROM rows").fetchone()
    assert count == highest, (count, highest)
    return count


def test_a_live_root_and_a_power_cut(rig):
    tell(rig, "making a root filesystem, and on it the intent log")
    root, replica = root_disk(rig, SIZE, STAGES, fill), Disk("replica", rig.dir / "replica.raw")
    blank(replica.path, SIZE)
    extents = make_log(rig, root)
    image = make_initramfs(rig, extents)
    more = {"memory_mib": 1024, "deadline": 600}

    tell(rig, "booting from it, tracked from the initramfs on; a database writes all the time")
    log = rig.dir / f"boot-{rig.boots + 1}/serial.log"
    cut = boot_root(rig, image, 1, [root, replica], unchecked=True, on_start=cut_when_told(log), **more)
    assert CUT in cut.log and cut.exit is None, cut.log[-3000:]
    show(rig, told(cut, "first"), "the first copy")
    second = told(cut, "second")
    show(rig, second, "an increment")
    assert (second["cause"], second["trust"]) == ("tracked", "exact"), second

    tell(rig, "the power was cut in the middle of a run; booting again")
    after = boot_root(rig, image, 2, [root, replica], **more)
    third, last = told(after, "third"), told(after, "last")
    show(rig, third, "after the power cut")
    assert (third["cause"], third["trust"]) == ("hot-regions", "superset"), third
    assert third["bytes_changed"] < third["bytes_read"] < SIZE // 2, third
    for name in ("fourth", "last"):
        assert told(after, name)["cause"] == "tracked", told(after, name)
    show(rig, last, "at last")

    different = blocks_different(root.path, replica.path, BLOCK) - blocks_of_log(extents)
    rig.count(crash_points=1, crash_points_lost=int(bool(different)))
    assert not different, f"{len(different)} blocks differ: {sorted(different)[:10]}"
    subprocess.run(["e2fsck", "-fn", replica.path], check=True, capture_output=True)
    tell(rig, f"replica = origin, its filesystem clean, {rows_in(rig, replica)} rows in its database")


main(globals())
