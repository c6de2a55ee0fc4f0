# SPDX-License-Identifier: Apache-2.0
"""One boot: QEMU without KVM, the disks, a script, a deadline; and what came of it.

`-accel tcg,thread=single`: with a thread a processor, QEMU 7.2 itself breaks kernels that patch
their text under load, which attaching does."""

import os
import shutil
import subprocess
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import initramfs, serial_log
from .builds import vmlinux
from .kernels import REMEDY, Missing
from .power_cut import LOG_BYTES
from .trace import EVENTS, Trace

QEMU = "qemu-system-x86_64"
# Poison, red zones and owners in every slab; freed pages are filled and looked at again.
CHECKS = "slub_debug=FZPU page_poison=1 kfence.sample_interval=100"
# no_timer_check: on a busy host the emulated timer may be late at boot, which would be a panic.
# cryptomgr.notests: the kernel's tests of its ciphers are a quarter of what a boot takes.
# lpj, initcall_blacklist: it need not measure how fast it is, nor its source of chance, for a second.
COMMAND_LINE = ("console=ttyS0 loglevel=5 panic=-1 oops=panic no_timer_check cryptomgr.notests "
                f"lpj=5000000 initcall_blacklist=jent_mod_init,crypto_kdf108_init {CHECKS}")
RESULTS_BYTES = 64 * 1024 * 1024
MARKS_BYTES = 1024 * 1024
BOOTS_MAX = 3  # of which all but the last stalled before the guest's first process
DEADLINE_SECONDS = 300  # only to tell a hang from a slow machine
# Times that for a kernel that is slow itself (tools/kernel-debug).
PATIENCE = int(os.environ.get("TOWLINE_KERNEL_PATIENCE", 1))
MEMORY_MIB = 512  # of which each boot poisons all: more is slower


class GuestFailed(AssertionError):
    pass


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


@dataclass
class Boot:
    kernel: object
    log: str
    seconds: float
    exit: int | None
    folder: Path
    names: list
    outcome: str = ""
    kept: Path = field(init=False)

    def __post_init__(self):
        self.kept = self.folder / "kept"

    @property
    def trace(self):
        return Trace((self.folder / "trace").read_text(encoding="ascii"), self.names)

    def read(self, name):
        """A file that the guest's `keep` handed over."""
        return (self.kept / name).read_bytes()


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


def drive(number, disk):
    if disk.part_of:
        return [*node(f"d{number}", disk, f"driver=raw,file={disk.part_of.name},offset={disk.start},"
                                          f"size={disk.size}"),
                "-device", f"virtio-blk-pci,drive=d{number},serial={disk.name},share-rw=on"]
    options = f",{disk.options}" if disk.options else ""
    backing = f"file={disk.path},format=raw,cache=unsafe,discard=unmap"
    if disk.write_log:
        # Flushes have to come as far as the log, and no further.
        blank(disk.write_log, LOG_BYTES)
        backing = (f"driver=blklogwrites,cache=writeback,file.driver=file,file.filename={disk.path},"
                   f"file.cache.no-flush=on,log.driver=file,log.filename={disk.write_log},"
                   "log.cache.no-flush=on")
    here = f"drive=d{number},serial={disk.name}"
    devices = {"virtio": [f"virtio-blk-pci,{here}"], "nvme": [f"nvme,{here}"],
               "scsi": [f"virtio-scsi-pci,id=s{number}", f"scsi-hd,{here},bus=s{number}.0"]}
    words = ["-drive", f"{backing},if=none,id=d{number}{options}"]
    for device in devices[disk.bus]:
        words += ["-device", device]
    return words


