#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The API from the outside: what is there is in its document and answers by its schema; every error
code is provoked; nothing has an effect that was refused."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

from lib.daemon import Daemon, program
from lib.lab import MIB, Skip, binary, wait_for
from lib.runner import main

MANUAL = {"manual": True}
TREE = Path(__file__).resolve().parents[2]


def jobs_daemon(lab, *words):
    daemon = Daemon(lab, words).start()
    source = lab.image("source", MIB)
    daemon.put("db", source, lab.dir / "replica", MANUAL)
    return daemon, source


def test_every_operation_answers_by_its_schema(lab):
    daemon, source = jobs_daemon(lab)
    number = daemon.start_run("db")["id"]
    daemon.completed(number)
    daemon.good("PUT", "/v1/notifications/db", {"program": "/bin/true"})
    daemon.good("PUT", "/v1/templates/db", {"options": {"verify": True}})
    daemon.good("PUT", "/v1/groups/db", {"jobs": ["db"]})
    words = {"{name}": "db", "{id}": str(number)}
    seen = set()
    for path, item in daemon.openapi["paths"].items():
        if "get" not in item:
            continue
        for word, value in words.items():
            path = path.replace(word, value)
        answer = daemon.ask("GET", path, status=200)
        assert answer.text, path
        seen.add(path)
    assert {"/v1/meta", "/metrics", "/v1/jobs/db/runs", "/v1/audit"} <= seen
    meta = daemon.good("GET", "/v1/meta")
    assert meta["role"] == "admin" and meta["uid"] == os.getuid(), meta
    assert {"kmod", "fuse"} <= set(meta["trackers"]) and "converge" in meta["snapshots"], meta
    assert daemon.openapi == json.loads((TREE / "userspace/control/api.json").read_text())
    rows = [f"| `{method.upper()} {path}` | {each['x-role']} | {each['summary']} |"
            for path, item in daemon.openapi["paths"].items()
            for method, each in item.items() if method != "parameters"]
    told = re.findall(r"^\| `[A-Z]+ /.*", (TREE / "docs/api.md").read_text(), re.MULTILINE)
    assert told == rows, set(told) ^ set(rows)


def test_every_error_code_is_provoked(lab):
    daemon, source = jobs_daemon(lab)
    order = {"volumes": [str(source)], "target": str(lab.dir / "t"), "schedule": MANUAL}
    provoked = set()

    def refused(code, *words, **more):
        provoked.add(code)
        return daemon.refused(code, *words, **more)

    refused("INVALID_REQUEST", "PUT", "/v1/jobs/x", "{", field=None)
    refused("UNKNOWN_FIELD", "PUT", "/v1/jobs/x", {**order, "speed": 1}, field="speed")
    refused("BODY_TOO_LARGE", "PUT", "/v1/jobs/x", {**order, "description": "x" * 70_000})
    refused("UNSUPPORTED_MEDIA_TYPE", "PUT", "/v1/jobs/x", json.dumps(order),
            {"Content-Type": "text/xml"})
    refused("NOT_FOUND", "GET", "/v1/nothing")
    refused("NOT_FOUND", "GET", "/v1/jobs/nobody")
    refused("NOT_FOUND", "GET", "/v1/runs/4711")
    refused("METHOD_NOT_ALLOWED", "DELETE", "/v1/meta")
    assert daemon.ask("POST", "/v1/jobs/db").headers["Allow"] == "DELETE, GET, PATCH, PUT"
    refused("REVISION_MISMATCH", "PUT", "/v1/jobs/db", order, {"If-Match": '"77"'})
    refused("REVISION_MISMATCH", "PUT", "/v1/jobs/new", order, {"If-Match": "*"})

    daemon.good("PUT", "/v1/jobs/k", order, {"Idempotency-Key": "one"})
    refused("KEY_REUSED", "PUT", "/v1/jobs/k", {**order, "verify": True},
            {"Idempotency-Key": "one"})

    daemon.good("PUT", "/v1/jobs/slow", {**order, "target": str(lab.dir / "slow"),
                                         "rate_mbit": 0.1, "compression": 0,
                                         "on_demand_per_day": 1})
    number = daemon.start_run("slow")["id"]
    refused("RUN_ACTIVE", "POST", "/v1/jobs/slow/runs")
    refused("RUN_ACTIVE", "PUT", "/v1/jobs/slow", {**order, "target": str(lab.dir / "other")})
    daemon.good("POST", f"/v1/runs/{number}/cancel")
    daemon.ended(number)
    refused("RUN_ENDED", "POST", f"/v1/runs/{number}/cancel")
    refused("QUOTA_EXCEEDED", "POST", "/v1/jobs/slow/runs")
    daemon.good("POST", "/v1/jobs/slow/pause")
    refused("JOB_PAUSED", "POST", "/v1/jobs/slow/runs")

    daemon.put("once", source, lab.dir / "o", {"once": int(time.time())})
    wait_for(lambda: daemon.job("once")["state"] == "Completed", 20, "the one-time job")
    refused("JOB_ENDED", "POST", "/v1/jobs/once/pause")

    daemon.put("far", source, "tcp://127.0.0.1:1/vault:db", MANUAL)
    refused("POINTS_ELSEWHERE", "GET", "/v1/jobs/far/points")
    vault = lab.dir / "vault"
    subprocess.run([binary(), "vault", "init", vault], check=True, capture_output=True)
    daemon.put("lost", source, f"vault:{vault}/db", MANUAL)
    vault.rename(lab.dir / "unmounted")
    refused("VAULT_UNREADABLE", "GET", "/v1/jobs/lost/points")

    # What cannot be had in a healthy daemon of root's alone has tests of its own below.
    provoked |= {"FORBIDDEN", "LIMIT_REACHED", "JOB_DELETING", "STATE_NOT_SAVED"}
    codes = daemon.openapi["components"]["schemas"]["Error"]["properties"]["code"]["enum"]
    assert provoked == set(codes), set(codes) ^ provoked
    table = (TREE / "docs/api.md").read_text()
    for code in codes:
        assert f"| `{code}` |" in table, f"docs/api.md lacks {code}"


