#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A point of a bootable disk, exported as qcow2, boots: by the BIOS, the disk's own boot loader and
kernel, to its root filesystem, and is written to. qemu-img finds nothing wrong with it, before and
after."""

import os
import shutil
import subprocess
from pathlib import Path

from rig import serial_log
from rig.builds import run
from rig.changes import MIB
from rig.initramfs import add_busybox, add_modules, pack
from rig.kernels import REMEDY, Missing
from rig.machine import BOOTS_MAX, DEADLINE_SECONDS, stalled_at_boot
from rig.qemu import QEMU, run_qemu
from rig.runner import main

# An export knows nothing of kernels: a boot of one is enough.
os.environ.setdefault("TOWLINE_KERNEL", "6.1")

TOWLINE = Path(os.environ["TOWLINE_BIN"]) / "towline"
MBR = Path("/usr/lib/syslinux/mbr/mbr.bin")
BOOT_START, BOOT_SIZE = 1 * MIB, 24 * MIB
ROOT_START, ROOT_SIZE = 25 * MIB, 23 * MIB
DISK_SIZE = 48 * MIB + 512

EARLY = """#!/bin/busybox sh
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for each in virtio_pci virtio_blk crc32c_generic ext4; do modprobe $each 2>/dev/null; done
mount -t ext4 /dev/vda2 /mnt && exec switch_root /mnt /sbin/init
"""
INIT = """#!/bin/busybox sh
mount -t proc proc /proc
echo "@@kernel $(uname -r)@@"
cat /question >/answer && sync && mount -o remount,ro / && echo "@@exit 0@@"
poweroff -f
"""
LOADER = """SERIAL 0 115200
DEFAULT linux
LABEL linux
  KERNEL vmlinuz
  INITRD initrd
  APPEND console=ttyS0 loglevel=5 panic=-1 oops=panic no_timer_check cryptomgr.notests
"""


def boot_partition(rig, folder):
    """FAT, with syslinux, the kernel as Debian has it, and a small initramfs."""
    early = folder / "early"
    for name in ("bin", "proc", "sys", "dev", "mnt", "lib"):
        (early / name).mkdir(parents=True)
    add_busybox(early)
    add_modules(early, rig.kernel, ("virtio_pci", "virtio_blk", "ext4", "crc32c_generic"))
    (early / "init").write_text(EARLY, encoding="ascii")
    (early / "init").chmod(0o755)
    pack(early, folder / "initrd")
    (folder / "syslinux.cfg").write_text(LOADER, encoding="ascii")
    shutil.copy(rig.kernel.image, folder / "vmlinuz")
    image = folder / "boot.fat"
    with open(image, "wb") as file:
        file.truncate(BOOT_SIZE)
    run(["mkfs.fat", "-F", "16", image])
    run(["syslinux", "--install", image])
    run(["mcopy", "-i", image, *(folder / name for name in ("initrd", "syslinux.cfg", "vmlinuz")), "::"])
    return image.read_bytes()


def root_partition(rig, folder, question):
    root = folder / "root"
    for name in ("bin", "sbin", "proc", "dev"):
        (root / name).mkdir(parents=True)
    add_busybox(root)
    (root / "sbin/init").unlink(missing_ok=True)
    (root / "sbin/init").write_text(INIT, encoding="ascii")
    (root / "sbin/init").chmod(0o755)
    (root / "question").write_bytes(question)
    image = folder / "root.ext4"
    with open(image, "wb") as file:
        file.truncate(ROOT_SIZE)
    run(["mkfs.ext4", "-q", "-d", root, image])
    return image.read_bytes()


def bootable_disk(rig, question):
    for program in ("syslinux", "mcopy", "mkfs.fat", "qemu-img"):
        if shutil.which(program) is None:
            raise Missing(f"{program} is missing: {REMEDY}")
    folder = rig.dir / "parts"
    folder.mkdir()
    disk = rig.dir / "disk.raw"
    with open(disk, "wb") as file:
        file.truncate(DISK_SIZE)
    table = (f"label: dos\nstart={BOOT_START // 512}, size={BOOT_SIZE // 512}, type=c, bootable\n"
             f"start={ROOT_START // 512}, size={ROOT_SIZE // 512}, type=83\n")
    subprocess.run(["sfdisk", "--quiet", disk], input=table, text=True, check=True)
    with open(disk, "r+b") as file:
        file.write(MBR.read_bytes()[:440])
        file.seek(BOOT_START)
        file.write(boot_partition(rig, folder))
        file.seek(ROOT_START)
        file.write(root_partition(rig, folder, question))
    return disk


def boot_disk(rig, qcow2):
    """By itself: QEMU is told of no kernel."""
    words = [QEMU, "-M", "q35", "-accel", "tcg,thread=single", "-cpu", "max", "-m", "256",
             "-nographic", "-nodefaults", "-serial", "stdio", "-no-reboot",
             "-drive", f"file={qcow2},format=qcow2,if=virtio,cache=unsafe"]
    log = rig.dir / "serial.log"
    for _ in range(BOOTS_MAX):
        outcome, _ = run_qemu([str(word) for word in words], log, DEADLINE_SECONDS)
        text = log.read_text(encoding="utf-8", errors="replace").replace("\r", "")
        if not stalled_at_boot(text):
            break
    assert not serial_log.complaints(text), "\n".join(serial_log.complaints(text))
    assert serial_log.exit_status(text) == 0, f"{outcome}\n{text[-3000:]}"
    assert f"@@kernel {rig.kernel.release}@@" in text, text[-3000:]


def sound(qcow2):
    run(["qemu-img", "check", "-f", "qcow2", qcow2])


def test_an_exported_disk_boots(rig):
    question = rig.random.randbytes(40_000)
    disk = bootable_disk(rig, question)
    vault, state = rig.dir / "vault", rig.dir / "state"
    run([TOWLINE, "vault", "init", vault])
    run([TOWLINE, "sync", disk, f"vault:{vault}/disk", "--state-dir", state, "--quiet"])
    point = next(line.split()[0] for line in run(
        [TOWLINE, "point", "list", f"vault:{vault}/disk"]).splitlines()[1:])
    # What it is now could not boot, and is another point.
    with open(disk, "r+b") as file:
        file.write(bytes(8 * MIB))
    run([TOWLINE, "sync", disk, f"vault:{vault}/disk", "--state-dir", state, "--quiet"])
    qcow2 = rig.dir / "disk.qcow2"
    run([TOWLINE, "export", f"vault:{vault}/disk@{point}", qcow2, "--format", "qcow2", "--quiet",
         "--state-dir", state])
    sound(qcow2)
    boot_disk(rig, qcow2)
    sound(qcow2)
    root = rig.dir / "root.after"
    run(["qemu-img", "dd", "-f", "qcow2", "-O", "raw", f"if={qcow2}", f"of={root}", f"bs={MIB}",
         f"skip={ROOT_START // MIB}", f"count={(ROOT_START + ROOT_SIZE) // MIB}"])
    with open(root, "r+b") as file:
        file.truncate(ROOT_SIZE)
    run(["e2fsck", "-fn", root])
    answer = subprocess.run(["debugfs", "-R", "cat /answer", root], capture_output=True, check=True)
    assert answer.stdout == question


main(globals())
