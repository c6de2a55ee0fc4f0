#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A list of changes is only used upon the moment that it was made for (rule 2): a target that holds
another one is refused with --extents, and compared or refused by the default mode, with the cause."""

import os
import shutil
from contextlib import contextmanager

from lib.lab import MIB, equal, lines, write_at
from lib.pair import Pair
from lib.runner import main


@contextmanager
def same_time(path):
    """What is done to the file inside leaves its modification time as it was."""
    status = path.stat()
    yield
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_two_targets_of_one_source(lab):
    """Each has its own pending changes: a list given to one says nothing to the other."""
    source = lab.image("source", 2 * MIB)
    server = lab.server()
    one, other = server.url("one"), server.url("other")
    lab.sync(source, one)
    lab.sync(source, other)
    for sequence in [2, 3, 4]:
        changes = lab.change(source, 3)
        report = lab.extents(source, one, changes)
        assert report["base"]["sequence"] == sequence, report
        equal(source, lab.root / "one")
        lab.extents(source, other, changes)
        equal(source, lab.root / "other")
    # The image of the one under the name of the other: same source, another moment.
    changes = lab.change(source, 3)
    lab.extents(source, one, changes)
    os.rename(lab.root / "other", lab.root / "aside")
    os.rename(lab.root / "one", lab.root / "other")
    lab.refused(source, other, "--extents", "-", says="without --extents", stdin=lines(changes))
    assert lab.sync(source, other, "--scan")["cause"] == "requested-scan"
    equal(source, lab.root / "other")


def test_an_older_image_copied_over_the_replica(lab):
    pair = Pair(lab)
    shutil.copy(pair.replica, lab.dir / "older")
    pair.list_again()
    shutil.copyfile(lab.dir / "older", pair.replica)
    pair.list_refused("replaced or written to")
    lab.refused(pair.source, pair.url, says=["--overwrite", "--scan"])
    pair.compare("requested-scan", "--scan")
    shutil.copyfile(lab.dir / "older", pair.replica)
    pair.compare("target-changed", "--overwrite")


def test_an_older_image_renamed_over_the_replica(lab):
    pair = Pair(lab)
    shutil.copy2(pair.replica, lab.root / "older")
    pair.list_again()
    os.rename(lab.root / "older", pair.replica)
    pair.list_refused("replaced or written to")
    pair.compare("requested-scan", "--scan")


def test_the_whole_root_restored_from_a_copy(lab):
    """Records and images come back together, as new files: what they say is void."""
    pair = Pair(lab)
    shutil.copytree(lab.root, lab.dir / "copy", symlinks=True)
    pair.list_again()
    pair.server.stop()
    shutil.rmtree(lab.root)
    shutil.copytree(lab.dir / "copy", lab.root)
    pair.server.start()
    pair.list_refused("replaced or written to")
    pair.compare("target-changed", "--overwrite")


def test_the_whole_root_rolled_back_in_place(lab):
    """As a snapshot of the filesystem below does it: nothing but the moment tells."""
    pair = Pair(lab)
    files = [path for path in lab.root.rglob("*") if path.is_file()]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
    pair.list_again()
    pair.server.stop()
    for path, (data, modified_ns) in before.items():
        with open(path, "r+b") as file:
            file.write(data)
            file.truncate()
        os.utime(path, ns=(modified_ns, modified_ns))
    pair.server.start()
    pair.list_refused("another moment")
    pair.compare("target-differs")


def test_the_record_is_gone_or_damaged(lab):
    pair = Pair(lab)
    for path in (lab.root / ".towline").glob("*.record"):
        path.unlink()
    pair.list_refused("no record of a run")
    lab.refused(pair.source, pair.url, says=["holds data", "--scan"])
    pair.compare("requested-scan", "--scan")
    for path in (lab.root / ".towline").glob("*.record"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    pair.list_refused("replaced or written to")
    pair.compare("requested-scan", "--scan")


def test_the_replica_is_gone(lab):
    pair = Pair(lab)
    pair.replica.unlink()
    pair.list_refused("did not exist")
    pair.compare("first-copy")


def test_somebody_wrote_to_the_replica(lab):
    """One byte, past what the guard hashes: the time tells."""
    pair = Pair(lab)
    write_at(pair.replica, MIB + 5, b"x")
    pair.list_refused("replaced or written to")
    pair.compare("requested-scan", "--scan")
    with same_time(pair.replica):
        write_at(pair.replica, 5, b"x")
    pair.list_refused("replaced or written to")
    pair.compare("requested-scan", "--scan")


main(globals())
