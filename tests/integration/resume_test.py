#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A run that was cut off goes on where the target durably is (rule 13): what was acknowledged is
not sent twice, and whatever changed since comes along."""

import signal

from lib.cutting import cut_off, goes_on
from lib.lab import KIB, MIB, equal, lines, write_at
from lib.pair import Pair
from lib.runner import main

SIZE = 16 * MIB


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
    run, have = cut_off(lab, pair.source, pair.url, "--extents", "-", stdin=lines(changes),
                        rate=24)
    assert run.exit == -signal.SIGKILL
    # The list of before the cut need not be given again; new changes need a list of their own.
    report = goes_on(lab, pair.source, pair.url, have, total)
    assert report["mode"] == "extents", report
    equal(pair.source, pair.replica)
    pair.list_again()


def test_list_with_new_changes(lab):
    pair = Pair(lab, SIZE)
    changes = lab.change(pair.source, 80)
    cut_off(lab, pair.source, pair.url, "--extents", "-", stdin=lines(changes), rate=16)
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
    cut_off(lab, source, server.url("replica"), "--block", "4K", "--connections", 3)
    lab.sync(source, server.url("replica"), "--resume", "--block", "1M", "--connections", 2)
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


main(globals())
