#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A link that breaks at any byte, or changes one, in either direction: never a success with other
bytes, and the next run is right. The bytes are those of a small run, recorded first: every frame's
border, places inside each, and TOWLINE_COUNT more drawn from TOWLINE_SEED."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from lib import wire
from lib.lab import KIB, equal, write_at
from lib.proxy import DOWN, UP, cut_after, flip_at
from lib.runner import count, main

SIZE = 300 * KIB + 5
SAMPLE = 12
SPEED = ("--compress", "1", "--timeout", 2)


class Link:
    """A source and a replica of an earlier moment, and a run between them over a bad link."""

    def __init__(self, lab, mode):
        self.lab = lab
        self.mode = mode
        self.source = lab.image("source", SIZE, (lab.content(20000).hex().encode() * 10)[:SIZE])
        write_at(self.source, 64 * KIB, bytes(64 * KIB))
        self.server = lab.server(words=["--timeout", 2, "--quiet"])
        lab.sync(self.source, self.server.url("replica"))

    def run(self, harm=None):
        """A changed source, and a run of it: how it ended, and what crossed the link."""
        write_at(self.source, 128 * KIB, self.lab.content(70 * KIB))
        write_at(self.source, 0, bytes(self.lab.random.choice([0, 4 * KIB])) + b"x")
        proxy = self.lab.proxy(self.server, harm)
        ended = self.lab.try_sync(self.source, proxy.url("replica"), self.mode, *SPEED)
        proxy.close()
        return ended, proxy.recorded

    def places(self, direction, recorded):
        """Bytes of a run to harm; the borders of frames first."""
        stream = recorded[direction]
        chosen = set()
        for start, header in wire.frames(stream):
            inside = self.lab.random.randrange(header.frame_bytes)
            chosen |= {start, start + 1, start + wire.HEADER_BYTES, start + inside}
        few = sorted(place for place in chosen if place < len(stream))
        self.lab.random.shuffle(few)
        few = few[:count(SAMPLE)]
        more = count(SAMPLE) - len(few)
        return few + [self.lab.random.randrange(len(stream)) for _ in range(more)]

    def harmed(self, harm_of, direction, place):
        ended, _ = self.run(harm_of(direction, place))
        where = f"{self.mode} {harm_of.__name__}({direction}, {place})"
        if ended.exit == 0:
            equal(self.source, self.lab.root / "replica")
        else:
            assert ended.exit in (4, 6, 8), (where, ended)
            assert ended.err.startswith("towline sync: "), (where, ended)
        assert self.server.alive(), where
        # The next run over a good link is right whatever was left.
        self.lab.sync(self.source, self.server.url("replica"),
                      *self.lab.random.choice([(), ("--resume",), ("--full",)]))
        equal(self.source, self.lab.root / "replica")
        return ended.exit


def campaign(lab, mode, harm_of):
    link = Link(lab, mode)
    ended, recorded = link.run()
    assert ended.exit == 0, ended
    failed = 0
    for direction in (UP, DOWN):
        for place in link.places(direction, recorded):
            failed += link.harmed(harm_of, direction, place) != 0
    print(f"{failed} of {2 * count(SAMPLE)} runs failed, as they should")
    assert failed > 0, "the proxy harmed nothing"


def test_cut_in_a_full_copy(lab):
    campaign(lab, "--full", cut_after)


def test_cut_in_a_scan(lab):
    campaign(lab, "--scan", cut_after)


def test_damaged_byte_in_a_full_copy(lab):
    campaign(lab, "--full", flip_at)


def test_damaged_byte_in_a_scan(lab):
    campaign(lab, "--scan", flip_at)


main(globals())
