# SPDX-License-Identifier: Apache-2.0
"""Runs that are slow enough to be cut off in the middle, and how much of one is durable."""

import signal
import struct

from .lab import MIB, wait_for


ZEROS = 2**64 - 1


def staged(path):
    """Bytes that a staged run's index has (docs/format-staged.md)."""
    data, at, total = path.read_bytes(), 44, 0
    while len(data) - at >= 20:
        magic, block, count, size, _ = struct.unpack_from("<4sIIII", data, at)
        at += 20
        if magic != b"BTCH" or len(data) - at < size:
            break
        entry = at
        for _ in range(count):
            _, length, place = struct.unpack_from("<QQQ", data, entry)
            entry += 24 + (0 if place == ZEROS else 4 * -(-length // block))
            total += length
        at += size
    return total


def acknowledged(lab):
    """Bytes in the journal: entries of magic, count, CRC, then offsets and lengths."""
    total = sum(map(staged, (lab.root / ".towline").glob(".towline-*.staged")))
    for path in (lab.root / ".towline").glob("*.acknowledged"):
        data, at = path.read_bytes(), 0
        while len(data) - at >= 12:
            count = int.from_bytes(data[at + 4:at + 8], "little")
            for pair in range(count):
                start = at + 12 + pair * 16 + 8
                total += int.from_bytes(data[start:start + 8], "little")
            at += 12 + count * 16
    return total


def cut_off(lab, source, url, *words, stdin=None, end=signal.SIGKILL, rate=64):
    """A run that is ended once a part of it was acknowledged; how much."""
    run = start_slowly(lab, source, url, *words, stdin=stdin, rate=rate)
    run.send_signal(end)
    return lab.finish(run), acknowledged(lab)


def start_slowly(lab, source, url, *words, stdin=None, rate=64):
    """A run that goes on (at 8 MB/s), and of which a part is acknowledged."""
    for journal in (lab.root / ".towline").glob("*.acknowledged"):
        assert journal.stat().st_size == 0, "an earlier run's journal would be taken for this one's"
    assert not list((lab.root / ".towline").glob(".towline-*.staged")), "the same"
    run = lab.start_sync(source, url, "--rate", rate, "--compress", 0, *words, stdin=stdin)
    wait_for(lambda: acknowledged(lab) > 0 or run.poll() is not None)
    assert run.poll() is None, lab.finish(run)
    return run


def goes_on(lab, source, url, have, total, *words, slack=2 * MIB):
    report = lab.sync(source, url, "--resume", "--compress", 0, *words)
    assert report["resumed"] and report["cause"] == "resumed", report
    assert report["bytes_sent"] <= total - have + slack, (report, have)
    return report
