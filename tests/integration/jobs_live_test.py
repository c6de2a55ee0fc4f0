#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Jobs on a live volume: a tracked mount with a mounted filesystem on it, written to all the time.
What a job asks for is what a run uses, and says."""

import shutil
import subprocess
import threading

from lib.daemon import Daemon
from lib.lab import MIB, equal
from lib.runner import main
from lib.tracked import Tracked

MANUAL = {"manual": True}


class Live:
    def __init__(self, lab):
        self.tracked = Tracked(lab, lab.filesystem_image("image", 64 * MIB))
        self.device = self.tracked.loop()
        self.folder = lab.dir / "live"
        lab.mount(self.device, self.folder)
        self.daemon = Daemon(lab, ["--run-dir", lab.dir / "run"]).start()
        self.replica = lab.dir / "replica"
        self._over = threading.Event()
        lab.at_end(self._over.set)

    def write_on(self):
        """A file of a fixed size, again and again, until close()."""
        def work():
            number = 0
            while not self._over.wait(0.02):
                number += 1
                (self.folder / "busy").write_bytes(number.to_bytes(4, "big") * 4096)
        self._writer = threading.Thread(target=work)
        self._writer.start()

    def close(self):
        self._over.set()
        self._writer.join()
        subprocess.run(["umount", self.folder], check=True)

    def put(self, **fields):
        return self.daemon.put("db", self.tracked.volume, self.replica, MANUAL, **fields)

    def run(self):
        return self.daemon.ended(self.daemon.start_run("db")["id"])

    def check_replica(self):
        """It is of one moment: the journal makes it whole, and nothing else is wrong with it."""
        copy = self.daemon.folder / "copy"
        shutil.copy(self.replica, copy)
        subprocess.run(["e2fsck", "-E", "journal_only", "-fy", copy], capture_output=True)
        checked = subprocess.run(["e2fsck", "-fn", copy], capture_output=True, text=True)
        assert checked.returncode == 0, checked


def test_a_live_volume_is_read_from_a_snapshot(lab):
    live = Live(lab)
    live.put(tracker="fuse", snapshot="fuse", snapshot_store_bytes=16 * MIB)
    live.write_on()
    first = live.run()
    assert first["state"] == "Completed" and first["mode"] == "full", first
    assert (first["tracker"], first["snapshot"]) == ("fuse", "fuse"), first
    assert first["label"] in ("crash", "filesystem"), first
    live.check_replica()
    second = live.run()
    assert second["mode"] == "extents" and second["bytes_changed"] < 16 * MIB, second
    live.check_replica()
    live.close()
    last = live.run()
    assert last["state"] == "Completed" and last["mode"] == "extents", last
    equal(live.tracked.volume, live.replica)


def test_what_cannot_be_had_is_said(lab):
    live = Live(lab)
    live.put(tracker="bpf", snapshot="none")
    run = live.run()
    assert run["state"] == "Failed" and not run["error"]["retriable"], run
    assert "bpf" in run["error"]["message"], run
    live.put(snapshot="none", tracker="scan", overwrite=True)
    run = live.run()
    assert run["label"] == "fuzzy" and run["snapshot"] == "none", run
    assert run["tracker"] == "none", run


def test_words_are_checked_before_anything_happens(lab):
    daemon = Daemon(lab).start()
    body = {"volumes": [str(lab.image("source", MIB))], "target": str(lab.dir / "replica")}
    for field, value in [("tracker", "best"), ("snapshot", "scan"), ("snapshot_store_bytes", -1),
                         ("freeze", "no")]:
        daemon.refused("INVALID_REQUEST", "PUT", "/v1/jobs/db", {**body, field: value}, field=field)
    several = {**body, "volumes": ["/dev/a", "/dev/b"]}
    refusal = daemon.refused("INVALID_REQUEST", "PUT", "/v1/jobs/db", several, field="volumes")
    assert "a job for each" in refusal["message"], refusal
    assert not daemon.good("GET", "/v1/jobs")["jobs"]


def test_hooks_of_a_job_are_run(lab):
    live = Live(lab)
    live.daemon.stop()
    folder = lab.dir / "hooks"
    config = lab.dir / "towlined.toml"
    config.write_text(f'[daemon]\nhooks_dir = "{folder}"\nrun_dir = "{lab.dir / "run"}"\n')
    (folder / "db").mkdir(parents=True)
    for name in ["pre-snapshot", "post-snapshot"]:
        hook = folder / "db" / name
        hook.write_text(f'#!/bin/sh\necho "{name} $TOWLINE_SOURCE" >> {lab.dir / "said"}\n')
        hook.chmod(0o755)
    live.daemon = Daemon(lab, ["--config", config], name="hooked").start()
    live.put()
    run = live.run()
    assert run["state"] == "Completed" and run["label"] == "application", run
    said = (lab.dir / "said").read_text().split("\n")
    assert said[:2] == [f"{name} {live.tracked.volume}" for name in
                        ["pre-snapshot", "post-snapshot"]], said


main(globals())