def test_a_job_that_is_being_deleted(lab):
    daemon = Daemon(lab).start()
    source, server = lab.image("source", 8 * MIB), lab.server()
    daemon.put("db", source, server.url("replica"), MANUAL, rate_mbit=1, compression=0)
    daemon.wait_run(daemon.start_run("db")["id"], lambda run: run["stage"] == "Transfer")
    # A server that stands still lets the run's end wait.
    server.process.send_signal(19)
    try:
        assert daemon.good("DELETE", "/v1/jobs/db")["job"]["state"] == "Deleting"
        daemon.refused("JOB_DELETING", "POST", "/v1/jobs/db/runs")
    finally:
        server.process.send_signal(18)


def test_limits(lab):
    config = lab.dir / "towlined.toml"
    config.write_text("[daemon]\njobs_max = 1\n")
    daemon, source = jobs_daemon(lab, "--config", config)
    order = {"volumes": [str(source)], "target": str(lab.dir / "t")}
    daemon.refused("LIMIT_REACHED", "PUT", "/v1/jobs/two", order)
    daemon.good("DELETE", "/v1/jobs/db")
    daemon.good("PUT", "/v1/jobs/two", order)


def test_what_is_refused_has_no_effect(lab):
    daemon, source = jobs_daemon(lab)
    before = daemon.send("GET", "/v1/jobs/db").text
    newest = daemon.events()[-1]["sequence"]
    good = {"volumes": [str(source)], "target": str(lab.dir / "x")}
    for field, body in [
            ("nothing", {"nothing": 1}), ("schedule.every", {"schedule": {"every": "5s"}}),
            ("schedule.every", {"schedule": {"every": "91d"}}),
            ("schedule.every", {"schedule": {"every": "often"}}),
            ("schedule.calendar", {"schedule": {"calendar": "25:00"}}),
            ("schedule", {"schedule": {}}),
            ("schedule", {"schedule": {"manual": True, "every": "1h"}}),
            ("schedule.manual", {"schedule": {"manual": False}}),
            ("schedule.continuous.lag", {"schedule": {"continuous": {}}}),
            ("schedule.once", {"schedule": {"once": "tomorrow"}}),
            ("start", {"start": int(time.time()) + 31 * 86400}), ("start", {"start": "soon"}),
            ("tags", {"tags": [f"t{i}" for i in range(21)]}), ("tags", {"tags": ["a", "a"]}),
            ("tags[0]", {"tags": ["with space"]}), ("rate_mbit", {"rate_mbit": -1}),
            ("rate_mbit", {"rate_mbit": "fast"}), ("compression", {"compression": 11}),
            ("compression", {"compression": "dense"}), ("volumes", {"volumes": ["relative"]}),
            ("volumes", {"volumes": []}), ("target", {"target": "relative"}),
            ("target", {"target": "tcp://nobody"}), ("failures_max", {"failures_max": 0}),
            ("verify", {"verify": 1}), ("description", {"description": "x" * 1025})]:
        answer = daemon.ask("PUT", "/v1/jobs/db", {**good, **body})
        assert answer.status == 400, (body, str(answer))
        assert answer.json["field"] == field, (body, str(answer))
        assert answer.json["message"], answer
    daemon.refused("INVALID_REQUEST", "PUT", "/v1/jobs/db", {}, field="volumes")
    daemon.refused("UNKNOWN_FIELD", "PATCH", "/v1/jobs/db", {"target": "/x"}, field="target")
    daemon.refused("UNKNOWN_FIELD", "GET", "/v1/jobs?order=1", field="order")
    daemon.refused("INVALID_REQUEST", "GET", "/v1/jobs?limit=501", field="limit")
    daemon.refused("INVALID_REQUEST", "GET", "/v1/jobs?state=Happy", field="state")
    daemon.refused("INVALID_REQUEST", "GET", "/v1/runs?cursor=x", field="cursor")
    daemon.refused("INVALID_REQUEST", "GET", "/v1/runs?limit=1&limit=2", field="limit")
    daemon.refused("INVALID_REQUEST", "GET", "/v1/jobs/a%20b", field="name")
    daemon.refused("INVALID_REQUEST", "POST", "/v1/jobs/db/runs", {"type": "full"})
    assert daemon.send("GET", "/v1/jobs/db").text == before
    assert daemon.events()[-1]["sequence"] == newest


