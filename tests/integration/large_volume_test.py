#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A volume far larger than memory costs its map and no more: 16 TiB of holes with a little data,
or as much as the filesystem takes."""

import os
import time

from lib.lab import MIB, Skip, write_at
from lib.runner import main

TIB = 1 << 40
BLOCK_BYTES = 64 * 1024
MEMORY_MAX = 64 * MIB
# The change map that is counted apart, and its like: pending, plan, arrived, compared.
MAPS = 5
SECONDS_MAX = 30


def largest(lab, name):
    """A sparse file; ext4 with 4K blocks ends one block before 16 TiB."""
    for size in [16 * TIB, 16 * TIB - BLOCK_BYTES, 8 * TIB, TIB]:
        try:
            return lab.sparse(name, size), size
        except OSError:
            continue
    raise Skip("the filesystem takes no file of a TiB")


def stretches(path):
    """The data of a sparse file: where it lies and what it is."""
    with open(path, "rb") as file:
        at, end = 0, os.fstat(file.fileno()).st_size
        while at < end:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            file.seek(start)
            data = file.read(at - start)
            if data.strip(b"\0"):
                first = len(data) - len(data.lstrip(b"\0"))
                yield start + first, data.strip(b"\0")


def run(lab, source, url, size, *words, changes=None):
    began = time.monotonic()
    report = lab.extents(source, url, changes, *words) if changes else lab.sync(source, url, *words)
    map_bytes = size // BLOCK_BYTES // 8
    for side in ["source", "target"]:
        used = report[f"rss_max_bytes_{side}"]
        print(f"{words} {side}: {used >> 20} MiB, maps of {map_bytes >> 20} MiB, "
              f"{time.monotonic() - began:.1f} s")
        assert used <= MEMORY_MAX + MAPS * map_bytes, (side, used, report)
    assert time.monotonic() - began < SECONDS_MAX, report
    return report


def test_every_mode(lab):
    source, size = largest(lab, "source")
    server = lab.server()
    url = server.url("replica")
    for offset in [0, size // 3 // 4096 * 4096, size - MIB]:
        write_at(source, offset, lab.content(MIB))
    assert run(lab, source, url, size)["bytes_total"] == size
    assert list(stretches(lab.root / "replica")) == list(stretches(source))

    write_at(source, size // 2, lab.content(MIB))
    report = run(lab, source, url, size, changes=[(size // 2, MIB)])
    assert report["bytes_changed"] == MIB, report
    assert list(stretches(lab.root / "replica")) == list(stretches(source))

    write_at(source, size // 5 // 4096 * 4096, lab.content(MIB))
    report = run(lab, source, url, size, "--scan")
    assert MIB <= report["bytes_changed"] <= 2 * MIB, report
    assert list(stretches(lab.root / "replica")) == list(stretches(source))
    assert os.stat(lab.root / "replica").st_size == size


def test_memory_of_an_ordinary_volume(lab):
    """More data than all buffers hold, with everything in use that takes room."""
    source = lab.image("source", 192 * MIB, lab.content(MIB).hex().encode() * 96)
    server = lab.server()
    for words in [("--compress", 1, "--connections", 4), ("--scan",), ("--full", "--verify")]:
        run(lab, source, server.url("replica"), 192 * MIB, *words)


main(globals())
