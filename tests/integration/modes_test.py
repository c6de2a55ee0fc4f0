#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every mode over every way to a target ends in equal bytes, and the report says what was done."""

import json
import os
import subprocess

from lib.lab import KIB, MIB, binary, covered, equal, read_device, write_at
from lib.runner import main

FIELDS = {"source", "target", "mode", "cause", "cause_text", "bytes_total", "bytes_changed",
          "bytes_sent", "seconds", "cpu_seconds", "engine", "codec", "resumed", "dry_run",
          "rss_max_bytes_source", "rss_max_bytes_target"}


def all_modes(lab, source, target, check):
    size = source.stat().st_size
    first = lab.sync(source, target)
    assert FIELDS <= first.keys(), FIELDS - first.keys()
    assert (first["mode"], first["cause"]) == ("full", "first-copy"), first
    assert first["bytes_total"] == first["bytes_changed"] == size, first
    check()

    changes = lab.change(source, 5)
    listed = lab.extents(source, target, changes)
    assert (listed["mode"], listed["cause"]) == ("extents", "change-list"), listed
    assert listed["bytes_changed"] == covered(changes), (listed, changes)
    assert listed["bytes_sent"] < size, listed
    check()

    lab.change(source, 3)
    scanned = lab.sync(source, target, "--scan")
    assert (scanned["mode"], scanned["cause"]) == ("scan", "requested-scan"), scanned
    assert 0 < scanned["bytes_changed"] <= 9 * 64 * KIB, scanned
    check()

    lab.change(source, 3)
    default = lab.sync(source, target)
    assert (default["mode"], default["cause"]) == ("scan", "no-tracker"), default
    check()

    full = lab.sync(source, target, "--full", "--verify")
    assert (full["mode"], full["cause"]) == ("full", "requested-full"), full
    assert full["attested"] == "reread", full
    check()


def test_tcp(lab):
    server = lab.server()
    source = lab.image("source", 4 * MIB + 777)
    all_modes(lab, source, server.url("replica"), lambda: equal(source, lab.root / "replica"))


def test_unix(lab):
    server = lab.server(f"unix:{lab.dir}/socket")
    source = lab.image("source", 4 * MIB)
    all_modes(lab, source, server.url("replica"), lambda: equal(source, lab.root / "replica"))


def test_local_path(lab):
    source = lab.image("source", 4 * MIB + 511)
    target = lab.dir / "target"
    all_modes(lab, source, target, lambda: equal(source, target))


def test_a_bare_name_is_the_target_in_this_folder(lab):
    """From the first run on, when it is not there yet."""
    source = lab.image("source", MIB)
    words = [os.path.abspath(binary()), "sync", "source", "replica", "--json", "--state-dir",
             lab.dir / "state"]
    for cause in ("first-copy", "no-tracker"):
        done = subprocess.run(words, cwd=lab.dir, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["cause"] == cause, done.stdout
        lab.change(source, 2)
    again = lab.sync(source, lab.dir / "replica", state=lab.dir / "state")
    assert again["cause"] == "no-tracker", again
    equal(source, lab.dir / "replica")


def test_device_target_keeps_what_is_behind_the_source(lab):
    source = lab.image("source", 4 * MIB)
    behind = lab.content(MIB)
    backing = lab.image("backing", 5 * MIB, bytes(4 * MIB) + behind)
    device = lab.loop(backing)

    def check():
        now = read_device(device)
        assert now[:4 * MIB] == source.read_bytes(), "the replica differs"
        assert now[4 * MIB:] == behind, "bytes behind the replica were touched"

    lab.refused(source, device, says="--overwrite")
    assert lab.sync(source, device, "--overwrite")["cause"] == "unknown-target"
    lab.sync(source, device, "--full")
    check()
    changes = lab.change(source, 5)
    assert lab.extents(source, device, changes)["bytes_changed"] == covered(changes)
    check()
    lab.change(source, 3)
    assert lab.sync(source, device)["cause"] == "no-tracker"
    check()


def test_device_node_of_a_server_and_device_source(lab):
    """A device becomes a server's target by a node in its root."""
    source = lab.loop(lab.image("source", 4 * MIB))
    device = lab.loop(lab.sparse("backing", 4 * MIB))
    numbers = subprocess.run(["stat", "-c", "%Hr %Lr", str(device)], text=True, check=True,
                             capture_output=True).stdout.split()
    subprocess.run(["mknod", str(lab.root / "disk"), "b", *numbers], check=True)
    server = lab.server()
    lab.sync(source, server.url("disk"))
    assert read_device(device) == read_device(source)
    write_at(source, MIB, lab.content(4 * KIB))
    subprocess.run(["blockdev", "--flushbufs", str(source)], check=True)
    lab.extents(source, server.url("disk"), [(MIB, 4 * KIB)])
    assert read_device(device) == read_device(source)


def test_zeros_and_holes_reach_a_target_that_has_data(lab):
    """A full copy leaves the target equal, zeros included (rule 15)."""
    source = lab.image("source", 4 * MIB)
    target = lab.image("target", 4 * MIB, lab.content(4 * MIB))
    lab.sync(source, target, "--full", "--overwrite")
    equal(source, target)
    write_at(source, 0, bytes(MIB))
    report = lab.extents(source, target, [(0, MIB)])
    assert report["bytes_sent"] < 64 * KIB, report
    equal(source, target)


def test_a_filesystem_replica_is_sound(lab):
    source = lab.filesystem_image("source", 32 * MIB)
    lab.sync(source, lab.dir / "replica")
    equal(source, lab.dir / "replica")
    subprocess.run(["e2fsck", "-fn", lab.dir / "replica"], check=True, capture_output=True)


def test_dry_run_changes_nothing(lab):
    source = lab.image("source", 2 * MIB)
    server = lab.server()
    first = lab.sync(source, server.url("replica"), "--dry-run")
    assert first["dry_run"] and first["bytes_changed"] == 2 * MIB, first
    assert not (lab.root / "replica").exists()
    lab.sync(source, server.url("replica"))
    before = (lab.root / "replica").read_bytes()
    lab.change(source, 2)
    dry = lab.sync(source, server.url("replica"), "--scan", "--dry-run")
    assert 0 < dry["bytes_changed"] <= 6 * 64 * KIB, dry
    assert (lab.root / "replica").read_bytes() == before
    wet = lab.sync(source, server.url("replica"))
    assert wet["bytes_changed"] == dry["bytes_changed"], (wet, dry)
    equal(source, lab.root / "replica")


main(globals())
