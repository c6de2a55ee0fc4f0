#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The points of a job and the vaults that jobs go to, by the API: those that the vault has, in its
own words, and what cannot be read is said."""

import json
import subprocess

from lib.daemon import Daemon
from lib.lab import MIB, binary
from lib.runner import main

MANUAL = {"manual": True}


def towline(*words, code=0, stdin=None):
    done = subprocess.run([binary(), *map(str, words)], text=True, capture_output=True, timeout=120,
                          input=stdin)
    assert done.returncode == code, done
    return done.stdout


def lost(lab, daemon, source):
    """A job whose vault was there when it was made."""
    towline("vault", "init", lab.dir / "none")
    daemon.put("lost", source, f"vault:{lab.dir}/none/x", MANUAL)
    (lab.dir / "none").rename(lab.dir / "unmounted")


def test_points_of_a_job(lab):
    daemon = Daemon(lab).start()
    source, vault = lab.image("source", MIB), lab.dir / "vault"
    towline("vault", "init", vault)
    daemon.put("db", source, f"vault:{vault}/shop/db", MANUAL)
    assert daemon.good("GET", "/v1/jobs/db/points") == {"points": [], "next": None}
    for _ in range(3):
        daemon.completed(daemon.start_run("db")["id"])
        lab.change(source, 1)
    points = daemon.good("GET", "/v1/jobs/db/points")["points"]
    assert [each["sequence"] for each in points] == [3, 2, 1], points
    assert points[0]["id"] == daemon.job("db")["point"] and points[2]["mode"] == "full", points
    # The same as the vault's own command says, and as the daemon's.
    told = json.loads(towline("point", "list", f"vault:{vault}/shop/db", "--json"))["points"]
    assert told == points[::-1], told
    shown = towline("job", "points", "db", "--socket", daemon.socket)
    assert [line.split()[0] for line in shown.splitlines()[1:]] == [each["id"] for each in points]
    # A page after another.
    seen, cursor = [], ""
    while cursor is not None:
        page = daemon.good("GET", f"/v1/jobs/db/points?limit=2{cursor}")
        seen += page["points"]
        cursor = page["next"] and f"&cursor={page['next']}"
    assert seen == points, seen
    daemon.refused("NOT_FOUND", "GET", "/v1/jobs/other/points")
    daemon.put("replica", source, lab.dir / "replica", MANUAL)
    assert daemon.good("GET", "/v1/jobs/replica/points")["points"] == [], "it is of one moment"


def test_points_go_with_their_job_if_that_is_said(lab):
    daemon = Daemon(lab).start()
    source, vault, floor = lab.image("source", MIB), lab.dir / "vault", lab.dir / "floor"
    towline("vault", "init", vault)
    towline("vault", "init", floor, "--floor-count", 2)

    def deleted(name, *words, code=0):
        return towline("job", "delete", name, *words, "--socket", daemon.socket, code=code)

    def points(target):
        return json.loads(towline("point", "list", target, "--json"))["points"]

    def made(name, target, runs):
        daemon.put(name, source, target, MANUAL)
        for _ in range(runs):
            daemon.completed(daemon.start_run(name)["id"])
            lab.change(source, 1)
    made("kept", f"vault:{vault}/kept", 1)
    made("db", f"vault:{vault}/db", 3)
    made("held", f"vault:{floor}/held", 3)
    daemon.put("twin", source, f"vault:{vault}/db", MANUAL)
    daemon.put("replica", source, lab.dir / "replica", MANUAL)
    lost(lab, daemon, source)
    # What cannot be purged, or is another's too, is not deleted either.
    for name, code in [("db", 3), ("replica", 3), ("lost", 3), ("nobody", 11)]:
        deleted(name, "--purge", code=code)
    assert len(daemon.good("GET", "/v1/jobs")["jobs"]) == 6
    deleted("twin")
    assert "3 points would go" in deleted("db", "--purge", "--dry-run")
    assert len(points(f"vault:{vault}/db")) == 3 and daemon.job("db")
    # Also in mid-run.
    daemon.good("PATCH", "/v1/jobs/db", {"rate_mbit": 0.1, "compression": 0})
    lab.change(source, 8)
    daemon.wait_run(daemon.start_run("db")["id"], lambda run: run["stage"] == "Transfer")
    said = json.loads(deleted("db", "--purge", "--json"))
    assert said["purged"]["deleted"] == 3 and said["job"]["state"] == "Deleted", said
    assert points(f"vault:{vault}/db") == [], "all of them"
    assert len(points(f"vault:{vault}/kept")) == 1, "and no other's"
    daemon.refused("NOT_FOUND", "GET", "/v1/jobs/db")
    # The vault's floor is for its own host to lift.
    assert "1 points deleted; 2 kept by the vault's floor" in deleted("held", "--purge")
    assert [each["sequence"] for each in points(f"vault:{floor}/held")] == [2, 3]
    # Without the word they stay.
    deleted("kept")
    assert len(points(f"vault:{vault}/kept")) == 1
    towline("vault", "scrub", vault)


def test_vaults_that_jobs_go_to(lab):
    key = lab.dir / "key"
    key.write_bytes(bytes(range(32)))
    key.chmod(0o600)
    config = lab.dir / "towlined.toml"
    config.write_text(f'[vault]\nkey_files = ["{key}"]\n')
    source = lab.image("source", MIB)
    plain, sealed, strange = lab.dir / "a", lab.dir / "b", lab.dir / "c"
    towline("vault", "init", plain)
    towline("vault", "init", sealed, "--encrypt", "--key-file", key)
    other = lab.dir / "other"
    other.write_bytes(bytes(range(1, 33)))
    other.chmod(0o600)
    towline("vault", "init", strange, "--encrypt", "--key-file", other)
    daemon = Daemon(lab, ["--config", config]).start()
    for name, vault in [("one", plain), ("two", plain), ("three", sealed), ("four", strange)]:
        daemon.put(name, source, f"vault:{vault}/{name}", MANUAL)
    daemon.put("replica", source, lab.dir / "replica", MANUAL)
    for name in ["one", "three"]:
        daemon.completed(daemon.start_run(name)["id"])
    vaults = daemon.good("GET", "/v1/vaults")["vaults"]
    assert [each["path"] for each in vaults] == [str(plain), str(sealed), str(strange)], vaults
    assert [each["jobs"] for each in vaults] == [["one", "two"], ["three"], ["four"]], vaults
    assert [each["encrypted"] for each in vaults] == [False, True, True], vaults
    assert [each["names"] for each in vaults] == [1, 1, None], vaults
    assert not vaults[0]["error"] and not vaults[1]["error"] and vaults[2]["error"], vaults
    assert all(each["free_bytes"] > 0 for each in vaults), vaults
    assert len(daemon.good("GET", "/v1/jobs/three/points")["points"]) == 1
    daemon.refused("VAULT_UNREADABLE", "GET", "/v1/jobs/four/points")
    shown = towline("catalog", "vaults", "--socket", daemon.socket)
    assert "one, two" in shown and str(sealed) in shown, shown
    lost(lab, daemon, source)
    gone = daemon.good("GET", "/v1/vaults")["vaults"][-1]
    assert gone["jobs"] == ["lost"] and "vault init" in gone["error"], gone
    first = daemon.good("GET", "/v1/vaults?limit=1")
    assert first["vaults"][0]["path"] == str(plain) and len(first["vaults"]) == 1 and first["next"] == str(plain), first


main(globals())
