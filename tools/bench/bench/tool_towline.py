# SPDX-License-Identifier: Apache-2.0
"""Towline itself: `towline sync` to a `towline serve` over TCP.

Charged from the start of the process to its end; the CPU is both processes'. Bytes are those that
the run itself reports. Its records of what the target holds come from its own first copy, so its
replica is made by itself and not by a plain copy.
"""

from . import files
from .errors import BenchError
from .tool import FULL, SCAN, WORKS, Sample, Tool
from .towline import TowlinePair


class Towline(Tool):
    name = "towline"
    works = WORKS

    def __init__(self, lab):
        super().__init__(lab)
        self._root = lab.run_dir / "towline"
        self.replica = self._root / "replica.raw"
        self.fresh = self._root / "full.raw"
        self._pair = None

    def require_programs(self):
        if self.lab.find_program("towline") is None:
            raise BenchError(f"the program towline is not in {self.lab.builds_text()}: build it, "
                             "name the place with --build DIR, or leave it out with --tools")

    def make_replica(self):
        self.start(FULL)
        self._pair.sync(self.replica.name, ["--full"])

    def catch_up(self):
        self.start(SCAN)
        self._pair.sync(self.replica.name, ["--scan"])

    def start(self, work):
        if self._pair is None:
            self._pair = TowlinePair(self.lab, self._root)

    def before_run(self, work):
        self.start(work)
        if work == FULL:
            files.remove(self.fresh)  # serve makes it anew, and its records of it are void

    def run(self, work, list_path):
        how = {FULL: ["--full"], SCAN: ["--scan"]}.get(work, ["--extents", list_path])
        cost, report = self._pair.sync(self.target(work).name, [*how, *self.lab.towline_args])
        return Sample(cost.wall_s, cost.cpu_s, report["bytes_sent"], cost.rss_max_bytes)

    def end(self):
        if self._pair:
            self._pair.stop()
        self._pair = None
