#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What becomes of a list of changes whose run failed: the message says whether it must be given
again, and what it says is true."""

import json
import signal

from lib.cutting import start_slowly
from lib.lab import MIB, equal, lines
from lib.pair import Pair
from lib.proxy import stop_before
from lib.runner import main
from lib.wire import BEGUN, OPENED

AGAIN = "not noted yet: give it again"
NOTED = "was noted: the next run brings it"


def says(outcome, text, noted, exit):
    assert outcome.exit == exit and text in outcome.err, outcome
    error = json.loads(outcome.out)["error"]
    assert text in error["message"] and error["list_noted"] is noted, error


def brought_by_an_empty_list(pair):
    pair.lab.extents(pair.source, pair.url, [])
    equal(pair.source, pair.replica)


def run_list(pair, changes, url=None):
    return pair.lab.try_sync(pair.source, url or pair.url, "--extents", "-", stdin=lines(changes))


def test_a_server_that_is_not_there(lab):
    pair = Pair(lab)
    pair.server.stop()
    says(run_list(pair, lab.change(pair.source, 2)), AGAIN, False, 4)


def test_cut_off_before_it_was_noted(lab):
    pair = Pair(lab)
    changes = lab.change(pair.source, 2)
    proxy = lab.proxy(pair.server, stop_before(OPENED))
    says(run_list(pair, changes, proxy.url("replica")), AGAIN, False, 4)
    lab.extents(pair.source, pair.url, changes)
    equal(pair.source, pair.replica)


def test_cut_off_after_it_was_noted(lab):
    pair = Pair(lab)
    changes = lab.change(pair.source, 2)
    proxy = lab.proxy(pair.server, stop_before(BEGUN))
    says(run_list(pair, changes, proxy.url("replica")), NOTED, True, 4)
    brought_by_an_empty_list(pair)


def test_interrupted(lab):
    pair = Pair(lab, 24 * MIB)
    changes = [(0, 24 * MIB)]
    run = start_slowly(lab, pair.source, pair.url, "--extents", "-", stdin=lines(changes))
    run.send_signal(signal.SIGTERM)
    says(lab.finish(run), NOTED, True, 10)
    brought_by_an_empty_list(pair)


def test_refused(lab):
    """The remedy may be a run without a list: nothing is asked for again."""
    pair = Pair(lab)
    with open(pair.replica, "r+b") as file:
        file.write(b"somebody else")
    outcome = run_list(pair, lab.change(pair.source, 1))
    says(outcome, "the change list was not noted", False, 3)
    assert "give it again" not in outcome.err, outcome


def test_runs_that_have_no_list_to_lose(lab):
    pair = Pair(lab)
    pair.server.stop()
    for words in [("--scan",), ("--extents", "-", "--dry-run")]:
        outcome = lab.try_sync(pair.source, pair.url, *words, stdin="0 512\n")
        assert outcome.exit == 4 and "change list" not in outcome.err, outcome
        assert "list_noted" not in json.loads(outcome.out)["error"], outcome
    outcome = lab.try_sync(pair.source, pair.url, "--extents", "-", stdin="0 none\n")
    assert outcome.exit == 2 and "noted" not in outcome.err, outcome


main(globals())
