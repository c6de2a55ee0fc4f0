# SPDX-License-Identifier: Apache-2.0
"""rsync over TCP to a daemon of its own: --inplace, and its delta algorithm for changed images.

The daemon forks for each connection, so it is measured as a command, its children included, and
started anew for every run. Bytes are both directions' of rsync's own --stats.
"""

import re
import signal
import os
import time

from .errors import BenchError
from .process import START_SECONDS_MAX, Launched, free_port, listens
from .tool import FULL, WORKS, Sample, Tool

CONFIG = """\
address = 127.0.0.1
port = {port}
use chroot = no
{owner}pid file = {folder}/rsyncd.pid
lock file = {folder}/rsyncd.lock
log file = {folder}/rsyncd.log
[replica]
path = {folder}
read only = no
"""


class Rsync(Tool):
    name = "rsync"
    needs = {"rsync": "rsync"}
    works = WORKS
    heavy = True

    def __init__(self, lab):
        super().__init__(lab)
        self._server = None
        self._port = 0

    def before_run(self, work):
        super().before_run(work)
        self.end()
        self._port = free_port()
        config = self.lab.run_dir / "rsyncd.conf"
        # As root the daemon would change to nobody, who may not write here.
        owner = "uid = root\ngid = root\n" if os.geteuid() == 0 else ""
        config.write_text(CONFIG.format(port=self._port, folder=self.lab.run_dir, owner=owner))
        (self.lab.run_dir / "rsyncd.pid").unlink(missing_ok=True)
        self._server = Launched(self.lab, ["rsync", "--daemon", "--no-detach",
                                           f"--config={config}"])
        self._await_server()

    def _await_server(self):
        deadline = time.monotonic() + START_SECONDS_MAX
        while not listens(self._port)("self"):
            if time.monotonic() > deadline or not self._server.running():
                raise BenchError("the rsync daemon did not start")
            time.sleep(0.01)

    def run(self, work, list_path):
        # A target without contents has nothing to compare with; its holes may stay holes.
        how = ["--whole-file", "--sparse"] if work == FULL else ["--no-whole-file"]
        client = Launched(self.lab, [
            "rsync", "--inplace", "--ignore-times", *how, "--stats", "--no-human-readable",
            self.lab.source, f"rsync://127.0.0.1:{self._port}/replica/{self.target(work).name}"])
        try:
            cost = client.wait()
        finally:
            client.abandon()
        served = self._stop_server()
        sent = sum(int(count) for count in
                   re.findall(r"^Total bytes (?:sent|received): (\d+)", cost.output, re.M))
        return Sample(cost.wall_s, cost.cpu_s + served.cpu_s, sent,
                      cost.rss_max_bytes + served.rss_max_bytes)

    def _stop_server(self):
        os.kill(self._server.child_pid(), signal.SIGTERM)
        served = self._server.wait(accepted=range(256))
        self.end()
        return served

    def end(self):
        if self._server:
            self._server.abandon()
        self._server = None
