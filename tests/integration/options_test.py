#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What speed and size of a run are made of changes no byte of the result: engines, connections,
levels and codecs, block sizes, volume sizes and sectors."""

import itertools

from lib.lab import KIB, MIB, equal, read_device, write_at
from lib.runner import main


def mixed(lab, name, size=3 * MIB + 777):
    """Text, zeros, random bytes: something for each codec."""
    text = (lab.content(3000).hex().encode() * 400)[:size // 2]
    data = text + bytes(size // 8) + lab.content(size - len(text) - size // 8)
    return lab.image(name, size, data)


class Runs:
    def __init__(self, lab, source):
        self.lab = lab
        self.source = source
        self.server = lab.server()
        self.digests = set()

    def each(self, *words, changed=True):
        if changed:
            self.lab.change(self.source, 2)
        lab, url = self.lab, self.server.url("replica")
        report = lab.sync(self.source, url, "--full", *words)
        equal(self.source, lab.root / "replica")
        return report


def test_engines(lab):
    runs = Runs(lab, mixed(lab, "source"))
    for engine in ["uring", "aio", "auto"]:
        report = runs.each("--engine", engine, "--verify")
        if engine != "auto":
            assert engine in report["engine"], report
    aio = lab.server(words=["--engine", "aio"])
    assert "aio" in lab.sync(runs.source, aio.url("other"))["engine_target"]
    equal(runs.source, lab.root / "other")


def test_connections(lab):
    runs = Runs(lab, mixed(lab, "source", 6 * MIB))
    for connections in [1, 2, 3, 4, 16]:
        runs.each("--connections", connections)
    lab.sync(runs.source, lab.dir / "local", "--connections", 3)
    equal(runs.source, lab.dir / "local")


def test_levels_and_codecs(lab):
    runs = Runs(lab, mixed(lab, "source"))
    sent = {}
    for codec, level in itertools.product(["deflate", "zstd"], ["0", "1", "5", "10", "auto"]):
        report = runs.each("--codec", codec, "--compress", level, changed=False)
        sent[codec, level] = report["bytes_sent"]
        expected = "none" if level == "0" else codec
        assert level == "auto" or report["codec"] == expected, (level, report)
    for codec in ["deflate", "zstd"]:
        assert sent[codec, "10"] < sent[codec, "1"] * 1.02 < sent[codec, "0"], sent
    runs.each("--codec", "auto", "--compress", "3")


def test_block_sizes(lab):
    runs = Runs(lab, mixed(lab, "source"))
    for block in ["4K", "64K", "1M", "8192", "128KiB"]:
        runs.each("--block", block, "--compress", 1)
        lab.change(runs.source, 2)
        lab.sync(runs.source, runs.server.url("replica"), "--block", block, "--scan")
        equal(runs.source, lab.root / "replica")


def test_odd_sizes(lab):
    server = lab.server()
    for size in [1, 511, 512, 513, 4095, 4097, 65535, 65537, MIB + 777]:
        source = lab.image(f"source{size}", size, lab.content(size))
        url = server.url(f"replica{size}")
        lab.sync(source, url)
        equal(source, lab.root / f"replica{size}")
        write_at(source, size - 1, b"z")
        report = lab.extents(source, url, [(size - 1, 1)])
        assert report["bytes_changed"] == 1, report
        equal(source, lab.root / f"replica{size}")


def test_sectors_of_devices(lab):
    """An odd image onto devices of both sectors, and what lies behind it stays."""
    size = MIB + 4096 + 512 + 77
    source = lab.image("source", size, lab.content(size))
    for sector in [512, 4096]:
        behind = lab.content(2 * MIB)
        backing = lab.image(f"backing{sector}", 2 * MIB, behind)
        device = lab.loop(backing, sector)
        lab.sync(source, device, "--full", "--overwrite", "--compress", 0)
        now = read_device(device)
        assert now[:size] == source.read_bytes(), sector
        assert now[size:] == behind[size:], f"bytes behind were touched ({sector})"
        write_at(source, size - 3, b"end")
        lab.extents(source, device, [(size - 3, 3)])
        assert read_device(device) == source.read_bytes() + behind[size:], sector
        back = lab.dir / f"back{sector}"
        lab.sync(device, back)
        equal(back, backing)


def test_zeros_at_the_end_of_a_device(lab):
    """A zero range that ends inside of a sector: written as zeros, and only those."""
    size = MIB + 77
    source = lab.image("source", size, lab.content(MIB - 64 * KIB) + bytes(64 * KIB + 77))
    for sector in [512, 4096]:
        behind = lab.content(2 * MIB)
        device = lab.loop(lab.image(f"backing{sector}", 2 * MIB, behind), sector)
        lab.sync(source, device, "--full", "--overwrite")
        assert read_device(device) == source.read_bytes() + behind[size:], sector


main(globals())
