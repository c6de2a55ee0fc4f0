#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Groups and templates, by the API and by the command line: what is asked of a group every job of it
does or refuses for itself; a job is made with what its template says then."""

import json
import sqlite3

from lib.daemon import Daemon
from lib.lab import MIB
from lib.operator import Operator
from lib.runner import main

MANUAL = {"manual": True}


def with_jobs(lab, *names):
    daemon, source = Daemon(lab).start(), lab.image("source", MIB)
    for name in names:
        daemon.put(name, source, lab.dir / f"{name}.replica", MANUAL)
    return daemon, source


def results(answer):
    return {each["job"]: each for each in answer["results"]}


def test_a_group_is_put_and_edited(lab):
    daemon, _ = with_jobs(lab, "a", "b", "c")
    order = {"description": "of the shop", "jobs": ["b", "a"]}
    made = daemon.ask("PUT", "/v1/groups/shop", order, status=201).json
    assert made["changed"] and made["group"]["jobs"] == ["a", "b"], made
    # In another order it is the same set.
    assert not daemon.good("PUT", "/v1/groups/shop", {**order, "jobs": ["a", "b"]})["changed"]
    daemon.refused("INVALID_REQUEST", "PUT", "/v1/groups/shop", {"jobs": ["a", "x"]}, field="jobs")
    daemon.refused("UNKNOWN_FIELD", "PUT", "/v1/groups/shop", {"jobs": [], "tags": []})
    daemon.refused("NOT_FOUND", "PATCH", "/v1/groups/nobody", {"add": ["a"]})
    edited = daemon.good("PATCH", "/v1/groups/shop", {"add": ["c"], "remove": ["a"]})
    assert edited["changed"] and edited["group"]["jobs"] == ["b", "c"], edited
    assert not daemon.good("PATCH", "/v1/groups/shop", {"add": ["c"]})["changed"]
    jobs = daemon.good("GET", "/v1/jobs?group=shop")["jobs"]
    assert [job["name"] for job in jobs] == ["b", "c"]
    daemon.refused("NOT_FOUND", "GET", "/v1/jobs?group=nobody")
    # A job that is deleted leaves, and one that takes its name is not in it.
    daemon.good("DELETE", "/v1/jobs/b")
    daemon.put("b", lab.dir / "source", lab.dir / "b.replica", MANUAL)
    daemon.kill()
    daemon.start()
    assert daemon.good("GET", "/v1/groups/shop")["jobs"] == ["c"]
    assert daemon.good("DELETE", "/v1/groups/shop")["group"]["description"] == "of the shop"
    daemon.refused("NOT_FOUND", "DELETE", "/v1/groups/shop")
    assert daemon.job("c")["state"] == "Pending"
    told = [event["type"] for event in daemon.events() if event["type"].startswith("group.")]
    assert told == ["group.created", "group.changed", "group.deleted"], told
    records = daemon.good("GET", "/v1/audit")["records"]
    group = [each for each in records if each["object"] == "group shop"]
    assert [each["operation"] for each in group] == ["delete_group", "patch_group", "put_group"]
    assert group[1]["before"]["jobs"] == ["a", "b"] and group[1]["after"]["jobs"] == ["b", "c"]


def test_what_is_asked_of_a_group_each_job_answers(lab):
    daemon, source = with_jobs(lab, "a", "b", "idle")
    daemon.put("busy", source, lab.dir / "slow", MANUAL, rate_mbit=0.1, compression=0)
    daemon.good("PUT", "/v1/groups/shop", {"jobs": ["a", "b", "busy"]})
    daemon.good("POST", "/v1/jobs/b/pause")
    running = daemon.start_run("busy")["id"]
    key = {"Idempotency-Key": "shop-1"}
    begun = daemon.good("POST", "/v1/groups/shop/start", None, key)
    seen = results(begun)
    assert begun["refused"] == 2 and begun["changed"], begun
    assert seen["a"]["changed"] and seen["a"]["error"] is None, seen
    assert seen["b"]["error"]["code"] == "JOB_PAUSED", seen
    assert seen["busy"]["error"]["code"] == "RUN_ACTIVE" and seen["busy"]["run"] == running, seen
    daemon.completed(seen["a"]["run"])
    # The same request again starts nothing.
    assert daemon.good("POST", "/v1/groups/shop/start", None, key) == begun
    assert len(daemon.runs("a")) == 1 and not daemon.runs("idle")

    paused = daemon.good("POST", "/v1/groups/shop/pause")
    assert {job: each["changed"] for job, each in results(paused).items()} == {
        "a": True, "b": False, "busy": True}, paused
    assert {each["state"] for each in paused["results"]} == {"Paused"}, paused
    assert daemon.job("idle")["state"] == "Pending"
    assert daemon.good("POST", "/v1/groups/shop/resume")["refused"] == 0
    assert daemon.job("b")["state"] == "Active"
    cancelled = results(daemon.good("POST", "/v1/groups/shop/cancel"))
    assert cancelled["busy"]["changed"] and cancelled["busy"]["run"] == running, cancelled
    assert not cancelled["a"]["changed"] and cancelled["a"]["error"] is None, cancelled
    assert daemon.ended(running)["state"] == "Cancelled"
    record, = [each for each in daemon.good("GET", "/v1/audit")["records"]
               if each["operation"] == "pause_group"]
    assert record["before"]["states"] == {"a": "Active", "b": "Paused", "busy": "Active"}, record
    assert len(record["after"]["results"]) == 3, record
    daemon.refused("NOT_FOUND", "POST", "/v1/groups/nobody/start")


def test_a_job_is_made_with_its_template(lab):
    daemon, source = with_jobs(lab)
    supplied, = daemon.good("GET", "/v1/templates")["templates"]
    assert supplied["name"] == "two-on-demand" and supplied["options"] == {"on_demand_per_day": 2}
    options = {"schedule": {"every": "1h"}, "start": "manual", "verify": True, "tags": ["gold"],
               "rate_mbit": 5}
    assert daemon.good("PUT", "/v1/templates/nightly", {"options": options})["changed"]
    assert not daemon.good("PUT", "/v1/templates/nightly", {"options": options})["changed"]
    order = {"volumes": [str(source)], "target": str(lab.dir / "replica"), "template": "nightly",
             "rate_mbit": 7}
    job = daemon.good("PUT", "/v1/jobs/db", order)["job"]
    assert job["schedule"] == {"every": "1h"} and job["verify"] and job["tags"] == ["gold"], job
    assert job["rate_mbit"] == 7 and job["template"] == "nightly", job
    assert not daemon.good("PUT", "/v1/jobs/db", order)["changed"]
    # An edit of the template moves no job; the order again does.
    daemon.good("PUT", "/v1/templates/nightly", {"options": {**options, "verify": False}})
    assert daemon.job("db")["verify"]
    assert daemon.good("PUT", "/v1/jobs/db?dry_run=true", order)["changed"]
    assert not daemon.good("PUT", "/v1/jobs/db", order)["job"]["verify"]
    daemon.good("PATCH", "/v1/jobs/db", {"description": "x"})
    assert daemon.job("db")["template"] == "nightly"
    # The quota that is supplied holds.
    daemon.put("two", source, lab.dir / "two", MANUAL, template="two-on-demand")
    for _ in range(2):
        daemon.completed(daemon.start_run("two")["id"])
    daemon.refused("QUOTA_EXCEEDED", "POST", "/v1/jobs/two/runs")
    daemon.good("DELETE", "/v1/templates/two-on-demand")
    daemon.kill()
    daemon.start()
    assert [each["name"] for each in daemon.good("GET", "/v1/templates")["templates"]] == ["nightly"]
    daemon.refused("INVALID_REQUEST", "PUT", "/v1/jobs/x", {**order, "template": "two-on-demand"},
                   field="template")
    for field, wrong in [("options.schedule.every", {"schedule": {"every": "1s"}}),
                         ("options.rate_mbit", {"rate_mbit": -1}), ("options", {})]:
        daemon.refused("INVALID_REQUEST", "PUT", "/v1/templates/x", {"options": wrong}, field=field)
    for unknown in ["volumes", "target", "overwrite", "template"]:
        daemon.refused("UNKNOWN_FIELD", "PUT", "/v1/templates/x", {"options": {unknown: True}})


def test_pages_of_groups(lab):
    daemon, _ = with_jobs(lab, "a")
    names = [f"g{i:02}" for i in range(7)]
    for name in names:
        daemon.good("PUT", f"/v1/groups/{name}", {"jobs": ["a"] if name == "g03" else []})
    first = daemon.good("GET", "/v1/groups?limit=4")
    rest = daemon.good("GET", f"/v1/groups?limit=4&cursor={first['next']}")
    assert [each["name"] for each in first["groups"] + rest["groups"]] == names
    assert rest["next"] is None and first["groups"][3]["jobs"] == ["a"], first


def test_state_of_the_version_before(lab):
    """A file that knows neither groups nor templates is brought to ours, and its jobs stay."""
    daemon, _ = with_jobs(lab, "a")
    daemon.stop()
    with sqlite3.connect(daemon.state / "towlined.sqlite") as file:
        for table in ["template", "job_group", "group_member"]:
            file.execute(f"DROP TABLE {table}")
        file.execute("ALTER TABLE answer DROP COLUMN etag")
        file.execute("ALTER TABLE notification DROP COLUMN version")
        job = json.loads(file.execute("SELECT document FROM job").fetchone()[0])
        del job["spec"]["template"]
        file.execute("UPDATE job SET document = ?", [json.dumps(job)])
        file.execute("PRAGMA user_version = 3")
    file.close()
    daemon.start()
    assert daemon.job("a")["template"] is None
    daemon.good("PUT", "/v1/groups/shop", {"jobs": ["a"]})
    assert len(daemon.good("GET", "/v1/templates")["templates"]) == 1


def test_by_the_command_line(lab):
    daemon, source = with_jobs(lab, "a", "b")
    towline = Operator(daemon)
    assert "template nightly: changed" in towline.says(
        "template", "create", "nightly", "--every", "1h", "--start", "manual", "--verify",
        "--store", "1M", "--description", "at night")
    shown = towline.json("template", "show", "nightly")
    assert shown["options"] == {"schedule": {"every": "1h"}, "start": "manual", "verify": True,
                                "snapshot_store_bytes": MIB}, shown
    assert "at night" in towline.says("template", "list")
    assert "every 1h" in towline.says("template", "show", "nightly")
    towline.says("job", "create", "c", "--volume", source, "--target", lab.dir / "c.replica",
                 "--template", "nightly", "--no-verify")
    job = towline.json("job", "show", "c")
    assert job["schedule"] == {"every": "1h"} and not job["verify"], job
    assert "template           nightly" in towline.says("job", "show", "c")
    assert "group shop: changed, 2 jobs" in towline.says(
        "group", "create", "shop", "--job", "a", "--job", "b", "--description", "of the shop")
    assert "not changed" in towline.says("group", "edit", "shop", "--add", "b")
    assert "2 jobs" in towline.says("group", "edit", "shop", "--add", "c", "--remove", "b")
    assert "of the shop" in towline.says("group", "list")
    assert "a, c" in towline.says("group", "show", "shop")
    assert "b" not in towline.says("job", "list", "--group", "shop").split()
    assert "yes" in towline.says("group", "pause", "shop")
    towline.says("group", "start", "shop", exit=3)
    assert "resume it" in towline.try_("group", "start", "shop").stdout
    assert "Active" in towline.says("group", "resume", "shop")
    towline.says("group", "cancel", "shop")
    assert "deleted" in towline.says("group", "delete", "shop")
    assert "deleted" in towline.says("template", "delete", "nightly")
    towline.says("group", "show", "shop", exit=11)
    towline.says("template", "show", "nightly", exit=11)


main(globals())
