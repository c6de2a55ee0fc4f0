# SPDX-License-Identifier: Apache-2.0
"""Towline itself: `towline sync` to a `towline serve` over TCP.

Charged from the start of the process to its end; the CPU is both processes'. Bytes are those that
the run itself reports. Its records of what the target holds come from its own first copy, so its
replica is made by itself and not by a plain copy.
"""

import json

from . import files
from .errors import BenchError
from .process import Daemon, free_port, port_open, run_command
from .tool import FULL, SCAN, WORKS, Sample, Tool


class Towline(Tool):
    name = "towline"
    works = WORKS

    def __init__(self, lab):
        super().__init__(lab)
        self._root = lab.run_dir / "towline"
        self.replica = self._root / "replica.raw"
        self.fresh = self._root / "full.raw"
        self._server = None
        self._port = 0

    def require_programs(self):
        if self.lab.find_program("towline") is None:
            raise BenchError(f"the program towline is not in {self.lab.builds_text()}: build it, "
                             "name the place with --build DIR, or leave it out with --tools")

    def make_replica(self):
        self._ensure_server()
        self._sync(self.replica, ["--full"])

    def catch_up(self):
        self._ensure_server()
        self._sync(self.replica, ["--scan"])

    def start(self, work):
        self._ensure_server()

    def before_run(self, work):
        self._ensure_server()
        if work == FULL:
            files.remove(self.fresh)  # serve makes it anew, and its records of it are void

    def run(self, work, list_path):
        how = {FULL: ["--full"], SCAN: ["--scan"]}.get(work, ["--extents", list_path])
        self._server.mark()
        cost, report = self._sync(self.target(work), [*how, *self.lab.towline_args])
        return Sample(cost.wall_s, cost.cpu_s + self._server.cpu_s(), report["bytes_sent"],
                      cost.rss_max_bytes + self._server.rss_max_bytes())

    def _sync(self, target, words):
        address = f"tcp://127.0.0.1:{self._port}/{target.name}"
        cost = run_command(self.lab, [self.lab.program("towline"), "sync", self.lab.source, address,
                                      "--state-dir", self.lab.run_dir / "towline-state", "--json",
                                      *words])
        try:
            return cost, json.loads(cost.output)
        except ValueError as failure:
            raise BenchError(f"towline sync --json printed no JSON object: {failure}") from failure

    def _ensure_server(self):
        if self._server:
            return
        self._root.mkdir(exist_ok=True)
        self._port = free_port()
        self._server = Daemon(self.lab, [self.lab.program("towline"), "serve", "--listen",
                                         f"tcp://127.0.0.1:{self._port}", "--root", self._root],
                              port_open(self._port))

    def end(self):
        if self._server:
            self._server.stop()
        self._server = None
