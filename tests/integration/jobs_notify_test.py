#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whoever wants to know is told: signed, in order, again where it failed, also after a restart, and
nobody else. The signature is checked by Python's own hmac."""

import hashlib
import hmac
import http.server
import json
import subprocess
import threading

from lib.daemon import Daemon
from lib.lab import MIB, binary, wait_for
from lib.runner import main

MANUAL = {"manual": True}
SECRET = "a secret of more than sixteen letters"


class Receiver:
    """An HTTP server that keeps what it was told; `answers` are its next ones, then 204."""

    def __init__(self, lab, answers=(), port=0):
        self.got, self.answers = [], list(answers)
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict(self.headers), body))
                status, where = (receiver.answers.pop(0) if receiver.answers else (204, None))
                self.send_response(status)
                if where:
                    self.send_header("Location", where)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/told"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        lab.at_end(self.close)

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def events(self):
        for headers, body in self.got:
            signed = headers["Towline-Timestamp"].encode() + b"." + body
            right = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
            assert headers["Towline-Signature"] == "sha256=" + right, headers
        return [json.loads(body) for _, body in self.got]

    def types(self):
        return [event["type"] for event in self.events()]


def put(daemon, url, name="hook", **fields):
    return daemon.good("PUT", f"/v1/notifications/{name}",
                       {"webhook": {"url": url, "secret": SECRET}, **fields})


def one_run(daemon, lab, name="db"):
    daemon.put(name, lab.image(f"source-{name}", MIB), lab.dir / f"replica-{name}", MANUAL)
    daemon.completed(daemon.start_run(name)["id"])


def test_a_receiver_is_told_in_order_and_signed(lab):
    daemon, receiver = Daemon(lab).start(), Receiver(lab)
    one_run(daemon, lab, "before")
    made = put(daemon, receiver.url)
    assert made["changed"] and "secret" not in made["notification"]["webhook"], made
    assert not put(daemon, receiver.url)["changed"]
    one_run(daemon, lab)
    daemon.good("POST", "/v1/jobs/db/pause")
    daemon.good("DELETE", "/v1/jobs/db")
    wait_for(lambda: len(receiver.got) >= 3, 30, "what was to be told")
    assert receiver.types() == ["run.completed", "job.paused", "job.deleted"], receiver.types()
    for event in receiver.events():
        daemon.check({"$ref": "#/components/schemas/Event"}, event)
    shown = json.dumps([daemon.good("GET", "/v1/notifications"),
                        daemon.good("GET", "/v1/notifications/hook"),
                        daemon.good("GET", "/v1/audit")])
    assert SECRET not in shown
    daemon.good("DELETE", "/v1/notifications/hook")
    daemon.refused("NOT_FOUND", "GET", "/v1/notifications/hook")


def test_etag_and_dry_run(lab):
    daemon, receiver = Daemon(lab).start(), Receiver(lab)
    path, other = "/v1/notifications/hook", {"program": "/bin/true"}
    order = {"webhook": {"url": receiver.url, "secret": SECRET}, "events": ["completed"]}
    daemon.refused("REVISION_MISMATCH", "PUT", path, order, {"If-Match": "*"})
    would = daemon.ask("PUT", f"{path}?dry_run=true", order, status=200)
    assert would.json["changed"] and would.json["dry_run"] and would.headers["ETag"] is None, would
    daemon.refused("NOT_FOUND", "GET", path)
    made = daemon.ask("PUT", path, order, status=201)
    tag = made.headers["ETag"]
    assert tag and daemon.send("GET", path).headers["ETag"] == tag
    # What it is told is no change of it, and neither is the same again.
    one_run(daemon, lab)
    wait_for(lambda: daemon.good("GET", path)["told"] > made.json["notification"]["told"], 30, "told")
    again = daemon.ask("PUT", path, order, {"If-Match": tag.strip('"')}, 200)
    assert not again.json["changed"] and again.headers["ETag"] == tag, again
    dry = daemon.ask("PUT", f"{path}?dry_run=true", order, {"If-Match": tag}, 200)
    assert not dry.json["changed"] and dry.headers["ETag"] == tag, dry
    # Another secret is a change, although it is not shown, and back again is another one.
    tags = [tag]
    for secret in [SECRET + "!", SECRET]:
        changed = daemon.ask("PUT", path, {**order, "webhook": {"url": receiver.url, "secret": secret}},
                             {"If-Match": tags[-1]}, 200)
        assert changed.json["changed"] and changed.headers["ETag"] not in tags, changed
        tags.append(changed.headers["ETag"])
    for old in tags[:-1]:
        daemon.refused("REVISION_MISMATCH", "PUT", path, other, {"If-Match": old})
        daemon.refused("REVISION_MISMATCH", "DELETE", path, None, {"If-Match": old})
    before = daemon.send("GET", path).text
    gone = daemon.good("DELETE", f"{path}?dry_run=true")
    assert gone["changed"] and gone["dry_run"] and daemon.send("GET", path).text == before, gone
    said = subprocess.run([binary(), "notification", "create", "hook", "--program", "/bin/true",
                           "--dry-run", "--socket", daemon.socket], text=True, capture_output=True)
    assert "changed (dry run)" in said.stdout and daemon.send("GET", path).text == before, said
    audited = [each["operation"] for each in daemon.good("GET", "/v1/audit")["records"]]
    assert audited.count("delete_notification") == 0, audited
    # It is the same to the next daemon.
    daemon.kill()
    daemon.start()
    assert daemon.send("GET", path).headers["ETag"] == tags[-1]
    shown = subprocess.run([binary(), "notification", "show", "hook", "--socket", daemon.socket],
                           text=True, capture_output=True)
    assert receiver.url in shown.stdout and SECRET not in shown.stdout, shown
    daemon.good("DELETE", path, None, {"If-Match": tags[-1]})
    daemon.refused("NOT_FOUND", "DELETE", path, None, {"If-Match": tags[-1]})


