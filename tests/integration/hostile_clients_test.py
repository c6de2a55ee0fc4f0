#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Clients that are slow, huge, broken or mad: each is refused or cut off, and the others are served
all the while. Our verdict on random bodies is that of python3-jsonschema."""

import json
import os
import resource
import socket
import subprocess
import time

import jsonschema

from lib.daemon import Daemon
from lib.lab import MIB, wait_for
from lib.runner import count, main

MANUAL = {"manual": True}


def raw(daemon):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(daemon.socket))
    return connection


def answer_to(daemon, data, shut=False):
    with raw(daemon) as connection:
        try:
            connection.sendall(data)
            if shut:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass
        text = b""
        try:
            while piece := connection.recv(65536):
                text += piece
        except (ConnectionResetError, TimeoutError):
            pass
        return text


def served(daemon):
    began = time.monotonic()
    daemon.good("GET", "/v1/meta")
    assert time.monotonic() - began < 2


def open_files(daemon):
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


def jobs_daemon(lab, **more):
    daemon = Daemon(lab, **more).start()
    daemon.put("db", lab.image("source", MIB), lab.dir / "replica", MANUAL)
    return daemon


def test_broken_requests(lab):
    daemon = jobs_daemon(lab)
    close = b"Host: x\r\nConnection: close\r\n"
    for data in [b"", b"\0" * 4096, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 1000,
                 b"GET /v1/meta HTTP/1.1\r\nContent-Length: -1\r\n" + close + b"\r\n",
                 b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
                 b"GET /v1/meta HTTP/1.1\r\n" + b"X: " + b"y" * 60_000 + b"\r\n\r\n",
                 b"GET /v1/meta HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % i for i in range(9000)),
                 b"POST /v1/jobs/db/runs HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + close +
                 b"\r\nzz\r\n", b"PUT /v1/jobs/x HTTP/1.1\r\n" + close + b"Content-Length: 9\r\n\r\n{"]:
        status = answer_to(daemon, data, shut=True)[:12]
        assert not status or status[9:10] in b"45", (data[:60], status)
        served(daemon)
    for path in ["/../../etc/passwd", "/v1/jobs/..%2f..%2fetc", "/v1/jobs/%00", "//v1/meta",
                 "/v1/jobs/db/../db", "/v1/jobs/", "/v1/jobs/db/", "/v1//jobs", "/v1/jobs/%ff",
                 "/v1/runs/-1", "/v1/runs/18446744073709551617", "/v1/runs/1e3"]:
        assert daemon.ask("GET", path).status in (400, 404), path
    assert [job["name"] for job in daemon.good("GET", "/v1/jobs")["jobs"]] == ["db"]
    assert daemon.runs("db") == []


def test_deep_and_huge_bodies(lab):
    daemon = jobs_daemon(lab)
    for body in ["[" * 60_000, '{"a":' * 10_000, "[" * 30_000 + "]" * 30_000,
                 '{"tags": ' + "[" * 100 + "]" * 100 + "}", '"' + "x" * 60_000, "1e999999",
                 '{"description": "\\ud800"}', b'{"description": "\xff"}', "null", "", "nan"]:
        answer = daemon.ask("PUT", "/v1/jobs/x", body, {"Content-Type": "application/json"})
        assert answer.status == 400, (body[:40], str(answer))
    head = b"PUT /v1/jobs/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    answer = answer_to(daemon, head % (20 * MIB) + b"x" * (20 * MIB))
    assert b"BODY_TOO_LARGE" in answer, answer[:300]
    rss = int(open(f"/proc/{daemon.process.pid}/statm").read().split()[1]) * 4096
    assert rss < 150 * MIB, rss
    served(daemon)


def test_many_who_say_little(lab):
    """Fifty that send a byte now and then, fifty that send nothing: the others are served."""
    daemon = jobs_daemon(lab)
    before = open_files(daemon)
    idle = [raw(daemon) for _ in range(100)]
    for connection in idle[:50]:
        connection.sendall(b"GET /v1/meta HT")
    for connection in idle[:50]:
        connection.sendall(b"T")
        served(daemon)
    for connection in idle:
        connection.close()
    wait_for(lambda: open_files(daemon) <= before + 2, 20, "the end of their connections")


def test_with_more_than_1024_descriptors(lab):
    """Requests, a follower and a run work where every new descriptor is behind what select takes."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    daemon = jobs_daemon(lab, inherited=1100)
    assert open_files(daemon) > 1100
    curl = subprocess.Popen(["curl", "-sN", "--unix-socket", daemon.socket,
                             "http://x/v1/events?since=0&follow=true"],
                            stdout=subprocess.PIPE, text=True)
    lab.at_end(curl.kill)
    assert "job.created" in curl.stdout.readline()
    daemon.completed(daemon.start_run("db")["id"])
    assert "run.created" in curl.stdout.readline()
    served(daemon)


def test_followers_that_do_not_read(lab):
    daemon = jobs_daemon(lab)
    before = open_files(daemon)
    deaf = [raw(daemon) for _ in range(20)]
    for connection in deaf:
        connection.sendall(b"GET /v1/events?since=0&follow=true HTTP/1.1\r\nHost: x\r\n\r\n")
    for turn in range(100):
        daemon.good("POST", f"/v1/jobs/db/{'pause' if turn % 2 == 0 else 'resume'}")
    served(daemon)
    for connection in deaf:
        connection.close()
    wait_for(lambda: open_files(daemon) <= before + 2, 30, "the end of their streams")
    assert daemon.stop() == 0


def draw(random, depth=0):
    """A body that is often nearly right."""
    words = [None, True, False, 0, 1, -1, 3.5, 10, 11, "auto", "now", "manual", "30s", "1h", "x", "",
             [], {}, ["/a"], ["/a", "/b"], ["a", "a"], {"manual": True}, {"every": "1h"},
             {"every": 5}, {"continuous": {"lag": "5s"}}, {"continuous": {}}, "x" * 70, 2**53, 1e300]
    keys = ["description", "tags", "volumes", "target", "schedule", "start", "rate_mbit",
            "compression", "verify", "overwrite", "failures_max", "on_demand_per_day", "name", "zz"]
    body = {"volumes": ["/a"], "target": "/b"} if random.random() < 0.8 else {}
    for _ in range(random.randrange(4)):
        body[random.choice(keys)] = random.choice(words)
    return body


def test_bodies_are_judged_as_another_validator_does(lab):
    daemon = jobs_daemon(lab)
    schema = {"$ref": "#/components/schemas/JobInput", "components": daemon.openapi["components"]}
    judge = jsonschema.Draft202012Validator(schema)
    verdicts = {True: 0, False: 0}
    for _ in range(count(200)):
        body = draw(lab.random)
        answer = daemon.send("PUT", "/v1/jobs/drawn?dry_run=true", body)
        good = judge.is_valid(body)
        # What is of the form may still be refused by what a schema cannot say ("5s" is too short).
        by_form = answer.status == 200 or not any(
            words in answer.json["message"] for words in
            ["is not of type", "is missing", "is not known", "too short", "longer than", "too few",
             "more than", "less than", "does not match", "is none of", "twice", "is empty"])
        assert by_form == good, (body, str(answer), [each.message for each in judge.iter_errors(body)])
        verdicts[good] += 1
    assert min(verdicts.values()) > count(200) // 20, verdicts


main(globals())
