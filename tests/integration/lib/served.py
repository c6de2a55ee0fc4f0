# SPDX-License-Identifier: Apache-2.0
"""A recovery point that is served to NBD clients (`towline point serve`), and what asks it."""

import json
import os
import select
import shutil
import signal
import subprocess
from pathlib import Path

from .lab import Skip, binary, wait_for
from .tracked import alive

READY_SECONDS_MAX = 120


class Served:
    def __init__(self, lab, vault, point, *words):
        for program, package in (("nbdkit", "nbdkit"), ("nbdinfo", "libnbd-bin"),
                                 ("qemu-img", "qemu-utils")):
            if not shutil.which(program):
                raise Skip(f"no {program}; install {package}")
        self.vault, self.point, self.words = vault, point, words
        self.socket = Path(lab.dir) / "nbd.sock"
        self.log = Path(lab.dir) / "point-serve.log"
        self.run = None
        lab.at_end(self._end)
        self.start()

    def command(self):
        return [binary(), "point", "serve", "--json", "--nbd", f"unix:{self.socket}",
                *map(str, self.words), f"{self.vault.url}@{self.point}"]

    def start(self):
        with open(self.log, "wb") as log:
            self.run = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=log)
        out = b""
        while not out.endswith(b"}\n"):
            ready = select.select([self.run.stdout], [], [], READY_SECONDS_MAX)[0]
            piece = os.read(self.run.stdout.fileno(), 65536) if ready else b""
            assert piece, self.log.read_text()
            out += piece
        self.report = json.loads(out)
        self.uri = self.report["volumes"][0]["uri"]

    def server(self):
        """nbdkit's own pid."""
        children = Path(f"/proc/{self.run.pid}/task/{self.run.pid}/children").read_text().split()
        assert len(children) == 1, children
        return int(children[0])

    def end(self, number=signal.SIGTERM, who=None):
        """The exit code. Neither process is left."""
        server = self.server()
        os.kill(who or self.run.pid, number)
        code = self.run.wait(READY_SECONDS_MAX)
        wait_for(lambda: not alive(server), READY_SECONDS_MAX, "the end of nbdkit")
        return code

    def _end(self):
        if self.run and self.run.poll() is None:
            self.run.terminate()
            try:
                self.run.wait(30)
            except subprocess.TimeoutExpired:
                self.run.kill()
                self.run.wait()

    # --- clients

    def info(self):
        shown = ask("nbdinfo", "--json", self.uri).stdout
        return json.loads(shown)["exports"][0]

    def map(self):
        return json.loads(ask("nbdinfo", "--json", "--map", self.uri).stdout)

    def copy_to(self, path, *words):
        ask("nbdcopy", *words, self.uri, path)
        return path

    def io(self, *commands):
        """qemu-io's commands; those that fail are an error."""
        words = [word for each in commands for word in ("-c", each)]
        ask("qemu-io", "-f", "raw", *words, self.uri)


def ask(*words, exit=0):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == exit, (words, done)
    return done
