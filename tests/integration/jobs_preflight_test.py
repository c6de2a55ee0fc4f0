#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is found before a run: by hand, and before the first one, where what is critical stops it."""

import subprocess

from lib.daemon import Daemon
from lib.lab import MIB, binary, equal
from lib.runner import main

MANUAL = {"manual": True}


def codes(report, severity):
    return [each["code"] for each in report["findings"] if each["severity"] == severity]


def towline(daemon, *words):
    return subprocess.run([binary(), *map(str, words), "--socket", daemon.socket], text=True,
                          capture_output=True, timeout=60)


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
