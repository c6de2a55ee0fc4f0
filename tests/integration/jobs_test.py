#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Standing orders of towlined as their owner sees them: made, run, changed in mid-run, paused,
cancelled, gone on with after a kill, retried, deleted."""

import time

from lib.daemon import Daemon
from lib.lab import KIB, MIB, equal, wait_for, write_at
from lib.runner import main

MANUAL = {"manual": True}
SIZE = 16 * MIB
SLOW = {"rate_mbit": 40, "compression": 0}  # 16 MiB take three seconds


def test_put_twice_says_changed_then_not(lab):
    daemon = Daemon(lab).start()
    source = lab.image("source", MIB)
    order = dict(schedule=MANUAL, tags=["a", "b"], description="täglich")
    first = daemon.put("db", source, lab.dir / "replica", **order)
    assert first["changed"] and first["job"]["state"] == "Pending", first
    again = daemon.put("db", source, lab.dir / "replica", **order)
    assert not again["changed"], again
    assert again["job"]["revision"] == first["job"]["revision"]
    changed = daemon.put("db", source, lab.dir / "replica", schedule=MANUAL)
    assert changed["changed"] and changed["job"]["tags"] == [], changed


def test_a_run_on_demand_makes_the_replica(lab):
    daemon = Daemon(lab).start()
    source, replica = lab.image("source", SIZE), lab.dir / "replica"
    daemon.put("db", source, replica, MANUAL)
    run = daemon.start_run("db")
    assert run["type"] == "OnDemand" and run["state"] in ("Scheduled", "Active"), run
    run = daemon.completed(run["id"])
    assert run["cause"] == "first-copy" and run["mode"] == "full", run
    assert run["bytes_total"] == SIZE and run["stage"] is None, run
    equal(source, replica)
    lab.change(source, 3)
    second = daemon.completed(daemon.start_run("db")["id"])
    assert second["bytes_changed"] < SIZE, second
    equal(source, replica)
    job = daemon.job("db")
    assert job["point"] == second["point"] and 0 <= job["lag_seconds"] < 60, job
    assert [each["id"] for each in daemon.runs("db")] == [second["id"], run["id"]]


def test_to_a_server(lab):
    daemon, server = Daemon(lab).start(), lab.server()
    source = lab.image("source", SIZE)
    daemon.put("db", source, server.url("replica"), MANUAL)
    daemon.completed(daemon.start_run("db")["id"])
    equal(source, lab.root / "replica")


def test_a_schedule_runs_by_itself(lab):
    daemon = Daemon(lab).start()
    source, replica = lab.image("source", MIB), lab.dir / "replica"
    daemon.put("db", source, replica, {"continuous": {"lag": "1s"}})
    wait_for(lambda: len([run for run in daemon.runs("db") if run["state"] == "Completed"]) >= 3,
             20, "three runs")
    write_at(source, 5 * KIB, b"new")
    number = daemon.runs("db")[0]["id"]
    wait_for(lambda: any(run["id"] > number + 1 and run["state"] == "Completed"
                         for run in daemon.runs("db")), 20, "a later run")
    equal(source, replica)
    assert daemon.runs("db")[0]["type"] == "Continuous"
    daemon.put("hourly", source, lab.dir / "other", {"every": "1h"})
    wait_for(lambda: daemon.runs("hourly"), 10, "its first run")
    wait_for(lambda: daemon.job("hourly")["active_run"] is None, 10, "its end")
    assert daemon.job("hourly")["next_run_at"] is not None
    once = {"once": int(time.time()) + 1}
    daemon.put("once", source, lab.dir / "once", once)
    wait_for(lambda: daemon.job("once")["state"] == "Completed", 20, "the one-time job")
    equal(source, lab.dir / "once")


def test_rate_in_mid_run(lab):
    daemon = Daemon(lab).start()
    source, replica = lab.image("source", SIZE), lab.dir / "replica"
    daemon.put("db", source, replica, MANUAL, rate_mbit=4, compression=0)
    number = daemon.start_run("db")["id"]
    run = daemon.wait_run(number, lambda run: run["stage"] == "Transfer" and run["bytes_done"] > 0)
    assert 0 < run["percent"] < 100 and run["bytes_changed"] == SIZE, run
    began = time.monotonic()
    changed = daemon.good("PATCH", "/v1/jobs/db", {"rate_mbit": 0})
    assert changed["changed"] and changed["job"]["active_run"] == number, changed
    run = daemon.completed(number)
    assert time.monotonic() - began < 15, "the run kept its old rate (32 s)"
    assert run["continued"] == 0
    equal(source, replica)


def test_compression_in_mid_run(lab):
    daemon = Daemon(lab).start()
    source, replica = lab.dir / "source", lab.dir / "replica"
    source.write_bytes(b"a line that is much like the others\n" * (2 * SIZE // 36))
    size = source.stat().st_size
    daemon.put("db", source, replica, MANUAL, rate_mbit=8, compression=0)
    number = daemon.start_run("db")["id"]
    daemon.wait_run(number, lambda run: run["stage"] == "Transfer" and run["bytes_sent"] > 0)
    changed = daemon.good("PATCH", "/v1/jobs/db", {"compression": 3})
    assert changed["job"]["active_run"] == number, changed
    run = daemon.completed(number)
    assert run["continued"] == 0 and run["bytes_changed"] >= size, run
    # What was on its way went as it was; all else shrinks to a hundredth.
    assert run["bytes_sent"] < size / 2, run
    equal(source, replica)


def test_pause_and_resume_in_mid_run(lab):
    daemon = Daemon(lab).start()
    source, replica = lab.image("source", SIZE), lab.dir / "replica"
    daemon.put("db", source, replica, MANUAL, **SLOW)
    number = daemon.start_run("db")["id"]
    daemon.wait_run(number, lambda run: run["bytes_done"] > 4 * MIB)
    daemon.good("POST", "/v1/jobs/db/pause")
    paused = daemon.wait_run(number, lambda run: run["paused"])
    assert paused["state"] == "Active" and daemon.job("db")["state"] == "Paused", paused
    daemon.refused("RUN_ACTIVE", "POST", "/v1/jobs/db/runs")
    # It stays so over a restart.
    daemon.kill()
    daemon.start()
    time.sleep(0.3)
    assert daemon.run(number)["paused"]
    daemon.good("POST", "/v1/jobs/db/resume")
    run = daemon.completed(number)
    assert run["id"] == number
    equal(source, replica)
    assert not daemon.good("POST", "/v1/jobs/db/resume")["changed"]


def test_cancel(lab):
    daemon = Daemon(lab).start()
    source = lab.image("source", SIZE)
    daemon.put("db", source, lab.dir / "replica", MANUAL, **SLOW)
    number = daemon.start_run("db")["id"]
    daemon.wait_run(number, lambda run: run["stage"] == "Transfer")
    daemon.refused("RUN_ACTIVE", "POST", "/v1/jobs/db/runs")
    daemon.good("POST", f"/v1/runs/{number}/cancel")
    assert daemon.ended(number)["state"] == "Cancelled"
    daemon.refused("RUN_ENDED", "POST", f"/v1/runs/{number}/cancel")
    daemon.good("PATCH", "/v1/jobs/db", {"rate_mbit": 0})
    daemon.completed(daemon.start_run("db")["id"])
    equal(source, lab.dir / "replica")


def test_failures_end_in_a_pause_and_a_resume(lab):
    daemon = Daemon(lab).start()
    source = lab.image("source", MIB)
    server = lab.server()
    url = server.url("replica")
    server.kill()
    daemon.put("db", source, url, {"every": "1h"}, failures_max=1)
    wait_for(lambda: daemon.job("db")["state"] == "PausedOnFailure", 30, "the pause")
    run = daemon.runs("db")[0]
    assert run["state"] == "Failed" and run["error"]["retriable"], run
    assert run["error"]["code"] in ("disconnected", "io"), run
    daemon.refused("JOB_PAUSED", "POST", "/v1/jobs/db/runs")
    server.start()
    daemon.good("POST", "/v1/jobs/db/resume")
    wait_for(lambda: daemon.runs("db")[0]["state"] == "Completed", 20, "the run after it")
    assert daemon.job("db")["state"] == "Active"


def test_a_refusal_says_the_remedy(lab):
    daemon = Daemon(lab).start()
    source = lab.image("source", MIB)
    daemon.put("db", source, source, MANUAL)
    run = daemon.ended(daemon.start_run("db")["id"])
    assert run["state"] == "Failed" and run["error"]["code"] == "refused", run
    assert daemon.job("db")["state"] == "Failing"


def test_missed(lab):
    """An interval is 30 s at least: next_run_at lets a time fall on a run."""
    daemon = Daemon(lab).start()
    source = lab.image("source", SIZE)
    daemon.put("db", source, lab.dir / "replica", {"every": "30s"}, rate_mbit=8, compression=0)
    wait_for(lambda: daemon.job("db")["active_run"], 10, "its first run")
    daemon.good("PATCH", "/v1/jobs/db", {"next_run_at": int(time.time())})
    wait_for(lambda: [run for run in daemon.runs("db") if run["state"] == "Missed"], 10, "Missed")
    missed = [run for run in daemon.runs("db") if run["state"] == "Missed"]
    assert missed[0]["missed"] == 1 and missed[0]["missed_run"] == daemon.job("db")["active_run"]


def test_delete_in_mid_run(lab):
    daemon = Daemon(lab).start()
    source = lab.image("source", SIZE)
    daemon.put("db", source, lab.dir / "replica", MANUAL, **SLOW)
    number = daemon.start_run("db")["id"]
    daemon.wait_run(number, lambda run: run["stage"] == "Transfer")
    gone = daemon.good("DELETE", "/v1/jobs/db")
    assert gone["job"]["state"] == "Deleting", gone
    wait_for(lambda: daemon.send("GET", "/v1/jobs/db").status == 404, 20, "its end")
    assert (lab.dir / "replica").exists()
    daemon.put("db", source, lab.dir / "replica", MANUAL)
    assert daemon.start_run("db")["id"] > number


def test_quota(lab):
    daemon = Daemon(lab).start()
    daemon.put("db", lab.image("source", MIB), lab.dir / "replica", MANUAL, on_demand_per_day=1)
    daemon.completed(daemon.start_run("db")["id"])
    daemon.refused("QUOTA_EXCEEDED", "POST", "/v1/jobs/db/runs")


def test_stopped_in_order_it_goes_on_too(lab):
    daemon = Daemon(lab).start()
    source, replica = lab.image("source", SIZE), lab.dir / "replica"
    daemon.put("db", source, replica, MANUAL, **SLOW)
    number = daemon.start_run("db")["id"]
    daemon.wait_run(number, lambda run: run["bytes_done"] > 8 * MIB)
    assert daemon.stop() == 0
    assert not daemon.socket.exists()
    daemon.start()
    run = daemon.completed(number)
    assert run["continued"] == 1, run
    assert run["bytes_sent"] < 12 * MIB, "what was acknowledged was sent again"
    equal(source, replica)


main(globals())