def test_dry_run_changes_nothing(lab):
    daemon, source = jobs_daemon(lab)
    order = {"volumes": [str(source)], "target": str(lab.dir / "x"), "schedule": {"every": "1h"}}
    would = daemon.good("PUT", "/v1/jobs/new?dry_run=true", order)
    assert would["changed"] and would["dry_run"], would
    daemon.refused("NOT_FOUND", "GET", "/v1/jobs/new")
    would = daemon.good("PUT", "/v1/jobs/db?dry_run=true", order)
    assert would["changed"] and would["job"]["schedule"] == {"every": "1h"}, would
    assert daemon.job("db")["schedule"] == MANUAL
    same = {**order, "schedule": MANUAL, "target": str(lab.dir / "replica")}
    assert not daemon.good("PUT", "/v1/jobs/db?dry_run=true", same)["changed"]
    assert daemon.good("DELETE", "/v1/jobs/db?dry_run=true")["job"]["state"] == "Deleted"
    assert daemon.job("db")["state"] == "Pending"


def test_etag(lab):
    daemon, source = jobs_daemon(lab)
    tag = daemon.send("GET", "/v1/jobs/db").headers["ETag"]
    daemon.good("PATCH", "/v1/jobs/db", {"description": "one"}, {"If-Match": tag})
    daemon.refused("REVISION_MISMATCH", "PATCH", "/v1/jobs/db", {"description": "two"},
                   {"If-Match": tag})
    daemon.refused("REVISION_MISMATCH", "DELETE", "/v1/jobs/db", None, {"If-Match": tag})
    assert daemon.job("db")["description"] == "one"


def test_idempotency_key(lab):
    """The same request again is the same answer and no second run, over a restart too."""
    daemon, _ = jobs_daemon(lab)
    key = {"Idempotency-Key": "k" * 64}
    first = daemon.good("POST", "/v1/jobs/db/runs", None, key)
    daemon.completed(first["id"])
    assert daemon.good("POST", "/v1/jobs/db/runs", None, key)["id"] == first["id"]
    daemon.kill()
    daemon.start()
    assert daemon.good("POST", "/v1/jobs/db/runs", None, key)["id"] == first["id"]
    assert len(daemon.runs("db")) == 1
    # All of the answer, and as it was then, whatever became of the job since.
    other = {"Idempotency-Key": "other"}
    order = {"volumes": [str(lab.dir / "source")], "target": str(lab.dir / "two"), "schedule": MANUAL}
    first = daemon.ask("PUT", "/v1/jobs/two", order, other, 201)
    assert first.headers["ETag"] == '"1"', first.headers
    daemon.good("PATCH", "/v1/jobs/two", {"description": "changed since"})
    for _ in range(2):
        again = daemon.ask("PUT", "/v1/jobs/two", order, other, 201)
        assert (again.text, again.headers["ETag"]) == (first.text, '"1"'), again
        daemon.kill()
        daemon.start()
    assert daemon.job("two")["description"] == "changed since"
    daemon.refused("INVALID_REQUEST", "POST", "/v1/jobs/db/runs", None,
                   {"Idempotency-Key": "k" * 65}, field="Idempotency-Key")


