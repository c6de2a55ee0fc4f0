#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is found before a run: by hand, and before the first one, where what is critical stops it."""

import os
import stat
import struct
import subprocess

from lib import wire
from lib.daemon import Daemon
from lib.lab import MIB, binary, equal, wait_for
from lib.proxy import rewritten
from lib.runner import main

MANUAL = {"manual": True}


def codes(report, severity):
    return [each["code"] for each in report["findings"] if each["severity"] == severity]


def measured(daemon, name):
    """A preflight whose probe of the link came through in its time: a busy machine may need another."""
    def look():
        report = daemon.good("POST", f"/v1/jobs/{name}/preflight")
        link, = [each["message"] for each in report["findings"] if each["code"] == "link"]
        return "the link carries" in link and (report, link)
    return wait_for(look, 60, "a probe of the link")


def towline(daemon, *words):
    return subprocess.run([binary(), *map(str, words), "--socket", daemon.socket], text=True,
                          capture_output=True, timeout=60)


def test_a_journal_on_its_volume_is_told_before_the_first_run(lab):
    """The first run is not staged; it is the second one that would be refused."""
    daemon = Daemon(lab).start()
    volume = lab.loop(lab.filesystem_image("image", 64 * MIB))
    live = lab.mount(volume, lab.dir / "live")
    target = lab.loop(lab.sparse("disk", 64 * MIB))
    for fields, wanted in [({"journal": str(live)}, ["journal-on-volume"]),
                           ({"journal": str(live), "direct": True}, []),
                           ({}, [])]:
        daemon.put("db", volume, target, MANUAL, snapshot="none", **fields)
        report = daemon.good("POST", "/v1/jobs/db/preflight")
        assert codes(report, "Critical") == wanted, report


def test_what_is_good_says_so(lab):
    daemon = Daemon(lab).start()
    source = lab.image("source", 16 * MIB)
    daemon.put("db", source, lab.dir / "replica", MANUAL)
    report = daemon.good("POST", "/v1/jobs/db/preflight")
    assert not report["stops"] and codes(report, "Critical") == [], report
    assert report["read_bytes_per_second"] > 0 and report["first_seconds"] > 0, report
    assert not (lab.dir / "replica").exists() and not daemon.runs("db"), "it only looks"
    shown = towline(daemon, "job", "preflight", "db")
    assert shown.returncode == 0 and "the first run takes about" in shown.stdout, shown
    daemon.refused("NOT_FOUND", "POST", "/v1/jobs/other/preflight")


def test_what_is_critical_stops_the_first_run(lab):
    daemon = Daemon(lab).start()
    image = lab.filesystem_image("image", 64 * MIB)
    device = lab.loop(image)
    lab.mount(device, lab.dir / "live")
    vault = lab.dir / "live" / "vault"
    subprocess.run([binary(), "vault", "init", vault], check=True, capture_output=True)
    daemon.put("db", device, f"vault:{vault}/db", MANUAL, snapshot="none")
    report = daemon.good("POST", "/v1/jobs/db/preflight")
    assert report["stops"] and codes(report, "Critical") == ["target-on-volume"], report
    assert "fuzzy" in codes(report, "Warning"), report
    shown = towline(daemon, "job", "preflight", "db")
    assert shown.returncode == 3 and "Critical" in shown.stdout, shown
    run = daemon.ended(daemon.start_run("db")["id"])
    assert run["state"] == "Failed" and run["error"]["code"] == "refused", run
    assert "put it on another device" in run["error"]["message"], run
    assert "ignore_critical" in run["error"]["message"], run
    # Who says that it does not matter is refused by the run itself: it never ends.
    daemon.good("PATCH", "/v1/jobs/db", {"ignore_critical": True})
    run = daemon.ended(daemon.start_run("db")["id"])
    assert "stored on the source" in run["error"]["message"], run


