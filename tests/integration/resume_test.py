#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A run that was cut off goes on where the target durably is (rule 13): what was acknowledged is
not sent twice, and whatever changed since comes along."""

import signal
import time

from lib.lab import KIB, MIB, equal, lines, wait_for, write_at
from lib.pair import Pair
from lib.proxy import silent_after, UP
from lib.runner import main

RATE = ("--rate", 64, "--compress", 0)  # 8 MB/s
SIZE = 16 * MIB


def acknowledged(lab):
    """Bytes in the journal: entries of magic, count, CRC, then offsets and lengths."""
    total = 0
    for path in (lab.root / ".towline").glob("*.acknowledged"):
        data, at = path.read_bytes(), 0
        while len(data) - at >= 12:
            count = int.from_bytes(data[at + 4:at + 8], "little")
            for pair in range(count):
                start = at + 12 + pair * 16 + 8
                total += int.from_bytes(data[start:start + 8], "little")
            at += 12 + count * 16
    return total


def cut_off(lab, source, url, *words, stdin=None, end=signal.SIGKILL):
    """A run that is ended once a part of it was acknowledged; how much."""
    run = lab.start_sync(source, url, *RATE, *words, stdin=stdin)
    wait_for(lambda: acknowledged(lab) > 0)
    run.send_signal(end)
    return lab.finish(run), acknowledged(lab)


def goes_on(lab, source, url, have, total, *words, slack=2 * MIB):
    report = lab.sync(source, url, "--resume", "--compress", 0, *words)
    assert report["resumed"] and report["cause"] == "resumed", report
    assert report["bytes_sent"] <= total - have + slack, (report, have)
    return report


def test_first_copy(lab):
    source, server = lab.image("source", SIZE, lab.content(SIZE)), lab.server()
    _, have = cut_off(lab, source, server.url("replica"))
    report = goes_on(lab, source, server.url("replica"), have, SIZE, slack=MIB)
    assert report["mode"] == "full", report
    equal(source, lab.root / "replica")


def test_what_changed_in_the_acknowledged_part_comes_along(lab):
    source, server = lab.image("source", SIZE, lab.content(SIZE)), lab.server()
    _, have = cut_off(lab, source, server.url("replica"))
    for offset in [0, 64 * KIB + 5, 2 * MIB, SIZE - 1]:
        write_at(source, offset, b"changed"[:SIZE - offset])
    goes_on(lab, source, server.url("replica"), have, SIZE)
    equal(source, lab.root / "replica")


def test_list(lab):
    pair = Pair(lab, SIZE)
    changes = [(at, 64 * KIB) for at in range(0, SIZE, 128 * KIB)]
    for offset, length in changes:
        write_at(pair.source, offset, lab.content(length))
    total = sum(length for _, length in changes)
    run, have = cut_off(lab, pair.source, pair.url, "--rate", 24, "--extents", "-",
                        stdin=lines(changes))
    assert run.exit == -signal.SIGKILL
    # The list of before the cut need not be given again; new changes need a list of their own.
    report = goes_on(lab, pair.source, pair.url, have, total)
    assert report["mode"] == "extents", report
    equal(pair.source, pair.replica)
    pair.list_again()


def test_list_with_new_changes(lab):
    pair = Pair(lab, SIZE)
    changes = lab.change(pair.source, 80)
    cut_off(lab, pair.source, pair.url, "--rate", 16, "--extents", "-", stdin=lines(changes))
    more = lab.change(pair.source, 5)
    report = lab.extents(pair.source, pair.url, more, "--resume")
    assert report["resumed"], report
    equal(pair.source, pair.replica)


def test_scan(lab):
    pair = Pair(lab, SIZE)
    pair.source.write_bytes(lab.content(SIZE))
    _, have = cut_off(lab, pair.source, pair.url, "--scan")
    report = goes_on(lab, pair.source, pair.url, have, SIZE)
    assert report["mode"] == "scan", report
    equal(pair.source, pair.replica)


def test_with_another_block_size_and_several_connections(lab):
    source, server = lab.image("source", SIZE), lab.server()
    for words in [("--block", "4K"), ("--block", "1M", "--connections", 3)]:
        cut_off(lab, source, server.url("replica"), "--full", *words)
    lab.sync(source, server.url("replica"), "--resume", "--block", "64K", "--connections", 2)
    equal(source, lab.root / "replica")


def test_nothing_to_resume_is_an_ordinary_run(lab):
    pair = Pair(lab)
    lab.change(pair.source, 2)
    report = lab.sync(pair.source, pair.url, "--resume")
    assert not report["resumed"] and report["cause"] == "no-tracker", report
    equal(pair.source, pair.replica)
    changes = lab.change(pair.source, 2)
    report = lab.extents(pair.source, pair.url, changes, "--resume")
    assert not report["resumed"] and report["cause"] == "change-list", report
    new = lab.sync(pair.source, pair.server.url("new"), "--resume")
    assert not new["resumed"] and new["cause"] == "first-copy", new


def test_without_resume_it_begins_anew(lab):
    source, server = lab.image("source", SIZE), lab.server()
    cut_off(lab, source, server.url("replica"))
    report = lab.sync(source, server.url("replica"))
    assert report["cause"] == "unfinished-run" and report["mode"] == "scan", report
    equal(source, lab.root / "replica")


def test_interrupted_by_a_signal(lab):
    source, server = lab.image("source", SIZE), lab.server()
    for number in [signal.SIGINT, signal.SIGTERM]:
        ended, have = cut_off(lab, source, server.url("replica"), "--full", end=number)
        assert ended.exit == 10 and "--resume" in ended.err, ended
        assert ended.report["error"]["exit"] == 10, ended
    goes_on(lab, source, server.url("replica"), have, SIZE)
    equal(source, lab.root / "replica")


def test_the_server_ends_in_order_and_is_there_again_at_once(lab):
    source, server = lab.image("source", SIZE), lab.server()
    run = lab.start_sync(source, server.url("replica"), *RATE)
    wait_for(lambda: acknowledged(lab) > 0)
    assert server.stop() == 0
    ended = lab.finish(run)
    assert ended.exit in (4, 10), ended
    server.start()
    goes_on(lab, source, server.url("replica"), acknowledged(lab), SIZE)
    equal(source, lab.root / "replica")


def test_a_dead_session_of_the_same_source_is_fenced(lab):
    """The first client lives on behind a link that went silent; the second one takes over at once,
    and whatever the first still sends is not written."""
    source, server = lab.image("source", SIZE), lab.server()
    proxy = lab.proxy(server, silent_after(UP, 4 * MIB))
    first = lab.start_sync(source, proxy.url("replica"), *RATE)
    wait_for(lambda: len(proxy.recorded[UP]) > 5 * MIB)
    began = time.monotonic()
    report = lab.sync(source, server.url("replica"), "--resume")
    assert time.monotonic() - began < 5, "the dead session was waited for"
    assert report["resumed"], report
    equal(source, lab.root / "replica")
    ended = lab.finish(first)
    assert ended.exit != 0, ended
    equal(source, lab.root / "replica")


def test_a_stopped_client_is_fenced(lab):
    source, server = lab.image("source", SIZE), lab.server()
    first = lab.start_sync(source, server.url("replica"), *RATE)
    wait_for(lambda: acknowledged(lab) > 0)
    first.send_signal(signal.SIGSTOP)
    # The source's own lock holds for the same words ...
    busy = lab.try_sync(source, server.url("replica"), "--resume")
    assert busy.exit == 7, busy
    # ... and by another name of the same server the target's session is taken over.
    other = server.url("replica").replace("127.0.0.1", "localhost")
    lab.sync(source, other, "--resume")
    equal(source, lab.root / "replica")
    first.send_signal(signal.SIGCONT)
    assert lab.finish(first).exit != 0
    equal(source, lab.root / "replica")
    lab.change(source, 3)
    lab.sync(source, server.url("replica"))
    equal(source, lab.root / "replica")


def test_another_source_does_not_fence(lab):
    source, server = lab.image("source", SIZE), lab.server()
    first = lab.start_sync(source, server.url("replica"), *RATE)
    wait_for(lambda: acknowledged(lab) > 0)
    other = lab.image("other", MIB)
    busy = lab.try_sync(other, server.url("replica"), "--full", "--overwrite", state=lab.dir / "o")
    assert busy.exit == 7 and "another source" in busy.err, busy
    assert lab.finish(first).exit == 0
    equal(source, lab.root / "replica")


main(globals())