def test_pages(lab):
    daemon, source = jobs_daemon(lab)
    names = [f"job{i:02}" for i in range(23)]
    for name in names:
        daemon.put(name, source, lab.dir / name, MANUAL, tags=["odd" if int(name[3:]) % 2 else "even"])
    found, cursor = [], ""
    while cursor is not None:
        page = daemon.good("GET", f"/v1/jobs?limit=5{cursor and '&cursor=' + cursor}")
        found += [job["name"] for job in page["jobs"]]
        cursor = page["next"]
    assert found == ["db", *names]
    odd = daemon.good("GET", "/v1/jobs?tag=odd&name=job1")["jobs"]
    assert [job["name"] for job in odd] == ["job11", "job13", "job15", "job17", "job19"]
    numbers = []
    for _ in range(4):
        numbers.append(daemon.start_run("db")["id"])
        daemon.completed(numbers[-1])
    page = daemon.good("GET", "/v1/jobs/db/runs?limit=3")
    rest = daemon.good("GET", f"/v1/jobs/db/runs?limit=3&cursor={page['next']}")
    assert [run["id"] for run in page["runs"] + rest["runs"]] == numbers[::-1]
    assert rest["next"] is None
    assert daemon.good("GET", "/v1/runs?state=Failed")["runs"] == []


def test_events(lab):
    config = lab.dir / "towlined.toml"
    config.write_text("[history]\nevents = 100\n")
    daemon, _ = jobs_daemon(lab, "--config", config)
    number = daemon.start_run("db")["id"]
    daemon.completed(number)
    events = daemon.events()
    types = [event["type"] for event in events]
    assert types == ["job.created", "run.created", "run.started", "run.completed"], types
    assert [event["sequence"] for event in events] == [1, 2, 3, 4]
    assert events[-1]["data"]["cause"] == "first-copy"
    assert [event["sequence"] for event in daemon.events(since=2)] == [3, 4]
    # What is gone is said to be gone.
    for _ in range(60):
        daemon.good("POST", "/v1/jobs/db/pause")
        daemon.good("POST", "/v1/jobs/db/resume")
    daemon.kill()
    daemon.start()
    wait_for(lambda: "gap" in daemon.events(since=1)[0], 10, "the gap")
    gap, first, *_ = daemon.events(since=1)
    assert gap["gap"]["first"] == 2 and first["sequence"] == gap["gap"]["last"] + 1, gap


def test_events_are_followed_as_they_come(lab):
    daemon, _ = jobs_daemon(lab)
    curl = subprocess.Popen(["curl", "-sN", "--unix-socket", daemon.socket,
                             "http://x/v1/events?since=0&follow=true"],
                            stdout=subprocess.PIPE, text=True)
    lab.at_end(curl.kill)
    assert json.loads(curl.stdout.readline())["type"] == "job.created"
    began = time.monotonic()
    daemon.good("POST", "/v1/jobs/db/pause")
    assert json.loads(curl.stdout.readline())["type"] == "job.paused"
    assert time.monotonic() - began < 1
    assert daemon.stop() == 0
    assert curl.wait(timeout=5) == 0, "a follower sees the daemon's end as the end"