def test_a_job_that_starts_with_a_test(lab):
    daemon = Daemon(lab).start()
    source, replica = lab.image("source", MIB), lab.dir / "replica"
    daemon.put("db", source, replica, {"every": "1h"}, start="test-only")
    wait_for(lambda: daemon.runs("db"), 20, "the test")
    test = daemon.completed(daemon.runs("db")[0]["id"])
    assert test["type"] == "Test" and test["bytes_sent"] == 0, test
    assert "Info size:" in test["notes"], test
    assert not replica.exists() and daemon.job("db")["state"] == "Pending"
    shown = towline(daemon, "run", "show", test["id"])
    assert "Test Completed, " in shown.stdout and "Info size" in shown.stdout, shown
    daemon.good("POST", "/v1/jobs/db/resume")
    wait_for(lambda: [each for each in daemon.runs("db") if each["state"] == "Completed"
                      and each["type"] == "Scheduled"], 20, "the run after it")
    equal(source, replica)
    # A bad one starts nothing.
    daemon.put("self", source, source, {"every": "1h"}, start="test-then-start")
    wait_for(lambda: daemon.runs("self"), 20, "the test")
    test = daemon.ended(daemon.runs("self")[0]["id"])
    assert test["state"] == "Failed" and test["error"]["code"] == "refused", test
    assert "Critical target-on-volume" in test["notes"], test
    job = daemon.job("self")
    assert job["state"] == "Pending" and job["next_run_at"] is None, job
    # A good one starts the schedule.
    daemon.put("good", source, lab.dir / "good", {"every": "1h"}, start="test-then-start")
    wait_for(lambda: len(daemon.runs("good")) == 2, 20, "the run after the test")
    daemon.completed(daemon.runs("good")[0]["id"])
    assert [run["type"] for run in daemon.runs("good")] == ["Scheduled", "Test"]


def test_past_runs_say_what_the_next_will_take(lab):
    daemon, server = Daemon(lab).start(), lab.server()
    source = lab.image("source", 2 * MIB)
    daemon.put("db", source, server.url("replica"), MANUAL)
    for _ in range(2):
        daemon.completed(daemon.start_run("db")["id"])
        lab.change(source, 2)
    report, link = measured(daemon, "db")
    assert report["link_bytes_per_second"] > 0 and report["next_seconds"] > 0, report
    assert "past runs put" in link and "answers within" in link, link


def test_the_link_is_measured_before_the_first_run(lab):
    daemon = Daemon(lab).start()
    source = lab.image("source", 2 * MIB)
    for name, server in [("tcp", lab.server()), ("unix", lab.server(f"unix:{lab.dir}/socket"))]:
        daemon.put(name, source, server.url(name), MANUAL)
        report, link = measured(daemon, name)
        assert report["link_bytes_per_second"] > 0 and report["first_seconds"] > 0, report
        assert 0 < report["round_trip_seconds"] < 2, report
        assert abs(report["clock_skew_seconds"]) <= report["round_trip_seconds"] / 2 + 0.1, report
        assert "clock-skew" not in codes(report, "Warning"), report
        assert "answers within" in link and "past" not in link, link
        assert not (lab.root / name).exists(), "nothing is made there"
        assert server.alive()
        daemon.completed(daemon.start_run(name)["id"])
    equal(source, lab.root / "unix")


def disk_of_target(report):
    told, = [each["message"] for each in report["findings"] if each["code"] == "target-disk"]
    return told


def told_of_disk(daemon, name, says):
    """A preflight that says this of the target's disk: one that is busy may need another."""
    def look():
        report = daemon.good("POST", f"/v1/jobs/{name}/preflight")
        return says in disk_of_target(report) and report
    return wait_for(look, 60, f"a preflight that says {says}")


