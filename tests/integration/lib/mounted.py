# SPDX-License-Identifier: Apache-2.0
"""A mounted recovery point (`towline point mount`)."""

import json
import os
import signal
import subprocess
from pathlib import Path

from .lab import Skip, binary, wait_for
from .tracked import alive


def mounts():
    return {line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()}


class Mounted:
    def __init__(self, lab, vault, point, *words):
        if os.geteuid() != 0 or not os.access("/dev/fuse", os.W_OK):
            raise Skip("needs root and /dev/fuse")
        self.vault, self.point, self.words = vault, point, words
        self.pid = None
        self.dir = Path(lab.dir) / f"point-{point}"
        self.dir.mkdir(exist_ok=True)
        lab.at_end(self._end)
        self.mount()

    def command(self, *words):
        return [binary(), "point", "mount", "--json", *map(str, self.words), *map(str, words),
                f"{self.vault.url}@{self.point}", str(self.dir)]

    def mount(self):
        done = subprocess.run(self.command(), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        self.report = json.loads(done.stdout)
        self.pid = self.report["pid"]
        self.file = Path(self.report["volumes"][0]["path"])

    def unmount(self):
        # A loop device over a file in it lets go of it when its last opener does (udev, as a rule).
        wait_for(lambda: subprocess.run(["umount", self.dir]).returncode == 0, 60, "umount")
        self._ended()

    def end(self, number):
        os.kill(self.pid, number)
        self._ended()

    def _ended(self):
        wait_for(lambda: not alive(self.pid), 60)
        wait_for(lambda: str(self.dir) not in mounts(), 60, "the end of the mount")

    def _end(self):
        if self.pid and alive(self.pid):
            os.kill(self.pid, signal.SIGKILL)
        subprocess.run(["umount", "-l", self.dir], capture_output=True)