def test_roles(lab):
    if os.getuid() != 0:
        raise Skip("needs root to be somebody else")
    config = lab.dir / "towlined.toml"
    config.write_text('[roles]\noperator = ["daemon", "@games"]\nviewer = ["nobody"]\n')
    daemon, source = jobs_daemon(lab, "--config", config)
    for folder in (lab.dir.parent, lab.dir, daemon.folder):
        if folder.stat().st_uid == 0 and folder != Path("/tmp"):
            folder.chmod(0o711)
    daemon.socket.chmod(0o666)

    def code(user, method, path, body=None):
        words = ["curl", "-s", "--unix-socket", str(daemon.socket), "-X", method,
                 "http://x" + path]
        if body is not None:
            words += ["-d", json.dumps(body), "-H", "Content-Type: application/json"]
        out = subprocess.run(words, user=user, group="games" if user == "games" else None,
                             extra_groups=[], capture_output=True, text=True, check=True).stdout
        return json.loads(out).get("code", "")

    edit, order = {"description": "x"}, {"volumes": [str(source)], "target": "/tmp/x"}
    assert code("nobody", "GET", "/v1/jobs") == ""
    assert code("nobody", "PATCH", "/v1/jobs/db", edit) == "FORBIDDEN"
    assert code("daemon", "PATCH", "/v1/jobs/db", edit) == ""
    assert code("games", "POST", "/v1/jobs/db/pause") == ""
    assert code("daemon", "PUT", "/v1/jobs/db", order) == "FORBIDDEN"
    assert code("daemon", "DELETE", "/v1/jobs/db") == "FORBIDDEN"
    assert code("daemon", "GET", "/v1/audit") == "FORBIDDEN"
    assert code("bin", "GET", "/v1/jobs") == "FORBIDDEN"
    records = daemon.good("GET", "/v1/audit")["records"]
    assert [(each["operation"], each["role"]) for each in records] == [
        ("pause_job", "operator"), ("patch_job", "operator"), ("put_job", "admin")], records
    assert records[1]["before"]["description"] == "" and records[1]["after"]["description"] == "x"


def test_state_that_cannot_be_saved(lab):
    """A full disk: nothing is half done, and all goes on when there is room again."""
    if os.getuid() != 0:
        raise Skip("needs root to mount a small filesystem")
    lab.mount("none", lab.dir / "small", "-t", "tmpfs", "-o", "size=4m")
    daemon = Daemon(lab)
    daemon.state = lab.dir / "small" / "state"
    daemon.start()
    source = lab.image("source", MIB)
    daemon.put("db", source, lab.dir / "replica", MANUAL)
    filler = lab.dir / "small" / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass  # full
    long = "x" * 1000
    answers = [daemon.ask("PUT", f"/v1/jobs/more{i}", {
        "volumes": [str(source)], "target": "/x", "schedule": MANUAL, "description": long})
        for i in range(100)]
    refused = [answer for answer in answers if answer.status == 503]
    assert refused and refused[0].json["code"] == "STATE_NOT_SAVED", [str(each) for each in answers]
    assert refused[0].json["retriable"] and refused[0].json["cause"]
    made = sum(answer.status == 201 for answer in answers)
    if daemon.process.poll() is None:
        assert len(daemon.good("GET", "/v1/jobs?limit=500")["jobs"]) == 1 + made
    filler.unlink()
    daemon.kill()
    daemon.start()
    assert len(daemon.good("GET", "/v1/jobs?limit=500")["jobs"]) == 1 + made
    daemon.put("again", source, lab.dir / "again", MANUAL)


def test_configuration(lab):
    config = lab.dir / "towlined.toml"

    def checked(text):
        config.write_text(text)
        return subprocess.run([program(), "--check-config", "--config", config], text=True,
                              capture_output=True)

    assert checked('[daemon]\nstate_dir = "/x"\nruns_max = 3\n[roles]\nadmin = ["a"]\n').returncode == 0
    for text, says in [("[daemon]\nsocke = 'x'", "daemon.socke is not known"),
                       ("[daemon]\n\nruns_max = 0", ":3: daemon.runs_max"),
                       ("[deamon]\n", "deamon is not known"), ("x", "towlined.toml:1"),
                       ("[roles]\nadmin = 'root'", "list of names"), ("daemon = 1", "daemon")]:
        outcome = checked(text)
        assert outcome.returncode == 2 and says in outcome.stderr, (text, outcome)


def test_one_daemon_a_folder_and_a_socket(lab):
    daemon, _ = jobs_daemon(lab)
    for words in [["--state-dir", daemon.state, "--socket", lab.dir / "other"],
                  ["--state-dir", lab.dir / "other-state", "--socket", daemon.socket]]:
        second = subprocess.run([program(), *words], text=True, capture_output=True, timeout=20)
        assert second.returncode == 1 and "another" in second.stderr, second
    assert daemon.good("GET", "/v1/meta")
    # What a killed one leaves is replaced; what is no socket is not.
    daemon.kill()
    assert daemon.socket.exists()
    daemon.start()
    assert oct(daemon.socket.stat().st_mode & 0o777) == "0o660"
    daemon.stop()
    daemon.socket.write_text("precious")
    refused = subprocess.run([program(), "--state-dir", daemon.state, "--socket", daemon.socket],
                             text=True, capture_output=True, timeout=20)
    assert refused.returncode == 1 and "no socket" in refused.stderr, refused


main(globals())
