#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is made for who helps has what happened, and nothing by which its owner could be known."""

import json
import subprocess

from lib.daemon import Daemon
from lib.lab import MIB, binary
from lib.runner import main

MANUAL = {"manual": True}
SECRET = "sixteen letters or more"


def towline(daemon, *words, code=0):
    done = subprocess.run([binary(), *map(str, words), "--socket", daemon.socket], text=True,
                          capture_output=True, timeout=120)
    assert done.returncode == code, done
    return done.stdout + done.stderr


def test_nothing_of_its_owner_is_in_it(lab):
    daemon = Daemon(lab).start()
    source, vault = lab.image("ledger", MIB), lab.dir / "strongroom"
    subprocess.run([binary(), "vault", "init", vault], check=True, capture_output=True)
    daemon.put("payroll", source, f"vault:{vault}/salaries", MANUAL, tags=["goldcustomer"],
               description="of Alice, at 192.0.2.7")
    daemon.put("far", source, "tcp://backup.acme.invalid:7400/wages", MANUAL)
    daemon.put("bad", lab.dir / "missing-ledger", lab.dir / "elsewhere", MANUAL)
    daemon.good("PUT", "/v1/groups/acmegroup", {"jobs": ["payroll", "far"]})
    daemon.good("PUT", "/v1/templates/acmepreset", {"options": {"verify": True, "tags": ["acmetag"]}})
    daemon.good("PUT", "/v1/notifications/acmehook",
                {"webhook": {"url": "http://127.0.0.1:9/hook?token=hunter2", "secret": SECRET}})
    daemon.good("POST", "/v1/groups/acmegroup/start")
    for name in ["payroll", "far", "bad"]:
        if name == "bad":
            daemon.start_run(name)
        daemon.ended(daemon.runs(name)[0]["id"])
    file = lab.dir / "bundle.json"
    assert "read it before" in towline(daemon, "support", file)
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    for theirs in ["payroll", "salaries", "ledger", "strongroom", "goldcustomer", "Alice", "192.0.2.7",
                   "backup", "acme", "wages", "elsewhere", "hunter2", "127.0.0.1", SECRET, "/tmp",
                   str(lab.dir)]:
        assert theirs not in text, f"{theirs}: {text[max(0, text.index(theirs) - 200):][:400]}"
    bundle = json.loads(text)
    # What happened is there, and what belongs together is seen to.
    names = {job["name"] for job in bundle["jobs"]["jobs"]}
    assert len(names) == 3 and {run["job"] for run in bundle["runs"]["runs"]} == names, names
    assert set(bundle["groups"]["groups"][0]["jobs"]) < names, bundle["groups"]
    assert {run["state"] for run in bundle["runs"]["runs"]} == {"Completed", "Failed"}
    targets = sorted(job["target"] for job in bundle["jobs"]["jobs"])
    assert [each.partition("-")[0] for each in targets] == ["target", "tcp:target", "vault:target"] or \
        [each.partition("-")[0] for each in targets] == ["path", "tcp:target", "vault:target"], targets
    failed = [run["error"]["code"] for run in bundle["runs"]["runs"] if run["error"]]
    assert len(failed) == 2 and all(failed), failed
    told = [event["type"] for event in bundle["events"]]
    assert told.count("run.failed") == 2 and "run.completed" in told, told
    assert any(line.startswith("towline_jobs") for line in bundle["metrics"]), bundle["metrics"]
    assert bundle["host"]["kernel"] and bundle["made_by"].startswith("towline "), bundle["host"]
    assert {record["operation"] for record in bundle["audit"]["records"]} >= {"put_job", "put_group"}
    # It is made once, and never over anything.
    assert "exists" in towline(daemon, "support", file, code=1)
    assert file.read_text() == text


main(globals())
