# SPDX-License-Identifier: Apache-2.0
"""One boot: the disks, a script, a deadline; and what came of it."""

import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from . import initramfs, qemu, saved, serial_log
from .qemu import Disk, blank
from .trace import Trace

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


def own_disks(folder, files):
    """Of each boot: what it hands over, its marks in the trace, and what it is given."""
    every = [Disk("results", blank(folder / "results.raw", RESULTS_BYTES)),
             Disk("marks", blank(folder / "marks.raw", MARKS_BYTES))]
    if files is not None:
        every.append(Disk("files", initramfs.archive_of(files, folder)))
    return every


def run_once(shape, disks, folder, deadline, on_start):
    """From its start, or from where such a machine was saved."""
    words = [*qemu.drives(disks, shape.empty), *qemu.tracing(folder)]
    if not shape.can_be_saved:
        return qemu.run_qemu([*shape.machine(), *words], folder / "serial.log", deadline, on_start)
    goes_on = saved.GoesOn(shape, deadline)
    return qemu.run_qemu([*goes_on.words, *words], folder / "serial.log", deadline,
                         (goes_on.start, *on_start), goes_on.passed)


def run_until_started(shape, disks, folder, deadline, on_start):
    for _ in range(BOOTS_MAX):
        # QEMU would go on in it.
        (folder / "trace").unlink(missing_ok=True)
        outcome, seconds = run_once(shape, disks, folder, deadline, on_start)
        text = (folder / "serial.log").read_text(encoding="utf-8", errors="replace").replace("\r", "")
        if not stalled_at_boot(text):
            break
    return text, outcome, seconds


def boot_guest(kernel, script, disks, folder, *, files=None, modules=(), host_programs=(),
               memory_mib=MEMORY_MIB, deadline=DEADLINE_SECONDS, append="", on_start=None, image=None):
    """Boots, runs the script, and returns the Boot, good or bad: `check` says which. `image`: another
    initramfs, which runs what it likes from the machine's start."""
    folder.mkdir(parents=True)
    every = [*disks, *own_disks(folder, None if image else {"test.sh": script, **(files or {})})]
    shape = saved.Shape(kernel, image or initramfs.base(kernel, modules, host_programs), memory_mib,
                        append, tuple(disk.bus for disk in every), goes_on=image is None)
    text, outcome, seconds = run_until_started(shape, every, folder, deadline * PATIENCE,
                                               [on_start] if on_start else [])
    boot = Boot(kernel, text, seconds, serial_log.exit_status(text), folder,
                [disk.name for disk in every if disk.bus == "virtio"], outcome)
    take_results(boot, folder / "results.raw")
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
