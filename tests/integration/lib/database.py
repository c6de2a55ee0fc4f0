# SPDX-License-Identifier: Apache-2.0
"""A database that commits while its filesystem is copied, and what a replica holds of it."""

import shutil
import sqlite3
import subprocess
import threading
import time


def clean(kind, replica):
    check = ["e2fsck", "-fn"] if kind == "ext4" else ["xfs_repair", "-n"]
    done = subprocess.run([*check, replica], text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


def rows_of(lab, kind, replica):
    """What the replica's database holds, on a filesystem that is clean."""
    at = lab.dir / "look"
    copy = lab.dir / "copy"
    shutil.copyfile(replica, copy)
    if kind == "ext4":
        clean(kind, copy)
    at.mkdir(exist_ok=True)
    # The source has the same uuid, and is mounted.
    options = "loop" if kind == "ext4" else "loop,nouuid"
    subprocess.run(["mount", "-o", options, copy, at], check=True)
    try:
        database = sqlite3.connect(at / "db")
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = database.execute("SELECT id, sum FROM t ORDER BY id").fetchall()
        database.close()
    finally:
        subprocess.run(["umount", at], check=True)
    # An xfs that was frozen has a log to replay, which that mount did.
    clean(kind, copy)
    assert all(total == number * 7 for number, total in rows), "a row that was never committed"
    assert [number for number, _ in rows] == list(range(1, len(rows) + 1)), "a gap"
    return len(rows)


class Database:
    """Commits a row after another, and a file beside it is written over."""

    def __init__(self, folder, random):
        self._folder, self._random = folder, random
        self.committed = 0
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._write)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self.thread.join()

    def _write(self):
        database = sqlite3.connect(self._folder / "db")
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, sum INTEGER, filler BLOB)")
        while not self._stop.is_set():
            number = self.committed + 1
            database.execute("INSERT INTO t VALUES (?, ?, ?)",
                             (number, number * 7, self._random.randbytes(2000)))
            database.commit()
            self.committed = number
            (self._folder / "beside").write_bytes(self._random.randbytes(100_000))
            time.sleep(0.002)
        database.close()
