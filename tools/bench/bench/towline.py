# SPDX-License-Identifier: Apache-2.0
"""A `towline serve` and the `towline sync` runs to it.

`server_prefix` and `sync_prefix` are words before the commands, which place either side into a
network namespace.
"""

import json

from .errors import BenchError
from .process import Daemon, free_port, listens, run_command


class TowlinePair:
    def __init__(self, lab, root, host="127.0.0.1", server_prefix=(), sync_prefix=()):
        self._lab = lab
        self._sync_prefix = sync_prefix
        self._address = f"tcp://{host}:{free_port()}"
        self._state_dir = lab.run_dir / "towline-state"
        root.mkdir(exist_ok=True)
        self.server = Daemon(lab, [*server_prefix, lab.program("towline"), "serve", "--listen",
                                   self._address, "--root", root],
                             listens(int(self._address.rpartition(":")[2])))

    def sync(self, name, words):
        """The cost of the command, and the report that it printed."""
        self.server.mark()
        cost = run_command(self._lab, [
            *self._sync_prefix, self._lab.program("towline"), "sync", self._lab.source,
            f"{self._address}/{name}", "--state-dir", self._state_dir, "--json", *words])
        try:
            report = json.loads(cost.output)
        except ValueError as failure:
            raise BenchError(f"towline sync --json printed no JSON object: {failure}") from failure
        cost.cpu_s += self.server.cpu_s()
        cost.rss_max_bytes += self.server.rss_max_bytes()
        return cost, report

    def stop(self):
        self.server.stop()
