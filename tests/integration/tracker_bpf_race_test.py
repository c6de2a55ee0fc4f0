#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The race of the epoch switch: writes that land 30 ms after they were submitted, a consumer that
takes epoch after epoch and copies what is marked. Nothing may be stale in the end; and without the
hooks at completion the same must lose blocks, or this test shows nothing."""

import json
import os
import subprocess

from lib.lab import MIB, Skip
from lib.runner import count, main, seed
from lib.tracking import BIN, BPFFS, slow_disk


def race(lab, rounds, *words):
    if os.geteuid() != 0 or not (BIN / "bpf_race").exists():
        raise Skip("takes root, and a build with eBPF")
    device, _ = slow_disk(lab, 32 * MIB, 30)
    pins = BPFFS / f"towline-race-{os.getpid()}"
    done = subprocess.run([BIN / "bpf_race", device, pins, str(rounds), str(seed()), *words],
                          text=True, capture_output=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    totals = json.loads(done.stdout)
    assert totals["harvests"] > rounds, totals
    return totals


def test_nothing_is_stale(lab):
    rounds = count(5)
    totals = race(lab, rounds)
    assert totals["stale_blocks"] == 0, totals
    # Who says unknown all the time loses nothing, and is of no use.
    assert totals["untrusted"] <= totals["harvests"] // 10, totals
    print(f"     {rounds} rounds: {totals}")


def test_without_completions_blocks_are_lost(lab):
    totals = race(lab, 2, "--without-completions")
    assert totals["stale_blocks"] > 0, totals
    print(f"     {totals}")


def test_completions_that_no_program_sees_are_noticed(lab):
    totals = race(lab, 2, "--unseen-completions")
    assert totals["stale_blocks"] == 0 and totals["untrusted"] > 0, totals
    print(f"     {totals}")


main(globals())
