#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`towline job`, `run`, `event` and `status` as an operator and a script use them."""

import subprocess
import time

from lib.daemon import Daemon
from lib.lab import MIB, binary, equal
from lib.operator import Operator
from lib.runner import main


def operator(lab):
    daemon = Daemon(lab).start()
    return Operator(daemon), lab.image("source", MIB), lab.dir / "replica"


def test_a_day_of_an_operator(lab):
    towline, source, replica = operator(lab)
    create = ["job", "create", "db", "--volume", source, "--target", replica, "--every", "1h",
              "--start", "manual", "--tag", "gold", "--tag", "prod"]
    assert "changed (dry run), Pending" in towline.says(*create, "--dry-run")
    assert "db" not in towline.says("job", "list")
    assert "job db: changed, Pending" in towline.says(*create)
    assert "not changed" in towline.says(*create)
    assert "every 1h" in towline.says("job", "list", "--tag", "gold", "--name", "d")
    assert "run 1 of job db: OnDemand Completed, first-copy" in towline.says(
        "run", "start", "db", "--wait")
    equal(source, replica)
    assert "changed" in towline.says("job", "edit", "db", "--rate", 50, "--compress", "3",
                                     "--verify", "--description", "of the shop")
    shown = towline.json("job", "show", "db")
    towline.daemon.check({"$ref": "#/components/schemas/Job"}, shown)
    assert (shown["rate_mbit"], shown["compression"], shown["verify"]) == (50, 3, True), shown
    assert shown["tags"] == ["gold", "prod"] and shown["schedule"] == {"every": "1h"}, shown
    towline.says("job", "edit", "db", "--calendar", "Mon 02:30 UTC")
    assert towline.json("job", "show", "db")["schedule"] == {"calendar": "Mon 02:30 UTC"}
    assert "Paused" in towline.says("job", "pause", "db")
    assert "Active" in towline.says("job", "resume", "db")
    status = towline.says("status")
    assert "you are admin" in status and "db" in status, status
    assert towline.json("status")["jobs"][0]["name"] == "db"
    runs = towline.json("run", "list", "db")
    assert [run["state"] for run in runs["runs"]] == ["Completed"], runs
    assert "first-copy" in towline.says("run", "list")
    assert "Completed" in towline.says("run", "show", 1)
    assert "Completed" in towline.says("run", "wait", 1)
    assert "Deleted" in towline.says("job", "delete", "db")


def test_exit_codes(lab):
    towline, source, _ = operator(lab)
    assert "no job x" in towline.says("job", "show", "x", exit=11)
    towline.says("run", "show", 9, exit=11)
    create = ["job", "create", "db", "--volume", source, "--target"]
    towline.says(*create, source, "--every", "1s", exit=2)
    towline.says(*create, source, "--every", "1h", "--manual", exit=2)
    towline.says(*create, source, "--manual")
    towline.says("run", "start", "db", "--wait", exit=12)
    towline.says("job", "pause", "db")
    assert "resume" in towline.says("run", "start", "db", exit=3)
    towline.daemon.kill()
    assert "is towlined running" in towline.says("status", exit=4)


def test_a_run_that_is_watched_and_cancelled(lab):
    towline, _, replica = operator(lab)
    source = lab.image("large", 8 * MIB)
    towline.says("job", "create", "db", "--volume", source, "--target", replica, "--rate", "2",
                 "--compress", "0")
    towline.says("run", "start", "db")
    assert "RUN" in towline.says("status")
    towline.says("run", "start", "db", exit=7)
    waiting = subprocess.Popen([binary(), "run", "wait", "1", "--socket", towline.daemon.socket],
                               text=True, stdout=subprocess.PIPE)
    lab.at_end(waiting.kill)
    time.sleep(0.3)
    towline.says("run", "cancel", 1)
    out, _ = waiting.communicate(timeout=20)
    assert waiting.returncode == 10 and "Cancelled" in out, out


def test_events_are_followed(lab):
    towline, source, replica = operator(lab)
    following = subprocess.Popen([binary(), "event", "follow", "--since", "0", "--socket",
                                  towline.daemon.socket], text=True, stdout=subprocess.PIPE)
    lab.at_end(following.kill)
    towline.says("job", "create", "db", "--volume", source, "--target", replica)
    towline.says("run", "start", "db", "--wait")
    seen = [following.stdout.readline().split()[1] for _ in range(4)]
    assert seen == ["job.created", "run.created", "run.started", "run.completed"], seen
    assert towline.daemon.stop() == 0
    assert following.wait(timeout=10) == 0


main(globals())
