# SPDX-License-Identifier: Apache-2.0
"""A `towline serve` that is started, killed and restarted at the same address."""

import re
import signal
import subprocess
import time

START_SECONDS_MAX = 10


class Server:
    def __init__(self, program, listen, root, words, log):
        self._program = program
        self._listen = listen
        self._root = root
        self._words = list(map(str, words))
        self._log = log
        self.process = None
        self.address = None

    def start(self):
        at = self._log.stat().st_size if self._log.exists() else 0
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(
                [self._program, "serve", "--listen", self._listen, "--root", str(self._root),
                 *self._words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < end:
            found = re.search(r"^listening on (\S+)$", self.log()[at:], re.MULTILINE)
            if found:
                self.address = found[1]
                self._listen = self.address  # the next start takes the same port
                return self
            if self.process.poll() is not None:
                break
            time.sleep(0.005)
        raise AssertionError(f"the server did not start: {self.log()[at:]}")

    def log(self):
        return self._log.read_text(errors="replace")

    @property
    def port(self):
        return int(self.address.rpartition(":")[2])

    def url(self, name):
        separator = ":/" if self.address.startswith("unix:") else "/"
        return f"{self.address}{separator}{name}"

    def kill(self):
        """As a crash does."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()

    def stop(self):
        """In order; its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=60)

    def alive(self):
        return self.process.poll() is None
