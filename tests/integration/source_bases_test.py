#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A source that is not the one whose changes were listed, or that lost its memory, is refused with
--extents, and compared by the default mode with the cause."""

import os
import shutil

from lib.lab import MIB
from lib.pair import Pair
from lib.runner import main


def test_the_source_records_are_gone(lab):
    pair = Pair(lab)
    shutil.rmtree(lab.state)
    # It is another source to itself now, so it may not overwrite what it cannot remember.
    pair.list_refused("another source", "--overwrite")
    pair.compare("other-source", "--overwrite")


def test_the_memory_of_a_target_is_gone_or_damaged(lab):
    pair = Pair(lab)
    memory = next(lab.state.rglob("*.memory"))
    memory.unlink()
    pair.list_refused("no record of a run")
    pair.compare("unknown-target")
    data = bytearray(memory.read_bytes())
    data[len(data) // 2] ^= 1
    memory.write_bytes(data)
    pair.list_refused("no record of a run")
    pair.compare("unknown-target")


def test_the_source_was_replaced(lab):
    """Another file under the same path is another source."""
    pair = Pair(lab)
    shutil.copy2(pair.source, lab.dir / "new")
    os.rename(lab.dir / "new", pair.source)
    pair.list_refused("another source", "--overwrite")
    lab.refused(pair.source, pair.url, says=["another source", "--overwrite"])
    pair.compare("other-source", "--overwrite")


def test_the_source_was_put_back(lab):
    pair = Pair(lab)
    older, status = pair.source.read_bytes(), pair.source.stat()
    pair.list_again()
    pair.source.write_bytes(older)
    os.utime(pair.source, ns=(status.st_atime_ns, status.st_mtime_ns))
    lab.refused(pair.source, pair.url, "--extents", os.devnull, says=["older", "without"])
    pair.compare("source-reverted")


def test_the_source_was_resized(lab):
    pair = Pair(lab)
    for size in [3 * MIB + 5, MIB + 3]:
        os.truncate(pair.source, size)
        pair.list_refused("size")
        pair.compare("source-resized")


main(globals())
