# SPDX-License-Identifier: Apache-2.0
"""Machines that are saved when their kernel has started, for boots to go on from: the start is the
same for all of one shape, and takes eight seconds of each under emulation. What comes after it, disks
first of all, is each boot's own, and so are its time and its source of chance (guest/init)."""

import atexit
import functools
import json
import os
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import qemu, serial_log
from .builds import BUILD, BuildFailed, fingerprint, run, up_to_date

READY = "@@ready@@"
# Of virtio, places are saved by the eight, so that there are few shapes.
PLACES = 8
# QEMU can't save these.
UNSAVED = {"nvme"}
STARTS_MAX = 3
APART_SECONDS = 10
moments = {}


@dataclass(frozen=True)
class Shape:
    """`buses`: of each disk, in order. `goes_on`: its initramfs knows how to."""
    kernel: object
    image: Path
    memory_mib: int
    append: str
    buses: tuple
    goes_on: bool = True

    @property
    def can_be_saved(self):
        return self.goes_on and not UNSAVED & set(self.buses)

    @property
    def empty(self):
        """The buses of the places that have no disk."""
        return ("virtio",) * (-self.buses.count("virtio") % PLACES) if self.can_be_saved else ()

    @property
    def name(self):
        append = fingerprint([], self.append)[:8] if self.append else "plain"
        return "-".join([self.image.parent.name, str(self.memory_mib), append,
                         *(f"{bus}{(self.buses + self.empty).count(bus)}"
                           for bus in dict.fromkeys(self.buses))])

    @property
    def places(self):
        return self.buses + self.empty

    def machine(self, memory=None, shared=False):
        """`memory`: the file that its memory is mapped from, and with `shared` written to."""
        if not self.can_be_saved:
            return qemu.machine(self.kernel, self.image, self.memory_mib, self.append)
        return [*qemu.machine(self.kernel, self.image, self.memory_mib, f"towline.saved {self.append}"),
                "-object", f"memory-backend-file,id=memory,size={self.memory_mib}M,mem-path={memory},"
                           f"share={'on' if shared else 'off'}", "-machine", "memory-backend=memory"]


class Monitor:
    """QEMU's, over a pair of sockets of which one end is passed on to it."""

    def __init__(self):
        ours, self.its = socket.socketpair()
        with ours:
            self.file = ours.makefile("rw", encoding="utf-8")

    @property
    def words(self):
        return ["-chardev", f"socket,id=monitor,fd={self.its.fileno()}",
                "-mon", "chardev=monitor,mode=control"]

    def begin(self):
        self.its.close()
        self.file.readline()  # its greeting
        self.ask("qmp_capabilities")

    def ask(self, name, **arguments):
        self.file.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            line = self.file.readline()
            if not line:
                raise BuildFailed(f"QEMU ended at {name}; serial.log has its reason")
            said = json.loads(line)
            if "error" in said:
                raise BuildFailed(f"QEMU refuses {name}: {said['error']['desc']}")
            if "return" in said:
                return said["return"]

    def move(self, name, uri):
        """All but the memory."""
        self.ask("migrate-set-capabilities",
                 capabilities=[{"capability": "x-ignore-shared", "state": True}])
        self.ask(name, uri=uri)
        while (status := self.ask("query-migrate").get("status")) != "completed":
            if status == "failed":
                raise BuildFailed("QEMU could not save the machine, or go on from it")
            time.sleep(0.01)

    def save(self, path):
        self.ask("stop")
        self.move("migrate", f"exec:cat >{shlex.quote(str(path))}")

    def go_on(self, path):
        self.move("migrate-incoming", f"exec:cat {shlex.quote(str(path))}")
        self.ask("cont")


def start_and_save(shape, folder, deadline):
    """Whether it came to where it can be saved."""
    monitor, log = Monitor(), folder / "serial.log"
    (folder / "memory").unlink(missing_ok=True)
    words = [*shape.machine(folder / "memory", shared=True), *qemu.drives((), shape.places),
             *monitor.words]
    with open(log, "wb") as output, subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            pass_fds=[monitor.its.fileno()]) as process:
        try:
            monitor.begin()
            end = time.monotonic() + deadline
            while process.poll() is None and time.monotonic() < end:
                if READY in log.read_text(encoding="utf-8", errors="replace"):
                    monitor.save(folder / "state")
                    return True
                time.sleep(0.05)
            return False
        finally:
            process.kill()


def saved(shape, deadline):
    """The folder that a machine of this shape is saved in."""
    folder = BUILD / shape.kernel.release / f"saved-{shape.name}"
    key = fingerprint([shape.image], shape.machine(), shape.places)
    with up_to_date(folder, key) as good:
        if not good:
            done = any(start_and_save(shape, folder, deadline) for _ in range(STARTS_MAX))
            text = (folder / "serial.log").read_text(encoding="utf-8", errors="replace")
            if not done or serial_log.complaints(text):
                raise BuildFailed(f"{shape.name}: the guest never came to where it is saved:\n"
                                  f"{text[-3000:]}")
            # Of memory that is free each byte is the same.
            run(["zstd", "-1", "--quiet", "--rm", folder / "memory"])
    return folder


@functools.cache
def unpacked(folder):
    """Its memory, as long as this process runs."""
    place = Path(tempfile.mkdtemp(prefix="rig."))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    run(["zstd", "-d", "--quiet", folder / "memory.zst", "-o", place / "memory"])
    return place / "memory"


def moment(kernel):
    """When a guest goes on: now, but no sooner behind the one before than if it had been started. By
    when it began a boot is known to be another one."""
    moments[kernel] = max(time.time(), moments.get(kernel, 0) + APART_SECONDS)
    return moments[kernel]


class GoesOn:
    """One process that goes on from a saved machine. What its guest waits for (guest/init) is the time,
    and where its chance comes from; typed before the machine is there, it would be lost."""

    def __init__(self, shape, deadline):
        folder = saved(shape, deadline)
        self.kernel = shape.kernel
        self.state = folder / "state"
        self.monitor = Monitor()
        self.words = [*shape.machine(unpacked(folder)), "-incoming", "defer", *self.monitor.words]
        self.passed = [self.monitor.its.fileno()]

    def start(self, process):
        self.monitor.begin()
        self.monitor.go_on(self.state)
        process.stdin.write(f"{moment(self.kernel):.0f} {os.urandom(32).hex()}\n".encode())
        process.stdin.flush()