def test_only_what_is_wanted(lab):
    daemon = Daemon(lab).start()
    receiver, failures = Receiver(lab), Receiver(lab)
    put(daemon, receiver.url, jobs=["db"], events=["completed"])
    put(daemon, failures.url, name="failures", events=["failed"])
    one_run(daemon, lab, "other")
    one_run(daemon, lab)
    daemon.put("bad", lab.dir / "none", lab.dir / "replica", MANUAL)
    daemon.ended(daemon.start_run("bad")["id"])
    wait_for(lambda: receiver.got and failures.got, 30, "both")
    assert [event["job"] for event in receiver.events()] == ["db"]
    assert failures.types() == ["run.failed"] and failures.events()[0]["data"]["error"]


def test_what_failed_is_tried_again_also_by_the_next_daemon(lab):
    daemon = Daemon(lab).start()
    receiver = Receiver(lab, [(500, None)])
    put(daemon, receiver.url)
    one_run(daemon, lab)
    wait_for(lambda: len(receiver.got) == 2, 30, "the second try")
    assert receiver.got[0][1] == receiver.got[1][1]
    assert len({headers["Towline-Delivery"] for headers, _ in receiver.got}) == 1
    receiver.close()
    daemon.completed(daemon.start_run("db")["id"])
    daemon.kill()
    later = Receiver(lab, port=receiver.port)
    daemon.start()
    wait_for(lambda: later.got, 30, "what the killed daemon could not tell")
    assert later.types() == ["run.completed"]


def test_nobody_sends_us_elsewhere(lab):
    daemon = Daemon(lab).start()
    elsewhere = Receiver(lab)
    receiver = Receiver(lab, [(307, elsewhere.url), (302, elsewhere.url)])
    put(daemon, receiver.url)
    for _ in range(2):
        tested = daemon.good("POST", "/v1/notifications/hook/test")
        assert not tested["told"] and "redirects" in tested["message"], tested
    assert daemon.good("POST", "/v1/notifications/hook/test")["told"]
    assert not elsewhere.got
    for url in ["file:///etc/passwd", "gopher://127.0.0.1/"]:
        daemon.refused("INVALID_REQUEST", "PUT", "/v1/notifications/bad",
                       {"webhook": {"url": url, "secret": SECRET}}, field="webhook.url")
    daemon.refused("INVALID_REQUEST", "PUT", "/v1/notifications/bad",
                   {"webhook": {"url": receiver.url, "secret": "short"}})


def test_a_program_is_run(lab):
    daemon = Daemon(lab).start()
    program = lab.dir / "tell"
    program.write_text(f'#!/bin/sh\necho "$TOWLINE_EVENT $TOWLINE_JOB $TOWLINE_RUN" '
                       f'>> {lab.dir / "said"}\nprintf "%s" "$TOWLINE_DOCUMENT" > {lab.dir / "doc"}\n')
    program.chmod(0o755)
    words = ["notification", "create", "local", "--program", program, "--event", "completed",
             "--socket", daemon.socket]
    made = subprocess.run([binary(), *map(str, words)], text=True, capture_output=True)
    assert "local: changed" in made.stdout, made
    one_run(daemon, lab)
    wait_for((lab.dir / "said").exists, 30, "the program")
    wait_for(lambda: (lab.dir / "said").read_text() == "run.completed db 1\n", 10, "its words")
    assert json.loads((lab.dir / "doc").read_text())["data"]["state"] == "Completed"
    program.write_text("#!/bin/sh\nexit 3\n")
    tested = subprocess.run([binary(), "notification", "test", "local", "--socket", daemon.socket],
                            text=True, capture_output=True)
    assert tested.returncode == 4 and "3" in tested.stderr, tested


def test_a_replica_that_lags_is_told_of(lab):
    daemon, receiver = Daemon(lab).start(), Receiver(lab)
    put(daemon, receiver.url, events=["lagging"])
    daemon.put("db", lab.image("source", MIB), lab.dir / "replica", MANUAL, lag_max="1s")
    daemon.completed(daemon.start_run("db")["id"])
    wait_for(lambda: receiver.got, 30, "the alarm")
    assert receiver.types() == ["job.lagging"] and daemon.job("db")["lagging"]
    daemon.completed(daemon.start_run("db")["id"])
    types = [event["type"] for event in daemon.events()]
    assert "job.caught-up" in types, types


main(globals())
