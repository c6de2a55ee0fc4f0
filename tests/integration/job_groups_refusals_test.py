#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Groups and templates, refused: every error code that can come of them comes, nothing that was refused
has had an effect, and what would change is said without changing it."""

import json
import os
import sqlite3
import subprocess
import time
from pathlib import Path

from lib.daemon import Daemon
from lib.lab import MIB, Skip, wait_for
from lib.operator import Operator
from lib.runner import main

MANUAL = {"manual": True}
PLACES = {"group": ("/v1/groups/shop", {"jobs": ["a"]}, {"jobs": []}),
          "template": ("/v1/templates/gold", {"options": {"verify": True}},
                       {"options": {"verify": False}})}
# What only a verb of a group says, of one of its jobs.
OF_JOBS = {"RUN_ACTIVE", "JOB_PAUSED", "JOB_ENDED", "JOB_DELETING", "QUOTA_EXCEEDED"}
ELSEWHERE = {"FORBIDDEN", "LIMIT_REACHED", "STATE_NOT_SAVED",  # below
             "RUN_ENDED",  # of a run by its number: no group names one
             "POINTS_ELSEWHERE", "VAULT_UNREADABLE"}  # of a job's points


def with_jobs(lab, *names):
    daemon, source = Daemon(lab).start(), lab.image("source", MIB)
    for name in names:
        daemon.put(name, source, lab.dir / f"{name}.replica", MANUAL)
    return daemon, source


def everything(daemon):
    return [daemon.send("GET", path).text
            for path in ["/v1/groups", "/v1/templates", "/v1/audit", "/v1/events?since=0"]]


def test_every_error_code_of_them_is_provoked(lab):
    daemon, _ = with_jobs(lab, "a")
    provoked = set()
    for what, (path, order, other) in PLACES.items():
        daemon.good("PUT", path, order, {"Idempotency-Key": what})
        before = everything(daemon)

        def refused(code, *words, **more):
            provoked.add(code)
            daemon.refused(code, *words, **more)

        refused("INVALID_REQUEST", "PUT", path, "{")
        refused("INVALID_REQUEST", "PUT", path, {}, field=next(iter(order)))
        refused("INVALID_REQUEST", "PUT", path[:-4] + "a%20b", order, field="name")
        refused("INVALID_REQUEST", "DELETE", path, {"a": 1})
        refused("UNKNOWN_FIELD", "PUT", path, {**order, "speed": 1}, field="speed")
        refused("UNKNOWN_FIELD", "DELETE", path + "?purge=true", field="purge")
        refused("BODY_TOO_LARGE", "PUT", path, {**order, "description": "x" * 70_000})
        refused("UNSUPPORTED_MEDIA_TYPE", "PUT", path, json.dumps(order),
                {"Content-Type": "text/xml"})
        refused("METHOD_NOT_ALLOWED", "POST", path)
        refused("REVISION_MISMATCH", "PUT", path, other, {"If-Match": '"77"'}, field="If-Match")
        refused("REVISION_MISMATCH", "DELETE", path, None, {"If-Match": "77"})
        refused("KEY_REUSED", "PUT", path, other, {"Idempotency-Key": what})
        nobody = path[:-4] + "nobody"
        refused("REVISION_MISMATCH", "PUT", nobody, order, {"If-Match": "*"})
        refused("NOT_FOUND", "GET", nobody)
        refused("NOT_FOUND", "DELETE", nobody)
        assert everything(daemon) == before
    daemon.refused("INVALID_REQUEST", "PATCH", "/v1/groups/shop", {})
    daemon.refused("INVALID_REQUEST", "PATCH", "/v1/groups/shop", {"add": ["x"]}, field="jobs")
    daemon.refused("REVISION_MISMATCH", "PATCH", "/v1/groups/shop", {"remove": ["a"]},
                   {"If-Match": '"77"'})
    codes = set(daemon.openapi["components"]["schemas"]["Error"]["properties"]["code"]["enum"])
    assert provoked == codes - OF_JOBS - ELSEWHERE, provoked ^ (codes - OF_JOBS - ELSEWHERE)


def test_what_a_job_of_a_group_refuses(lab):
    daemon, source = with_jobs(lab, "paused", "quota", "once")
    server = lab.server()
    daemon.put("quota", source, lab.dir / "quota.replica", MANUAL, on_demand_per_day=1)
    daemon.completed(daemon.start_run("quota")["id"])
    daemon.good("POST", "/v1/jobs/paused/pause")
    daemon.put("once", source, lab.dir / "o", {"once": int(time.time())})
    wait_for(lambda: daemon.job("once")["state"] == "Completed", 60, "the one-time job")
    for name in ["busy", "going"]:
        daemon.put(name, lab.image(f"{name}.image", 8 * MIB), server.url(name), MANUAL, rate_mbit=1,
                   compression=0)
        daemon.wait_run(daemon.start_run(name)["id"], lambda run: run["stage"] == "Transfer", 60)
    jobs = ["paused", "quota", "once", "busy", "going"]
    daemon.good("PUT", "/v1/groups/all", {"jobs": jobs})
    # A server that stands still lets the run's end wait.
    server.process.send_signal(19)
    try:
        assert daemon.good("DELETE", "/v1/jobs/going")["job"]["state"] == "Deleting"
        said = {}
        for verb in ["start", "pause"]:
            answer = daemon.good("POST", f"/v1/groups/all/{verb}")
            for each in answer["results"]:
                if each["error"]:
                    said.setdefault(each["error"]["code"], set()).add((verb, each["job"]))
        assert said == {"RUN_ACTIVE": {("start", "busy")}, "JOB_PAUSED": {("start", "paused")},
                        "QUOTA_EXCEEDED": {("start", "quota")}, "JOB_ENDED": {("pause", "once")},
                        "JOB_DELETING": {("start", "going"), ("pause", "going")}}, said
        assert set(said) == OF_JOBS
    finally:
        server.process.send_signal(18)
    wait_for(lambda: daemon.good("GET", "/v1/groups/all")["jobs"] == sorted(set(jobs) - {"going"}), 60,
             "the job that goes")


def test_as_many_as_there_may_be(lab):
    daemon, _ = with_jobs(lab, "a")
    daemon.stop()
    with sqlite3.connect(daemon.state / "towlined.sqlite") as file:
        file.executemany("INSERT INTO job_group VALUES (?, '')", [(f"g{i}",) for i in range(200)])
        file.executemany("INSERT OR REPLACE INTO template VALUES (?, ?)", [
            (name, json.dumps({"name": name, "description": "", "options": {"verify": True}}))
            for name in ["two-on-demand", *(f"t{i}" for i in range(199))]])
    file.close()
    daemon.start()
    for what, (path, order, _) in PLACES.items():
        message = daemon.refused("LIMIT_REACHED", "PUT", path, order)["message"]
        assert f"200 {what}s" in message, message
        daemon.refused("LIMIT_REACHED", "PUT", path + "?dry_run=true", order)
    # One that is there can be changed, and one that goes makes room.
    daemon.good("PUT", "/v1/groups/g7", {"jobs": ["a"]})
    daemon.good("DELETE", "/v1/groups/g8")
    daemon.ask("PUT", "/v1/groups/shop", {"jobs": ["a"]}, status=201)
    page, names = daemon.good("GET", "/v1/groups?limit=150"), []
    names += page["groups"]
    names += daemon.good("GET", f"/v1/groups?limit=150&cursor={page['next']}")["groups"]
    assert len({each["name"] for each in names}) == 200, len(names)


def test_etag(lab):
    daemon, source = with_jobs(lab, "a", "b")
    for path, order, other in PLACES.values():
        made = daemon.ask("PUT", path, order, status=201).headers["ETag"]
        tag = daemon.send("GET", path).headers["ETag"]
        assert tag == made and tag.startswith('"') and len(tag) == 34, (tag, made)
        # The same again is the same, and so is its tag; anything else is not.
        again = daemon.ask("PUT", path, order, {"If-Match": tag}, 200)
        assert not again.json["changed"] and again.headers["ETag"] == tag, again
        changed = daemon.ask("PUT", path, other, {"If-Match": tag.strip('"')}, 200)
        assert changed.json["changed"] and changed.headers["ETag"] != tag, changed
        daemon.refused("REVISION_MISMATCH", "PUT", path, order, {"If-Match": tag})
        daemon.refused("REVISION_MISMATCH", "DELETE", path, None, {"If-Match": tag})
        assert daemon.send("GET", path).headers["ETag"] == changed.headers["ETag"]
        daemon.good("DELETE", path, None, {"If-Match": changed.headers["ETag"]})
    # A job that is deleted leaves the group: who did not see that does not change it.
    daemon.good("PUT", "/v1/groups/shop", {"jobs": ["a", "b"]})
    tag = daemon.send("GET", "/v1/groups/shop").headers["ETag"]
    daemon.good("PATCH", "/v1/groups/shop", {"description": "x"}, {"If-Match": tag})
    tag = daemon.send("GET", "/v1/groups/shop").headers["ETag"]
    daemon.good("DELETE", "/v1/jobs/b")
    daemon.refused("REVISION_MISMATCH", "PATCH", "/v1/groups/shop", {"description": "y"},
                   {"If-Match": tag})
    daemon.good("PATCH", "/v1/groups/shop", {"description": "y"}, {"If-Match": "*"})


def test_dry_run_changes_nothing(lab):
    daemon, _ = with_jobs(lab, "a")
    towline = Operator(daemon)
    before = everything(daemon)
    for what, (path, order, other) in PLACES.items():
        dry = f"{path}?dry_run=true"
        would = daemon.ask("PUT", dry, order, status=200).json
        assert would["changed"] and would["dry_run"] and would[what]["name"] == path[-4:], would
        assert everything(daemon) == before
        made = daemon.ask("PUT", path, order, status=201).json
        assert made["changed"] and not made["dry_run"], made
        before = everything(daemon)
        assert not daemon.good("PUT", dry, order)["changed"]
        assert daemon.good("PUT", dry, other)["changed"]
        gone = daemon.good("DELETE", dry)
        assert gone["changed"] and gone["dry_run"] and gone[what] == made[what], gone
        assert everything(daemon) == before
    assert daemon.good("PATCH", "/v1/groups/shop?dry_run=true", {"remove": ["a"]})["group"]["jobs"] == []
    for words in [["group", "create", "new", "--job", "a"], ["group", "edit", "shop", "--remove", "a"],
                  ["template", "create", "gold", "--no-verify"]]:
        assert "changed (dry run)" in towline.says(*words, "--dry-run")
    assert everything(daemon) == before


def test_roles_of_groups_and_templates(lab):
    if os.getuid() != 0:
        raise Skip("needs root to be somebody else")
    config = lab.dir / "towlined.toml"
    config.write_text('[roles]\noperator = ["daemon"]\nviewer = ["nobody"]\n')
    daemon = Daemon(lab, ["--config", config]).start()
    for folder in (lab.dir.parent, lab.dir, daemon.folder):
        if folder.stat().st_uid == 0 and folder != Path("/tmp"):
            folder.chmod(0o711)
    daemon.socket.chmod(0o666)

    def code(user, method, path, body=None):
        words = ["curl", "-s", "--unix-socket", str(daemon.socket), "-X", method, "http://x" + path]
        if body is not None:
            words += ["-d", json.dumps(body), "-H", "Content-Type: application/json"]
        out = subprocess.run(words, user=user, extra_groups=[], capture_output=True, text=True,
                             check=True).stdout
        return json.loads(out).get("code", "")

    empty, preset = {"jobs": []}, {"options": {"verify": True}}
    assert code("nobody", "PUT", "/v1/groups/g", empty) == "FORBIDDEN"
    assert code("daemon", "PUT", "/v1/groups/g", empty) == ""
    assert code("nobody", "GET", "/v1/groups/g") == ""
    assert code("daemon", "PUT", "/v1/templates/t", preset) == "FORBIDDEN"
    assert code("daemon", "DELETE", "/v1/templates/two-on-demand") == "FORBIDDEN"
    for verb in ["start", "pause", "resume", "cancel"]:
        assert code("nobody", "POST", f"/v1/groups/g/{verb}") == "FORBIDDEN"
        assert code("daemon", "POST", f"/v1/groups/g/{verb}") == ""
    assert code("nobody", "DELETE", "/v1/groups/g") == "FORBIDDEN"


def test_groups_that_cannot_be_saved(lab):
    """A full disk: each is there whole or not at all."""
    if os.getuid() != 0:
        raise Skip("needs root to mount a small filesystem")
    lab.mount("none", lab.dir / "small", "-t", "tmpfs", "-o", "size=4m")
    daemon = Daemon(lab)
    daemon.state = lab.dir / "small" / "state"
    daemon.start()
    filler = lab.dir / "small" / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass  # full
    made = {"groups": [], "templates": []}
    order = {"groups": {"jobs": []}, "templates": {"options": {"verify": True}}}
    refused = set()
    for number in range(100):
        for kind, body in order.items():
            name = f"n{number:03}"
            answer = daemon.ask("PUT", f"/v1/{kind}/{name}", {**body, "description": "x" * 1000})
            if answer.status == 201:
                made[kind].append(name)
            else:
                assert answer.json["code"] == "STATE_NOT_SAVED" and answer.json["retriable"], answer
                refused.add(kind)
        if len(refused) == 2:
            break
    assert len(refused) == 2, refused
    filler.unlink()
    daemon.kill()
    daemon.start()
    for kind, names in made.items():
        there = [each["name"] for each in daemon.good("GET", f"/v1/{kind}?limit=500")[kind]]
        assert [name for name in there if name != "two-on-demand"] == names, (there, names)


main(globals())
