#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""towlined under a service manager, which is played here: a socket that is given to it, what it says of
itself, and the fields of what it writes to the journal."""

import http.client
import json
import os
import socket
import subprocess
import sys

from lib.daemon import Daemon, program
from lib.lab import MIB, Skip
from lib.runner import main

SECONDS_MAX = 60
MANUAL = {"manual": True}
# Stands in for journald in a mount namespace of its own, and starts the daemon in it.
JOURNAL = """
import json, os, socket, subprocess, sys
folder = "/run/systemd/journal"
os.makedirs(folder, exist_ok=True)
subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.bind(folder + "/socket")
error = open(sys.argv[1], "ab")
status = os.fstat(error.fileno())
daemon = subprocess.Popen(sys.argv[2:], stderr=error, env={
    **os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
print(daemon.pid, flush=True)
while True:
    entry = journal.recv(65536).decode()
    print(json.dumps(dict(line.split("=", 1) for line in entry.splitlines() if "=" in line)),
          flush=True)
"""


def test_a_socket_that_is_given_is_taken(lab):
    """Who connects before it is there is served, and the socket outlives the daemon."""
    daemon = Daemon(lab)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(daemon.socket))
        listening.listen(16)
        early = socket.socket(socket.AF_UNIX)
        early.connect(str(daemon.socket))
        early.sendall(b"GET /v1/meta HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        words = [program(), "--state-dir", daemon.state, "--socket", daemon.socket]
        with open(daemon.log_file, "ab") as log:
            daemon.process = subprocess.Popen(
                ["sh", "-c", f"exec 3<&{listening.fileno()}; export LISTEN_PID=$$; exec \"$@\"",
                 "sh", *map(str, words)], stderr=log, pass_fds=[listening.fileno()],
                env={**os.environ, "LISTEN_FDS": "1", "JOURNAL_STREAM": ""})
        early.settimeout(SECONDS_MAX)
        with early.makefile() as answer:
            assert answer.readline().startswith("HTTP/1.1 200"), daemon.log()
        early.close()
        assert daemon.good("GET", "/v1/meta")["role"] == "admin"
        assert daemon.stop() == 0
        assert daemon.socket.exists(), "it is the service manager's"


def test_it_says_how_it_is(lab):
    path = str(lab.dir / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(SECONDS_MAX)
        os.environ["NOTIFY_SOCKET"] = path
        try:
            daemon = Daemon(lab).start()
        finally:
            del os.environ["NOTIFY_SOCKET"]
        assert manager.recv(100) == b"READY=1"
        # Again and again, as long as its main loop goes round.
        for _ in range(2):
            assert manager.recv(100) == b"WATCHDOG=1"
        daemon.process.send_signal(19)
        manager.settimeout(0.1)
        try:
            while manager.recv(100):
                pass
        except TimeoutError:
            pass
        manager.settimeout(3)
        try:
            raise AssertionError(f"one that stands still says {manager.recv(100)}")
        except TimeoutError:
            pass
        daemon.process.send_signal(18)
        daemon.process.terminate()
        manager.settimeout(SECONDS_MAX)
        while (said := manager.recv(100)) == b"WATCHDOG=1":
            pass
        assert said == b"STOPPING=1", said


def test_the_journal_has_fields(lab):
    if os.getuid() != 0:
        raise Skip("needs root for a journal of its own")
    daemon = Daemon(lab)
    words = [program(), "--state-dir", daemon.state, "--socket", daemon.socket]
    journal = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", JOURNAL,
         daemon.log_file, *map(str, words)], text=True, stdout=subprocess.PIPE)
    lab.at_end(journal.kill)
    lab.at_end(os.kill, int(journal.stdout.readline()), 9)

    def entry(message):
        while True:
            found = json.loads(journal.stdout.readline())
            if found["MESSAGE"].startswith(message):
                return found

    entry("listening on")
    source = lab.image("source", MIB)
    daemon.put("db", source, source, MANUAL)
    created = entry("job.created")
    assert (created["TOWLINE_EVENT"], created["TOWLINE_JOB"]) == ("job.created", "db"), created
    assert created["PRIORITY"] == "6", created
    number = daemon.start_run("db")["id"]
    failed = entry("run.failed")
    assert failed["TOWLINE_RUN"] == str(number) and failed["PRIORITY"] == "4", failed
    daemon.good("PUT", "/v1/groups/shop", {"jobs": ["db"]})
    assert entry("group.created: shop")["TOWLINE_EVENT"] == "group.created"


def daemon_with_metrics(lab):
    """Below the ports that the system deals out; one that somebody has is no fault."""
    config = lab.dir / "towlined.toml"
    for name in map(str, range(20)):
        port = lab.random.randrange(20_000, 30_000)
        config.write_text(f"[daemon]\nmetrics_port = {port}\n")
        daemon = Daemon(lab, ["--config", config], name)
        try:
            return daemon.start(), port
        except AssertionError:
            if f"127.0.0.1:{port}" not in daemon.log():
                raise
    raise AssertionError("no port is free")


def test_metrics_on_a_port(lab):
    daemon, port = daemon_with_metrics(lab)
    daemon.put("db", lab.image("source", MIB), lab.dir / "replica", MANUAL)

    def ask(path, method="GET", host=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS_MAX)
        connection.request(method, path, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    status, text = ask("/metrics")
    assert status == 200 and 'towline_jobs{state="Pending"} 1' in text, text
    assert ask("/v1/jobs")[0] == 404 and ask("/metrics", "POST")[0] == 405
    assert ask("/metrics", host="evil.example")[0] == 403
    assert daemon.stop() == 0


main(globals())
