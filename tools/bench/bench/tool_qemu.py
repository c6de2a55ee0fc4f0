# SPDX-License-Identifier: Apache-2.0
"""QEMU's bitmap job: blockdev-backup from a qemu-storage-daemon to an NBD server over TCP.

Measured is the job alone, from its command to BLOCK_JOB_COMPLETED, with both ends warm and
connected, which is the most that can be said for it: a towline run is charged from the start of
its process. The CPU is both ends'. The bytes are those that the job says it copied; of a full copy
it counts zeros that are not sent, so there they are what passed over the loopback meanwhile.

The server is what serves it best. For changes nbdkit's file plugin: an export of a second
qemu-storage-daemon 7.2 does not set TCP_NODELAY, so that its answers wait for delayed
acknowledgements and the job takes twenty times as long. For a full copy (sync=full) that export:
its large requests do not wait, and nbdkit pays for every zeroed range of its cached file. Of
cache= and aio= the fastest were taken (nbdkit's default, io_uring).

The bitmap learns of changes only from writes that pass through the daemon. The changed blocks are
therefore written once more, with what already stands in them, through an export of the source.
"""

import os
import time

from . import files
from .errors import BenchError
from .nbd import NbdWriter
from .process import Daemon, free_port, listens, loopback_bytes
from .qmp import Qmp
from .tool import FULL, INCREMENTAL, Sample, Tool

BITMAP = "changed"


class QemuBitmap(Tool):
    name = "qemu-bitmap"
    needs = {"qemu-storage-daemon": "qemu-system-common", "nbdkit": "nbdkit"}
    works = (FULL, *INCREMENTAL)

    def __init__(self, lab):
        super().__init__(lab)
        self._source = self._target = self._qmp = None
        self._sockets = os.path.join(lab.run_dir, "qemu")

    def start(self, work):
        self._start_pair(self._nbdkit_command)
        self._qmp.command("block-dirty-bitmap-add", node="source", name=BITMAP)

    def before_run(self, work):
        super().before_run(work)
        if work == FULL:
            self._start_pair(self._daemon_command)

    def changed(self, extents):
        with open(self.lab.source, "rb") as source, NbdWriter(self._mark_path, "source") as writer:
            for offset, length in extents:
                writer.write(offset, os.pread(source.fileno(), length, offset))
            writer.finish()

    def run(self, work, list_path):
        how = {"sync": "full"} if work == FULL else \
            {"sync": "bitmap", "bitmap": BITMAP, "bitmap-mode": "on-success"}
        self._source.mark()
        self._target.mark()
        loopback_before = loopback_bytes()
        begin = time.perf_counter()
        self._qmp.command("blockdev-backup", **{"job-id": "copy", "device": "source",
                                                "target": "target"}, **how)
        ended = self._qmp.wait_for("BLOCK_JOB_COMPLETED")
        wall = time.perf_counter() - begin
        if "error" in ended:
            raise BenchError(f"qemu-storage-daemon: the backup job failed: {ended['error']}")
        daemons = (self._source, self._target)
        sent = loopback_bytes() - loopback_before if work == FULL else ended["offset"]
        return Sample(wall, sum(daemon.cpu_s() for daemon in daemons), sent,
                      sum(daemon.rss_max_bytes() for daemon in daemons))

    def after_run(self, work):
        super().after_run(work)
        if work == FULL:
            self.end()

    def end(self):
        if self._qmp:
            self._qmp.close()
        for daemon in (self._source, self._target):
            if daemon:
                daemon.stop()
        self._source = self._target = self._qmp = None

    @property
    def _mark_path(self):
        return f"{self._sockets}-mark.sock"

    def _start_pair(self, target_command):
        self.end()
        port = free_port()
        self._target = Daemon(self.lab, target_command(port), listens(port))
        qmp_path = f"{self._sockets}-qmp.sock"
        for path in (qmp_path, self._mark_path):
            files.remove(path)
        self._source = Daemon(self.lab, self._source_command(qmp_path),
                              lambda _: os.path.exists(self._mark_path))
        self._qmp = Qmp(qmp_path)
        self._qmp.command("blockdev-add", **{
            "driver": "nbd", "node-name": "target", "export": "target",
            "server": {"type": "inet", "host": "127.0.0.1", "port": str(port)}})

    def _nbdkit_command(self, port):
        return ["nbdkit", "-f", "-i", "127.0.0.1", "-p", port, "file", self.replica]

    def _daemon_command(self, port):
        return ["qemu-storage-daemon",
                "--blockdev", f"driver=file,node-name=file,filename={self.fresh},"
                              "cache.direct=on,aio=io_uring,discard=unmap",
                "--blockdev", "driver=raw,node-name=target,file=file,discard=unmap",
                "--nbd-server", f"addr.type=inet,addr.host=127.0.0.1,addr.port={port}",
                "--export", "type=nbd,id=target,node-name=target,name=target,writable=on"]

    def _source_command(self, qmp_path):
        return ["qemu-storage-daemon",
                "--blockdev", f"driver=file,node-name=file,filename={self.lab.source},"
                              "cache.direct=on,aio=io_uring",
                "--blockdev", "driver=raw,node-name=source,file=file",
                "--chardev", f"socket,id=qmp,path={qmp_path},server=on,wait=off",
                "--monitor", "chardev=qmp",
                "--nbd-server", f"addr.type=unix,addr.path={self._mark_path}",
                "--export", "type=nbd,id=mark,node-name=source,name=source,writable=on"]
