#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A database on a filesystem that is replicated again and again while it is written to: each point
mounts at once, its filesystem is clean, and the database in it is what it was at that moment; what is
pruned is given back. TOWLINE_COUNT points (a campaign: 50), of which a tenth is kept.

The moment is the tracked mount's own: writes are held, the epoch ends and a snapshot begins, the writes
go on. It is that of a power cut: the journal of the filesystem and the log of the database are replayed,
on an overlay. What was committed before the run began is in the point, and nothing that was committed
after it ended; between the two only the database itself knows."""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time

from lib.lab import MIB, Skip, unmount, wait_for
from lib.mounted import Mounted
from lib.runner import count, main
from lib.tracked import Tracked
from lib.vault import Vault, towline

SIZE = 64 * MIB
LOADED_SECONDS = 0.3  # between two runs

WRITER = '''
import hashlib, os, random, sqlite3, sys, time
path, told, seed = sys.argv[1:]
random = random.Random(seed)
told = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
base = sqlite3.connect(path, isolation_level=None)
base.execute("PRAGMA journal_mode=WAL")
base.execute("PRAGMA synchronous=FULL")
base.execute("CREATE TABLE chain (id INTEGER PRIMARY KEY, payload BLOB, digest TEXT)")
base.execute("CREATE TABLE scratch (id INTEGER PRIMARY KEY, payload BLOB)")
digest, number = "", 0
while True:
    number += 1
    payload = random.randbytes(random.randrange(10, 4000))
    digest = hashlib.sha256(digest.encode() + payload).hexdigest()
    base.execute("BEGIN")
    base.execute("INSERT INTO chain VALUES (?, ?, ?)", (number, payload, digest))
    base.execute("INSERT OR REPLACE INTO scratch VALUES (?, ?)",
                 (random.randrange(50), random.randbytes(20_000)))
    if number % 20 == 0:
        base.execute("DELETE FROM scratch WHERE id % 7 = ?", (number % 7,))
    base.execute("COMMIT")
    os.write(told, b"x")
    if number % 200 == 0:
        base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    time.sleep(0.003 if number < 12_000 else 3600)  # it must not fill the disk
'''


class OnThisHost(Tracked):
    """Where `towline sync` looks for tracked mounts."""

    def command(self, *words):
        return [each if each != str(self.lab.dir / "run") else "/run/towline"
                for each in super().command(*words)]


class Database:
    """SQLite on ext4 on a loop device on a tracked mount, with a program that writes to it."""

    def __init__(self, lab):
        self.tracked = OnThisHost(lab, lab.image("image", SIZE, bytes(SIZE)))
        self.volume = self.tracked.volume
        loop = self.tracked.loop()
        subprocess.run(["mkfs.ext4", "-q", loop], check=True)
        self.at = lab.mount(loop, lab.dir / "filesystem")
        self.told = lab.dir / "told"
        self.writer = subprocess.Popen([sys.executable, "-c", WRITER, self.at / "base.sqlite",
                                        self.told, str(lab.random.randrange(1000))])
        lab.at_end(self.stop)
        wait_for(lambda: self.committed() > 20, 60)

    def committed(self):
        assert self.writer.poll() is None, "the writer died"
        return self.told.stat().st_size if self.told.exists() else 0

    def stop(self):
        self.writer.kill()
        self.writer.wait()


def rows_of(path):
    """How many rows the chain has, all of them right."""
    base = sqlite3.connect(path)
    assert base.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    digest, expected = "", 1
    for number, payload, stored in base.execute("SELECT * FROM chain ORDER BY id"):
        digest = hashlib.sha256(digest.encode() + payload).hexdigest()
        assert (number, stored) == (expected, digest), (number, expected)
        expected += 1
    base.close()
    return expected - 1


def used(folder):
    return int(subprocess.run(["du", "-s", "--block-size=1", folder], check=True, text=True,
                              capture_output=True).stdout.split()[0])


def check_point(lab, vault, point, least, most):
    """The seconds that mounting took."""
    began = time.monotonic()
    mounted = Mounted(lab, vault, point, "--overlay", "--scratch", lab.dir)
    seconds = time.monotonic() - began
    assert mounted.file.stat().st_size == SIZE
    at = lab.dir / "looked-at"
    loop = lab.loop(mounted.file, 512, "--direct-io=on")
    lab.mount(loop, at)
    copy = lab.dir / "base"
    copy.mkdir(exist_ok=True)
    for name in ("base.sqlite", "base.sqlite-wal"):
        (copy / name).unlink(missing_ok=True)
        if (at / name).exists():
            shutil.copy(at / name, copy / name)
    unmount(at)
    subprocess.run(["e2fsck", "-fn", loop], check=True, capture_output=True)
    subprocess.run(["losetup", "-d", loop], check=True)
    mounted.unmount()
    rows = rows_of(copy / "base.sqlite")
    assert least <= rows <= most, (least, rows, most)
    return seconds


def test_a_history(lab):
    points = count(5)
    kept = max(2, points // 10)
    database = Database(lab)
    vault = Vault(lab)
    expected = {}
    for number in range(points):
        least = database.committed()
        report = lab.sync(database.volume, vault.url)
        # One more may be committed and not yet told of.
        expected[report["base"]["point"]] = (least, database.committed() + 1)
        assert report["label"] == "crash" and report["snapshot"] == "fuse", report
        assert report["mode"] == ("full" if number == 0 else "extents"), report
        time.sleep(LOADED_SECONDS)
    database.stop()
    # What is mounted is compared from a snapshot; it was written to since.
    done = towline("verify", database.volume, f"{vault.url}@latest", "--json", "--state-dir",
                   lab.state, exit=6)
    verdict = json.loads(done.stdout)
    assert verdict["snapshot"] == "fuse" and not verdict["equal"], verdict
    assert vault.points() == list(expected)
    seconds = [check_point(lab, vault, point, *expected[point]) for point in vault.points()]
    print(f"     {points} points mounted in {min(seconds):.2f} to {max(seconds):.2f} s")
    assert min(seconds) < 1, seconds

    before = used(vault.dir)
    towline("vault", "prune", vault.dir, "--keep-last", kept)
    assert vault.points() == list(expected)[-kept:]
    for point in vault.points():
        check_point(lab, vault, point, *expected[point])
    assert vault.scrub()["garbage_bytes"] == 0
    after = used(vault.dir)
    bound = room_for(lab, vault)
    print(f"     {before >> 10} KiB of {points} points, {after >> 10} KiB of {kept}, "
          f"a new vault of them has at most {bound >> 10} KiB")
    assert after < bound * 1.1 + MIB and after < before, (before, after, bound)
    export(lab, vault)


def room_for(lab, vault):
    """What the points would take in a vault of their own: the first one whole, then what changed."""
    points = json.loads(towline("point", "list", vault.url, "--json").stdout)["points"]
    first = lab.dir / "first.raw"
    towline("export", f"{vault.url}@{points[0]['id']}", first, "--state-dir", lab.state)
    alone = lab.dir / "alone"
    towline("vault", "init", alone)
    lab.sync(first, f"vault:{alone}/disk")
    return used(alone) + sum(each["volumes"][0]["stored_bytes"] for each in points[1:])


def export(lab, vault):
    if not shutil.which("qemu-img"):
        raise Skip("no qemu-img; install qemu-utils")
    qcow2 = lab.dir / "latest.qcow2"
    towline("export", f"{vault.url}@latest", qcow2, "--format", "qcow2")
    subprocess.run(["qemu-img", "check", "-q", qcow2], check=True)
    mounted = Mounted(lab, vault, "latest")
    subprocess.run(["qemu-img", "compare", "-q", "-F", "raw", qcow2, mounted.file], check=True)
    mounted.unmount()


if __name__ == "__main__":
    main(globals())
