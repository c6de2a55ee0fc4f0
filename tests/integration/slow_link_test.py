#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A link that is slower than a frame within the limit on silence is slow, not silent."""

import time

from lib.lab import KIB, equal
from lib.proxy import UP
from lib.runner import main

BYTES_PER_SECOND = 40 * KIB
SILENCE_SECONDS = 3  # a frame of 256 KiB takes twice as long


def slowly(direction, _, data):
    if direction == UP:
        time.sleep(len(data) / BYTES_PER_SECOND)
    return data


def test_frames_that_take_longer_than_the_silence(lab):
    source = lab.image("source", 512 * KIB)
    server = lab.server(words=["--timeout", SILENCE_SECONDS])
    proxy = lab.proxy(server, slowly)
    report = lab.sync(source, proxy.url("replica"), "--compress", 0, "--timeout", SILENCE_SECONDS)
    assert report["seconds"] > 2 * SILENCE_SECONDS, report
    equal(source, lab.root / "replica")


main(globals())
