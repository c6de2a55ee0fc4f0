#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The numbers of a run that goes on: by the API, in events, in metrics and on the command line they
are the same, and what follows from them follows."""

import json
import re
import subprocess

from lib.daemon import Daemon
from lib.lab import MIB, binary, wait_for
from lib.operator import Operator
from lib.runner import main

MANUAL = {"manual": True}
SIZE = 16 * MIB
ALL = {"stage", "percent", "bytes_total", "bytes_changed", "bytes_done", "bytes_sent",
       "bytes_durable", "speed_bytes_per_second", "wire_bytes_per_second", "dirty_bytes_per_second", "seconds_left",
       "converges", "lag_seconds"}
LINE = re.compile(r'^towline_run_(\w+)\{job="db"(?:,stage="(\w+)")?\} (\S+)$', re.MULTILINE)


def moving(run):
    return run["stage"] == "Transfer" and run.get("speed_bytes_per_second", 0) > 1 \
        and run["bytes_done"] > 0


def metrics(daemon):
    found = LINE.findall(daemon.send("GET", "/metrics").text)
    return {name: stage or float(value) for name, stage, value in found}


def check(run):
    assert ALL <= run.keys(), ALL - run.keys()
    assert run["bytes_total"] == SIZE, run
    assert 0 < run["bytes_done"] <= run["bytes_changed"] <= SIZE, run
    share = 100 * run["bytes_done"] / run["bytes_changed"]
    assert abs(run["percent"] - share) < 0.01, run
    left = (run["bytes_changed"] - run["bytes_done"]) / run["speed_bytes_per_second"]
    assert abs(run["seconds_left"] - left) < 0.01 * left + 0.01, run


def a_second_run_goes_on(lab):
    """Of a comparison that finds all of it changed, slowly."""
    daemon = Daemon(lab).start()
    source = lab.image("source", SIZE)
    daemon.put("db", source, lab.dir / "replica", MANUAL, compression=0)
    daemon.completed(daemon.start_run("db")["id"])
    source.write_bytes(lab.content(SIZE))
    daemon.good("PATCH", "/v1/jobs/db", {"rate_mbit": 4})
    return daemon, daemon.start_run("db")["id"]


def test_numbers_are_everywhere_the_same(lab):
    daemon, number = a_second_run_goes_on(lab)
    run = daemon.wait_run(number, moving, 60)
    check(run)
    assert run["dirty_bytes_per_second"] > 0 and run["lag_seconds"] > 0, run
    assert run["converges"] == (run["speed_bytes_per_second"] > run["dirty_bytes_per_second"]), run
    # The run goes on: what is asked later is as much or more.
    seen = metrics(daemon)
    later = daemon.run(number)
    for name, field in [("done_bytes", "bytes_done"), ("sent_bytes", "bytes_sent"),
                        ("percent", "percent"), ("lag_seconds", "lag_seconds")]:
        assert run[field] <= seen[name] <= later[field], (name, run, seen, later)
    for name, field in [("volume_bytes", "bytes_total"), ("changed_bytes", "bytes_changed"),
                        ("dirty_bytes_per_second", "dirty_bytes_per_second"), ("stage", "stage")]:
        assert run[field] == seen[name] or abs(run[field] / seen[name] - 1) < 1e-3, (name, seen)
    assert {"speed_bytes_per_second", "wire_bytes_per_second", "left_seconds", "converges",
            "total_bytes"} <= seen.keys(), seen
    status = Operator(daemon).says("status")
    for part in ["Transfer", "on the wire", "written", "lag 0:00:", "left"]:
        assert part in status, (part, status)
    daemon.good("PATCH", "/v1/jobs/db", {"rate_mbit": 0})
    ended = daemon.completed(number)
    assert ended["dirty_bytes_per_second"] > 0 and ended["bytes_total"] == SIZE, ended


def test_progress_is_followed(lab):
    daemon, number = a_second_run_goes_on(lab)
    following = subprocess.Popen(
        ["curl", "-sN", "--unix-socket", daemon.socket, "http://x/v1/events?progress=true"],
        stdout=subprocess.PIPE, text=True)
    lab.at_end(following.kill)
    while True:
        line = json.loads(following.stdout.readline().strip() or "null")
        if line and "progress" in line:
            daemon.check({"$ref": "#/components/schemas/Progress"}, line)
            assert line["progress"]["id"] == number, line
            if moving(line["progress"]):
                break
    check(line["progress"])
    told = subprocess.Popen([binary(), "event", "follow", "--progress", "--socket", daemon.socket],
                            text=True, stdout=subprocess.PIPE)
    lab.at_end(told.kill)
    assert re.match(rf"db run {number}: \w+", told.stdout.readline())
    newest = daemon.events()[-1]["sequence"]
    daemon.good("POST", f"/v1/runs/{number}/cancel")
    daemon.ended(number)
    wait_for(lambda: daemon.events()[-1]["type"] == "run.cancelled", 20, "the end")
    # What was told of progress has no numbers and is not kept.
    assert daemon.events()[-1]["sequence"] == newest + 1


main(globals())