def test_the_targets_disk_is_measured_and_nothing_of_it_is_left(lab):
    daemon, server = Daemon(lab).start(), lab.server()
    source, folder = lab.image("source", 2 * MIB), lab.dir / "images"
    folder.mkdir()
    vault = lab.dir / "vault"
    subprocess.run([binary(), "vault", "init", vault], check=True, capture_output=True)
    (lab.root / "kept").write_bytes(b"k" * MIB)
    before = {place: {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
              for place in (folder, vault, lab.root)}
    for name, target in [("image", folder / "replica"), ("vault", f"vault:{vault}/db"),
                         ("new", server.url("replica")), ("there", server.url("kept"))]:
        daemon.put(name, source, target, MANUAL)
        report = told_of_disk(daemon, name, "the target's disk writes at")
        assert not report["stops"] and report["target_bytes_per_second"] > 0, report
        assert report["first_seconds"] > 0 and "it reads at" in disk_of_target(report), report
    for place, files in before.items():
        now = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
        assert now == files, (place, now)
    assert server.alive()


def test_a_device_as_a_target_is_only_read(lab):
    daemon, server = Daemon(lab).start(), lab.server()
    source = lab.image("source", 2 * MIB)
    here, there = lab.image("here", 8 * MIB), lab.image("there", 8 * MIB)
    device, served = lab.loop(here), lab.loop(there)
    number = os.stat(served).st_rdev
    os.mknod(lab.root / "disk", 0o600 | stat.S_IFBLK, number)
    before = [here.read_bytes(), there.read_bytes()]
    for name, target in [("here", device), ("there", server.url("disk"))]:
        daemon.put(name, source, target, MANUAL)
        report = told_of_disk(daemon, name, "the target reads at")
        assert "nothing is written to it" in disk_of_target(report), report
        assert report["target_bytes_per_second"] > 0, report
    assert [here.read_bytes(), there.read_bytes()] == before


def test_what_a_target_says_of_its_disk_is_not_believed_beyond_what_can_be(lab):
    daemon, server = Daemon(lab).start(), lab.server()

    def boast(head):
        return struct.pack("<QQQQ", 64 * MIB, 1, 0, 0) + wire.text("")

    def insult(head):
        return struct.pack("<QQQQ", 0, 0, 0, 0) + wire.text(b"\xff\x1b[2J no")
    for name, change, says in [("boast", boast, "cannot be"), ("insult", insult, "is not known")]:
        proxy = lab.proxy(server, rewritten(wire.DISK_PROBED, change))
        daemon.put(name, lab.image("source", MIB), proxy.url(name), MANUAL)
        report = told_of_disk(daemon, name, says)
        assert not report["stops"], report
        assert report["target_bytes_per_second"] is None, report
        shown = towline(daemon, "job", "preflight", name)
        assert shown.returncode == 0 and "target-disk" in shown.stdout, shown
        assert "\x1b" not in shown.stdout, "nothing that a terminal would obey"


def test_a_clock_that_is_wrong_is_told(lab):
    daemon, server = Daemon(lab).start(), lab.server()

    def later(head):
        confirmed, clock = struct.unpack("<QQ", head)
        return struct.pack("<QQ", confirmed, clock + 7200 * 10 ** 6)
    proxy = lab.proxy(server, rewritten(wire.PROBED, later))
    daemon.put("db", lab.image("source", MIB), proxy.url("replica"), MANUAL)
    report, _ = measured(daemon, "db")
    assert "clock-skew" in codes(report, "Warning") and not report["stops"], report
    assert 7190 < report["clock_skew_seconds"] < 7210, report


def test_a_target_of_a_version_before_is_only_reached(lab):
    daemon, server = Daemon(lab).start(), lab.server()
    proxy = lab.proxy(server, rewritten(wire.HELLO, lambda _: wire.hello(capabilities=3)))
    daemon.put("db", lab.image("source", MIB), proxy.url("replica"), MANUAL)
    report = daemon.good("POST", "/v1/jobs/db/preflight")
    assert report["link_bytes_per_second"] is None and report["clock_skew_seconds"] is None, report
    link, = [each["message"] for each in report["findings"] if each["code"] == "link"]
    assert "upgrade it" in link and not report["stops"], report
    assert "upgrade it" in disk_of_target(report), report
    assert report["target_bytes_per_second"] is None, report


def test_a_target_that_is_away_is_no_reason_to_give_up(lab):
    daemon, server = Daemon(lab).start(), lab.server()
    source, url = lab.image("source", MIB), server.url("replica")
    server.kill()
    daemon.put("db", source, url, MANUAL)
    report = daemon.good("POST", "/v1/jobs/db/preflight")
    assert codes(report, "Critical") == ["target"], report
    run = daemon.ended(daemon.start_run("db")["id"])
    assert run["error"]["retriable"], run
    server.start()
    report = daemon.good("POST", "/v1/jobs/db/preflight")
    assert not report["stops"] and "link" in codes(report, "Info"), report
    daemon.completed(daemon.start_run("db")["id"])
    equal(source, lab.root / "replica")


main(globals())
