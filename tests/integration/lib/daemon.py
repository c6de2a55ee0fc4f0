# SPDX-License-Identifier: Apache-2.0
"""A `towlined` of a test's own, and a client of its API that is not ours: http.client over the Unix
socket. Every answer is held against the schema that the daemon serves, by python3-jsonschema."""

import contextlib
import functools
import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import time

import jsonschema

from .lab import wait_for

START_SECONDS_MAX = 20
ENDED = {"Completed", "Failed", "Cancelled", "Missed"}


def program():
    return os.environ.get("TOWLINE_BIN", "build/release/bin") + "/towlined"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=60):
        super().__init__("any.host.will.do", timeout=timeout)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Answer:
    def __init__(self, status, headers, text):
        self.status = status
        self.headers = headers
        self.text = text

    @functools.cached_property
    def json(self):
        return json.loads(self.text)

    def __str__(self):
        return f"{self.status}: {self.text[:1500]}"


class Daemon:
    def __init__(self, lab, words=(), name="daemon", user=None, inherited=0):
        self._inherited = inherited  # descriptors that it has open from the first
        self._words = list(map(str, words))
        self._user = user
        self.folder = lab.dir / name
        self.folder.mkdir()
        self.folder.chmod(0o777 if user else 0o700)
        self.socket = self.folder / "api.sock"
        self.state = self.folder / "state"
        self.log_file = self.folder / "log"
        self.log_file.touch()
        lab._logs.append(self.log_file)
        lab.at_end(self.kill)
        self.process = None
        self._schema = None

    def start(self):
        at = self.log_file.stat().st_size
        with open(self.log_file, "ab") as log, contextlib.ExitStack() as stack:
            kept = [stack.enter_context(open("/dev/null", "rb")).fileno()
                    for _ in range(self._inherited)]
            self.process = subprocess.Popen(
                [program(), "--state-dir", self.state, "--socket", self.socket, *self._words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=self._user, pass_fds=kept,
                env={**os.environ, "JOURNAL_STREAM": ""})
        end = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < end:
            if "listening on" in self.log()[at:]:
                return self
            assert self.process.poll() is None, self.log()[at:]
            time.sleep(0.005)
        raise AssertionError(f"towlined did not start: {self.log()[at:]}")

    def log(self):
        return self.log_file.read_text(errors="replace")

    def kill(self):
        """As a crash does."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        return self.process.wait(timeout=60)

    def check_what_it_left(self):
        """Of a dead one: every open run is its job's active one, and no file is broken."""
        with sqlite3.connect(f"file:{self.state}/towlined.sqlite?mode=ro", uri=True) as file:
            assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            active = {number for (number,) in file.execute(
                "SELECT json_extract(document, '$.active_run') FROM job") if number}
            unended = {number for (number,) in file.execute(
                "SELECT id FROM run WHERE state IN ('Scheduled', 'Active')")}
            assert active == unended, (active, unended)

    # --- the API

    def send(self, method, path, body=None, headers=None):
        """An answer as it came; a body that is no text goes as JSON."""
        connection = UnixConnection(self.socket)
        headers = dict(headers or {})
        if body is not None and not isinstance(body, (str, bytes)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return Answer(response.status, response.headers, text)

    @property
    def openapi(self):
        if self._schema is None:
            self._schema = self.send("GET", "/v1/openapi.json").json
        return self._schema

    def schema_of(self, method, path, status):
        """What api.json says that this answer is."""
        bare = path.partition("?")[0]
        for route, item in self.openapi["paths"].items():
            pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(route))
            if re.fullmatch(pattern, bare) and method.lower() in item:
                responses = item[method.lower()]["responses"]
                found = responses.get(str(status)) or responses["default"]
                if "$ref" in found:
                    found = self.openapi["components"]["responses"]["Error"]
                (media,) = found["content"].values()
                return media["schema"]
        return {"$ref": "#/components/schemas/Error"}

    def check(self, schema, value):
        jsonschema.validate(value, {**schema, "components": self.openapi["components"]},
                            cls=jsonschema.Draft202012Validator)

    def ask(self, method, path, body=None, headers=None, status=None):
        """An answer of the schema that it must have."""
        answer = self.send(method, path, body, headers)
        if answer.headers.get_content_type() == "application/json":
            self.check(self.schema_of(method, path, answer.status), answer.json)
        if status is not None:
            assert answer.status == status, f"{method} {path}: {answer}"
        return answer

    def good(self, method, path, body=None, headers=None):
        answer = self.ask(method, path, body, headers)
        assert answer.status in (200, 201), f"{method} {path}: {answer}"
        return answer.json

    def refused(self, code, method, path, body=None, headers=None, field=None):
        answer = self.ask(method, path, body, headers)
        assert answer.status >= 400, f"{method} {path}: {answer}"
        assert answer.json["code"] == code, f"{method} {path}: {answer}"
        if field is not None:
            assert answer.json["field"] == field, answer
        return answer.json

    # --- jobs

    def put(self, name, source, target, schedule=None, **fields):
        body = {"volumes": [str(source)], "target": str(target), **fields}
        if schedule is not None:
            body["schedule"] = schedule
        return self.good("PUT", f"/v1/jobs/{name}", body)

    def job(self, name):
        return self.good("GET", f"/v1/jobs/{name}")

    def start_run(self, name):
        return self.good("POST", f"/v1/jobs/{name}/runs")

    def run(self, number):
        return self.good("GET", f"/v1/runs/{number}")

    def runs(self, name):
        return self.good("GET", f"/v1/jobs/{name}/runs")["runs"]

    def ended(self, number, seconds_max=60):
        end = time.monotonic() + seconds_max
        while time.monotonic() < end:
            run = self.good("GET", f"/v1/runs/{number}?wait_seconds=5")
            if run["state"] in ENDED:
                return run
        raise AssertionError(f"run {number} did not end: {run}")

    def completed(self, number, seconds_max=60):
        run = self.ended(number, seconds_max)
        assert run["state"] == "Completed", run
        return run

    def wait_run(self, number, condition, seconds_max=20):
        found = {}

        def look():
            found["run"] = self.run(number)
            return condition(found["run"])
        wait_for(look, seconds_max, f"run {number}: {found}")
        return found["run"]

    def events(self, since=0):
        text = self.send("GET", f"/v1/events?since={since}").text
        events = [json.loads(line) for line in text.splitlines() if line]
        for event in events:
            name = "Gap" if "gap" in event else "Event"
            self.check({"$ref": f"#/components/schemas/{name}"}, event)
        return events
