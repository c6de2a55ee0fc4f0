# SPDX-License-Identifier: Apache-2.0
"""The floor: known changes over one TCP hop and nothing else; for a scan, reading both ends once.

Bytes are the sender's own count. Two processes a run, each measured from start to exit.
"""

from .hop import floor_hop
from .process import Launched
from .tool import FULL, SCAN, WORKS, Sample, Tool


class Floor(Tool):
    name = "floor"
    works = WORKS

    def require_programs(self):
        self.lab.program("floor")

    def run(self, work, list_path):
        if work == SCAN:
            return self._read_both()
        return self._copy("--full" if work == FULL else list_path, self.target(work))

    def after_run(self, work):
        if work != SCAN:  # a scan's floor brings nothing over
            super().after_run(work)

    def leaves_equal(self, work):
        return work != SCAN

    def _copy(self, listing, target):
        sent, served = floor_hop(self.lab, listing, self.lab.source, target)
        return Sample(sent.wall_s, sent.cpu_s + served.cpu_s, int(sent.output.split()[1]),
                      sent.rss_max_bytes + served.rss_max_bytes)

    def _read_both(self):
        floor = self.lab.program("floor")
        readers = [Launched(self.lab, [floor, "read", path])
                   for path in (self.lab.source, self.replica)]
        try:
            costs = [reader.wait() for reader in readers]
        finally:
            for reader in readers:
                reader.abandon()
        return Sample(max(cost.wall_s for cost in costs), sum(cost.cpu_s for cost in costs), None,
                      sum(cost.rss_max_bytes for cost in costs))