def command(kernel, image, disks, folder, memory_mib, append):
    if shutil.which(QEMU) is None:
        raise Missing(f"{QEMU} is missing: {REMEDY}")
    words = [QEMU, "-M", "q35", "-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2",
             "-m", str(memory_mib), "-nographic", "-nodefaults", "-serial", "stdio", "-no-reboot",
             "-kernel", vmlinux(kernel), "-initrd", image, "-append", f"{COMMAND_LINE} {append}".strip(),
             "-D", folder / "trace"]
    for event in EVENTS:
        words += ["-trace", f"enable={event}"]
    words += parts(disks)
    for number, disk in enumerate(disks):
        words += drive(number, disk)
    return [str(word) for word in words]


def run_qemu(words, log, deadline, on_start):
    """Its end is the guest's power-off, a panic (-no-reboot), or the deadline."""
    began = time.monotonic()
    with open(log, "wb") as output:
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output,
                              stderr=subprocess.STDOUT) as qemu:
            try:
                if on_start:
                    on_start(qemu)
                qemu.wait(max(1, deadline - (time.monotonic() - began)))
                outcome = "" if qemu.returncode == 0 else f"QEMU ended with {qemu.returncode}"
            except subprocess.TimeoutExpired:
                outcome = f"still running after {deadline} s"
            finally:
                if qemu.poll() is None:
                    qemu.kill()
    return outcome, time.monotonic() - began


def stalled_at_boot(text):
    """A host that is too busy: the emulated timer starves a kernel that has loaded nothing of ours."""
    return serial_log.complaints(text) and "@@kernel" not in text and "towline" not in text


def take_results(boot, results):
    boot.kept.mkdir()
    with open(results, "rb") as disk:
        if disk.read(512).strip(b"\0"):
            disk.seek(0)
            with tarfile.open(fileobj=disk, mode="r:") as archive:
                archive.extractall(boot.kept)


def boot_guest(kernel, script, disks, folder, *, files=None, modules=(), host_programs=(),
               memory_mib=MEMORY_MIB, deadline=DEADLINE_SECONDS, append="", on_start=None, image=None):
    """Boots, runs the script, and returns the Boot, good or bad: `check` says which. `image`: another
    initramfs, which runs what it likes."""
    folder.mkdir(parents=True)
    results = blank(folder / "results.raw", RESULTS_BYTES)
    marks = blank(folder / "marks.raw", MARKS_BYTES)
    every = [*disks, Disk("results", results), Disk("marks", marks)]
    host_programs = (*host_programs, *(each for each in initramfs.SCRIPTED if each in script))
    own = image or initramfs.with_files(initramfs.base(kernel, modules, host_programs),
                                        {"test.sh": script, **(files or {})}, folder)
    log = folder / "serial.log"
    words = command(kernel, own, every, folder, memory_mib, append)
    for _ in range(BOOTS_MAX):
        # QEMU would go on in it.
        (folder / "trace").unlink(missing_ok=True)
        outcome, seconds = run_qemu(words, log, deadline * PATIENCE, on_start)
        text = log.read_text(encoding="utf-8", errors="replace").replace("\r", "")
        if not stalled_at_boot(text):
            break
    if not image:
        own.unlink()
    boot = Boot(kernel, text, seconds, serial_log.exit_status(text), folder,
                [disk.name for disk in every if disk.bus == "virtio"], outcome)
    take_results(boot, results)
    return boot


def check(boot):
    """A guest that complained has failed, whatever its script made of it."""
    said = serial_log.complaints(boot.log)
    if said:
        raise GuestFailed("the kernel complained:\n" + "\n".join(said))
    if boot.exit is None:
        raise GuestFailed(f"the guest never came to its end ({boot.outcome or 'it rebooted'}):\n"
                          + boot.log[-3000:])
    if boot.exit != 0:
        raise GuestFailed(f"the script ended with {boot.exit}:\n{boot.log[-3000:]}")
    return boot


def expect_crashed(boot):
    """It came as far as the script's `disk crash`: the kernel's own word for it is on the console
    before the reset is, which is not so for what a program has just printed."""
    if "sysrq: Resetting" not in boot.log or boot.exit is not None:
        raise GuestFailed(f"the guest was not to live ({boot.outcome or boot.exit}):\n"
                          + boot.log[-3000:])
