#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A source that died between the target's seal and its own commit catches up at its next run
(rule 3), and what a failed run was to bring comes along with the next list."""

import shutil

from lib.lab import KIB, MIB, covered, equal, lines, wait_for
from lib.pair import Pair
from lib.proxy import stop_before
from lib.runner import main
from lib.wire import BEGUN, SEALED

BLOCK = 64 * KIB


def run_list(pair, changes, *words, url=None):
    return pair.lab.try_sync(pair.source, url or pair.url, "--extents", "-", *words,
                             stdin=lines(changes))


def rounded(changes):
    blocks = {at for offset, length in changes
              for at in range(offset // BLOCK, (offset + length - 1) // BLOCK + 1)}
    return len(blocks) * BLOCK


def test_sealed_but_the_source_never_heard(lab):
    """The answer is lost on the way. The source's name for the target is the proxy's address, so
    the state folder is the same and the memory is the target's."""
    pair = Pair(lab)
    proxy = lab.proxy(pair.server, stop_before(SEALED))
    changes = lab.change(pair.source, 3)
    lost = run_list(pair, changes, url=proxy.url("replica"))
    assert lost.exit == 4, lost
    equal(pair.source, pair.replica)
    changes = lab.change(pair.source, 2)
    report = lab.extents(pair.source, pair.url, changes)
    assert report["cause"] == "change-list", report
    assert report["bytes_changed"] == covered(changes), "the sealed run's changes came again"
    equal(pair.source, pair.replica)


def test_sealed_but_never_heard_and_then_resumed_or_compared(lab):
    pair = Pair(lab)
    for words in [("--resume",), ("--scan",), ("--full",), ()]:
        proxy = lab.proxy(pair.server, stop_before(SEALED))
        assert run_list(pair, lab.change(pair.source, 3), url=proxy.url("replica")).exit == 4
        lab.change(pair.source, 1)
        lab.sync(pair.source, pair.url, *words)
        equal(pair.source, pair.replica)
        pair.list_again()


def test_the_source_cannot_note_the_seal(lab):
    """The commit is undone from outside: what a kill between the two leaves behind."""
    pair = Pair(lab)
    before = record(pair)
    source = lab.start_sync(pair.source, pair.url, "--extents", "-", "--rate", 8,
                            stdin=lines([(0, 512 * KIB)]))
    wait_for(lambda: record(pair) != before)
    folder = next(lab.state.rglob("*.memory")).parent
    shutil.copytree(folder, lab.dir / "before")
    assert lab.finish(source).exit == 0
    shutil.rmtree(folder)
    shutil.copytree(lab.dir / "before", folder)
    pair.list_again()
    report = lab.sync(pair.source, pair.url)
    assert report["cause"] == "no-tracker", report


def record(pair):
    return next((pair.lab.root / ".towline").glob("*.record")).read_bytes()


def memory(pair):
    return next(pair.lab.state.rglob("*.memory")).read_bytes()


def test_killed_at_the_seal(lab):
    """As soon as the server says so, the source is stopped; wherever that was, the next is right."""
    pair = Pair(lab)
    for round_number in range(4):
        changes = lab.change(pair.source, 3)
        run = lab.start_sync(pair.source, pair.url, "--extents", "-", stdin=lines(changes))
        before = record(pair)
        wait_for(lambda: record(pair) != before or run.poll() is not None)
        if round_number % 2:
            noted = memory(pair)
            wait_for(lambda: memory(pair) != noted or run.poll() is not None)
        if run.poll() is None:
            run.kill()
        run.wait()
        pair.list_again()


def test_pending_changes_come_with_the_next_list(lab):
    """A run that broke off, one after another: the union is brought, and counted."""
    pair = Pair(lab)
    lost = []
    for _ in range(3):
        proxy = lab.proxy(pair.server, stop_before(BEGUN))
        changes = lab.change(pair.source, 2)
        assert run_list(pair, changes, url=proxy.url("replica")).exit == 4
        lost += changes
    last = lab.change(pair.source, 1)
    report = lab.extents(pair.source, pair.url, last)
    assert report["cause"] == "change-list", report
    assert covered(last) <= report["bytes_changed"] <= rounded(lost + last) + covered(last)
    equal(pair.source, pair.replica)
    assert lab.extents(pair.source, pair.url, [])["bytes_changed"] == 0


def test_pending_changes_half_written(lab):
    """Killed in the middle of the blocks: the target is partly overwritten, the list still right."""
    pair = Pair(lab, 4 * MIB)
    changes = lab.change(pair.source, 20)
    run = lab.start_sync(pair.source, pair.url, "--extents", "-", "--rate", 8, stdin=lines(changes))
    before = record(pair)
    wait_for(lambda: record(pair) != before)
    run.kill()
    run.wait()
    more = lab.change(pair.source, 2)
    report = lab.extents(pair.source, pair.url, more)
    assert report["cause"] == "change-list" and report["bytes_changed"] > covered(more), report
    equal(pair.source, pair.replica)


def test_pending_changes_are_those_of_one_target(lab):
    source = lab.image("source", 2 * MIB)
    server = lab.server()
    one, other = server.url("one"), server.url("other")
    for url in [one, other]:
        lab.sync(source, url)
    proxy = lab.proxy(server, stop_before(BEGUN))
    changes = lab.change(source, 3)
    lost = lab.try_sync(source, proxy.url("one"), "--extents", "-", stdin=lines(changes))
    assert lost.exit == 4, lost
    lab.extents(source, other, changes)
    equal(source, lab.root / "other")
    assert lab.extents(source, other, [])["bytes_changed"] == 0
    assert lab.extents(source, one, [])["bytes_changed"] >= covered(changes)
    equal(source, lab.root / "one")


def test_damaged_pending_changes_are_found_by_comparing(lab):
    """They lie with what the source remembers of the target, and are believed with it or not at all."""
    pair = Pair(lab)
    proxy = lab.proxy(pair.server, stop_before(BEGUN))
    assert run_list(pair, lab.change(pair.source, 2), url=proxy.url("replica")).exit == 4
    path = next(lab.state.rglob("*.memory"))
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    pair.list_refused("no record of a run")
    pair.compare("unknown-target")
    equal(pair.source, pair.replica)


def test_another_block_size_takes_over_pending_changes(lab):
    pair = Pair(lab)
    for block in ["4K", "1M", "64K"]:
        proxy = lab.proxy(pair.server, stop_before(BEGUN))
        lost = run_list(pair, lab.change(pair.source, 2), "--block", block,
                        url=proxy.url("replica"))
        assert lost.exit == 4, lost
    lab.extents(pair.source, pair.url, [])
    equal(pair.source, pair.replica)


main(globals())
