#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many jobs, runs and followers at once, and requests at a steady rate: none fails, memory and files
stay flat, and reads are answered in time.

The whole (TOWLINE_COUNT >= 100, as tools/campaign has it): 1,000 jobs, 100 runs, 50 followers, 200
requests a second for ten minutes (TOWLINE_SECONDS), and a p99 of reads of 50 ms at most. Else a tenth
of it, untimed."""

import os
import random
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from lib.daemon import Daemon, UnixConnection
from lib.lab import MIB, wait_for
from lib.runner import count, main, seed

WHOLE = count(1) >= 100
JOBS, RUNS, FOLLOWERS, RATE, SECONDS = (1000, 100, 50, 200, 600) if WHOLE else (100, 10, 5, 20, 4)
SECONDS = int(os.environ.get("TOWLINE_SECONDS", SECONDS))
# Slow enough to go on all the time; slower still, a frame takes longer than a peer may be silent.
RATE_MBIT, SOURCES = (0.3, 10) if WHOLE else (0.1, RUNS)
SOURCE_BYTES = int(RATE_MBIT * 1e6 / 8 * (SECONDS + 120)) if WHOLE else MIB
WORKERS = 8
READ_P99_SECONDS_MAX = 0.05
MANUAL = {"manual": True}


class Client:
    """One connection that is kept, as a program does."""

    def __init__(self, daemon):
        self.connection = UnixConnection(daemon.socket)

    def ask(self, method, path, body=None):
        headers = {"Content-Type": "application/json"} if body else {}
        began = time.monotonic()
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        assert answer.status in (200, 201), (method, path, answer.status, text[:300])
        return time.monotonic() - began


def follow(daemon, seen):
    connection = UnixConnection(daemon.socket)
    connection.request("GET", "/v1/events?follow=true&since=0")
    answer = connection.getresponse()
    while line := answer.readline():
        if line.strip():
            seen[0] += 1


def requests(daemon, chance, until, reads, edits, problems):
    client = Client(daemon)
    next_at = time.monotonic()
    try:
        while time.monotonic() < until:
            next_at += WORKERS / RATE
            time.sleep(max(0, next_at - time.monotonic()))
            name = f"job{chance.randrange(JOBS):04}"
            draw = chance.random()
            if draw < 0.2:
                edits.append(client.ask("PATCH", f"/v1/jobs/{name}",
                                        f'{{"description": "{chance.random()}"}}'))
            elif draw < 0.7:
                reads.append(client.ask("GET", f"/v1/jobs/{name}"))
            elif draw < 0.9:
                reads.append(client.ask("GET", "/v1/runs?limit=50"))
            else:
                reads.append(client.ask("GET", "/v1/jobs?limit=50"))
    except Exception as problem:  # told by the thread that waits for this one
        problems.append(problem)


def p99(times):
    return sorted(times)[int(len(times) * 0.99)]


def size_of(daemon):
    pid = daemon.process.pid
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096, len(os.listdir(f"/proc/{pid}/fd"))


def start(lab):
    config = lab.dir / "towlined.toml"
    config.write_text(f"[daemon]\nruns_max = {RUNS}\n")
    daemon = Daemon(lab, ["--config", config]).start()
    for number in range(JOBS):
        source = lab.dir / f"source{number % SOURCES}"
        if number < SOURCES:
            source.write_bytes(lab.content(SOURCE_BYTES))
        daemon.put(f"job{number:04}", source, lab.dir / f"replica{number}", MANUAL,
                   rate_mbit=RATE_MBIT, compression=0)
    for number in range(RUNS):
        daemon.start_run(f"job{number:04}")
    wait_for(lambda: len(transferring(daemon)) == RUNS, 60, "all runs at once")
    # Each has its files once the first of its blocks have arrived, which a tenth's runs never see.
    wait_for(lambda: not WHOLE or all(run["bytes_done"] for run in transferring(daemon)), 120,
             "all runs' first blocks")
    return daemon


def transferring(daemon):
    active = daemon.good("GET", "/v1/runs?state=Active&limit=500")["runs"]
    return [run for run in active if run["stage"] == "Transfer"]


def test_load(lab):
    daemon = start(lab)
    seen = [[0] for _ in range(FOLLOWERS)]
    for each in seen:
        threading.Thread(target=follow, args=(daemon, each), daemon=True).start()
    wait_for(lambda: all(each[0] > JOBS for each in seen), 60, "what the followers missed")
    reads, edits, problems = [], [], []
    until = time.monotonic() + SECONDS
    workers = [threading.Thread(target=requests, args=(
        daemon, random.Random(f"{seed()}/{number}"), until, reads, edits, problems))
        for number in range(WORKERS)]
    for worker in workers:
        worker.start()
    wait_for(lambda: problems or len(reads) >= 4 * WORKERS, 60, "each worker's connection")
    before = size_of(daemon)
    time.sleep(max(0, until - time.monotonic() - 0.5))
    after = size_of(daemon)
    # What has ended says nothing of memory.
    runs = daemon.good("GET", f"/v1/runs?limit={RUNS}")["runs"]
    assert all(run["state"] == "Active" for run in runs), [
        (run["state"], run["bytes_done"], run["error"]) for run in runs if run["state"] != "Active"]
    for worker in workers:
        worker.join()
    assert not problems, problems[0]
    rate = (len(reads) + len(edits)) / SECONDS
    print(f"{JOBS} jobs, {RUNS} runs, {FOLLOWERS} followers, {rate:.0f} requests/s: p99 of reads "
          f"{p99(reads) * 1000:.1f} ms, of edits {p99(edits) * 1000:.1f} ms; "
          f"RSS {before[0] / MIB:.0f} -> {after[0] / MIB:.0f} MiB, files {before[1]} -> {after[1]}")
    assert after[0] < before[0] + 20 * MIB and after[1] <= before[1] + WORKERS, (before, after)
    assert not WHOLE or rate > RATE * 0.8, rate
    assert not WHOLE or p99(reads) <= READ_P99_SECONDS_MAX, p99(reads)
    daemon.kill()


main(globals())
