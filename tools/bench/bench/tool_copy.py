# SPDX-License-Identifier: Apache-2.0
"""The copiers, which know nothing of changes: nbdcopy over TCP, qemu-img and cp from file to file.

nbdcopy keeps no count of bytes: its are the bytes that passed over the loopback meanwhile, headers
included and others' traffic too. The local tools send nothing.
"""

from .process import Daemon, free_port, listens, loopback_bytes, run_command
from .tool import FULL, Sample, Tool


class Nbdcopy(Tool):
    """Into nbdkit's file plugin over four connections. Without cache=none, or when told that the
    target is zero, it took longer."""
    name = "nbdcopy"
    needs = {"nbdcopy": "libnbd-bin", "nbdkit": "nbdkit"}
    works = (FULL,)

    def __init__(self, lab):
        super().__init__(lab)
        self._server = None
        self._port = 0

    def before_run(self, work):
        super().before_run(work)
        self._port = free_port()
        self._server = Daemon(self.lab, ["nbdkit", "-f", "-i", "127.0.0.1", "-p", self._port,
                                         "file", self.fresh, "cache=none"], listens(self._port))

    def run(self, work, list_path):
        self._server.mark()
        sent_before = loopback_bytes()
        cost = run_command(self.lab, ["nbdcopy", "--connections=4", "--flush", self.lab.source,
                                      f"nbd://127.0.0.1:{self._port}"])
        return Sample(cost.wall_s, cost.cpu_s + self._server.cpu_s(),
                      loopback_bytes() - sent_before,
                      cost.rss_max_bytes + self._server.rss_max_bytes())

    def after_run(self, work):
        super().after_run(work)
        self.end()

    def end(self):
        if self._server:
            self._server.stop()
        self._server = None


class LocalCopy(Tool):
    works = (FULL,)
    command = ()

    def run(self, work, list_path):
        cost = run_command(self.lab, [*self.command, self.lab.source, self.fresh])
        return Sample(cost.wall_s, cost.cpu_s, None, cost.rss_max_bytes)


class QemuImg(LocalCopy):
    name = "qemu-img"
    needs = {"qemu-img": "qemu-utils"}
    command = ("qemu-img", "convert", "-n", "-W", "-m", "16", "-t", "none", "-T", "none",
               "-f", "raw", "-O", "raw")


class Cp(LocalCopy):
    name = "cp"
    needs = {"cp": "coreutils"}
    command = ("cp", "--sparse=always")
