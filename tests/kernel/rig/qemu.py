# SPDX-License-Identifier: Apache-2.0
"""QEMU's command line: the machine that every guest has, its disks, and one process of it.

`-accel tcg,thread=single`: with a thread a processor, QEMU 7.2 itself breaks kernels that patch
their text under load, which attaching does."""

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .builds import vmlinux
from .kernels import REMEDY, Missing
from .power_cut import LOG_BYTES
from .trace import EVENTS

QEMU = "qemu-system-x86_64"
# Poison, red zones and owners in every slab; freed pages are filled and looked at again.
CHECKS = "slub_debug=FZPU page_poison=1 kfence.sample_interval=100"
# no_timer_check: on a busy host the emulated timer may be late at boot, which would be a panic.
# cryptomgr.notests: the kernel's tests of its ciphers are a quarter of what a boot takes.
# lpj, initcall_blacklist: it need not measure how fast it is, nor its source of chance, for a second.
COMMAND_LINE = ("console=ttyS0 loglevel=5 panic=-1 oops=panic no_timer_check cryptomgr.notests "
                f"lpj=5000000 initcall_blacklist=jent_mod_init,crypto_kdf108_init {CHECKS}")


@dataclass
class Disk:
    """`options` go to QEMU's -drive: throttling.iops-write=..., say. `write_log`: a file that notes
    each write and flush (power_cut.py). `bus`: virtio, nvme or scsi; the latter two are named by the
    kernel alone, and no trace tells of them. `part_of`: another with a log, of which this one is
    `size` bytes from `start`: what is written to several such disks is in its log in order."""
    name: str
    path: Path
    options: str = ""
    write_log: Path | None = None
    bus: str = "virtio"
    part_of: "Disk | None" = None
    start: int = 0
    size: int = 0


def blank(path, size):
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def node(name, disk, below):
    """A node of QEMU's that notes what passes on to the one below."""
    blank(disk.write_log, LOG_BYTES)
    return ["-blockdev", f"driver=file,node-name={name}l,filename={disk.write_log},cache.no-flush=on",
            "-blockdev", f"{below},node-name={name}b",
            "-blockdev", f"driver=blklogwrites,node-name={name},file={name}b,log={name}l"]


def parts(disks):
    """The disks that others are parts of, each once."""
    words = []
    for disk in {id(each.part_of): each.part_of for each in disks if each.part_of}.values():
        words += node(disk.name, disk, f"driver=file,filename={disk.path},cache.no-flush=on")
    return words


def backing(disk):
    if disk.write_log:
        # Flushes have to come as far as the log, and no further.
        blank(disk.write_log, LOG_BYTES)
        return (f"driver=blklogwrites,cache=writeback,file.driver=file,file.filename={disk.path},"
                f"file.cache.no-flush=on,log.driver=file,log.filename={disk.write_log},"
                "log.cache.no-flush=on")
    return f"file={disk.path},format=raw,cache=unsafe,discard=unmap"


def device(number, bus, more=""):
    here = f"drive=d{number}{more}"
    devices = {"virtio": [f"virtio-blk-pci,{here}"], "nvme": [f"nvme,{here}"],
               "scsi": [f"virtio-scsi-pci,id=s{number}", f"scsi-hd,{here},bus=s{number}.0"]}
    return [word for each in devices[bus] for word in ("-device", each)]


def drive(number, disk):
    if disk.part_of:
        return [*node(f"d{number}", disk, f"driver=raw,file={disk.part_of.name},offset={disk.start},"
                                          f"size={disk.size}"),
                *device(number, disk.bus, f",serial={disk.name},share-rw=on")]
    options = f",{disk.options}" if disk.options else ""
    return ["-drive", f"{backing(disk)},if=none,id=d{number}{options}",
            *device(number, disk.bus, f",serial={disk.name}")]


def empty_drive(number, bus):
    """A place for a disk: it has no bytes, and no name."""
    return ["-drive", f"driver=null-co,size=0,if=none,id=d{number}", *device(number, bus)]


def machine(kernel, image, memory_mib, append):
    if shutil.which(QEMU) is None:
        raise Missing(f"{QEMU} is missing: {REMEDY}")
    words = [QEMU, "-M", "q35", "-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2",
             "-m", memory_mib, "-nographic", "-nodefaults", "-serial", "stdio", "-no-reboot",
             "-kernel", vmlinux(kernel), "-initrd", image, "-append", f"{COMMAND_LINE} {append}".strip()]
    return [str(word) for word in words]


def drives(disks, empty=()):
    """`empty`: the buses of the places behind them."""
    words = parts(disks)
    for number, disk in enumerate(disks):
        words += drive(number, disk)
    for number, bus in enumerate(empty, len(disks)):
        words += empty_drive(number, bus)
    return [str(word) for word in words]


def tracing(folder):
    return ["-D", str(folder / "trace"), *(word for event in EVENTS for word in ("-trace", f"enable={event}"))]


def run_qemu(words, log, deadline, on_start=(), passed=()):
    """Its end is the guest's power-off, a panic (-no-reboot), or the deadline. `on_start`: called with
    the process; `passed`: open files that it is given."""
    began = time.monotonic()
    with open(log, "wb") as output:
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT,
                              pass_fds=passed) as qemu:
            try:
                for each in on_start:
                    each(qemu)
                qemu.wait(max(1, deadline - (time.monotonic() - began)))
                outcome = "" if qemu.returncode == 0 else f"QEMU ended with {qemu.returncode}"
            except subprocess.TimeoutExpired:
                outcome = f"still running after {deadline} s"
            finally:
                if qemu.poll() is None:
                    qemu.kill()
    return outcome, time.monotonic() - began
