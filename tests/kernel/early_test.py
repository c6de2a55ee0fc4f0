#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A root volume whose intent log lies on itself, attached by Debian's initramfs before it is
mounted: as initramfs-tools makes it, with the hook and the script that the packaging installs."""

import shutil

from rig.builds import GUEST, ROOT, programs, run
from rig.changes import MIB, blocks_different
from rig.disks import format_disk
from rig.initramfs import add_busybox
from rig.runner import main
from rig.tracking import fields, read_epoch

TRUST_EXACT, TRUST_SUPERSET, TRUST_UNKNOWN = 1, 2, 3
PACKAGING = ROOT / "kmod/initramfs"
SIZE = 48 * MIB
BLOCK = 4096

# What runs once the root filesystem is mounted, by the boot's number.
INIT = """#!/bin/busybox sh
set -eu
export PATH=/bin HOME=/tmp
mount -t proc proc /proc 2>/dev/null || true
mount -t sysfs sysfs /sys 2>/dev/null || true
mount -t devtmpfs devtmpfs /dev 2>/dev/null || true
mount -t tmpfs tmpfs /tmp
mkdir -p /dev/shm /dev/disk
. /bin/guest.sh
name_disks
echo "@@kernel $(uname -r)@@"
cd /tmp
uuid=$(track list)
stage=$(sed -n 's/.*stage=\\([0-9]\\).*/\\1/p' /proc/cmdline)
. /stage-$stage
echo "@@exit 0@@"
poweroff -f
sleep 60
"""
STAGES = {
    # The first attach was over a gap; a consumer compares all, and commits.
    1: """
        track freeze loose $uuid >first
        track commit $uuid $(sed -n 's/.* sequence=\\([0-9]*\\) .*/\\1/p' first)
        echo one >/written-1; sync
        keep first
        """,
    # After a shutdown nothing is lost; then the kernel crashes under load.
    2: """
        epoch second $uuid
        keep second.epoch second.map
        writer /data how=buffered count=60 span=1M seed=2
        sync
        disk crash
        """,
    3: """
        epoch third $uuid
        keep third.epoch third.map
        """,
}


def root_disk(rig):
    folder = rig.dir / "root"
    for name in ("bin", "dev", "proc", "sys", "tmp", "run", "sbin", "mnt"):
        (folder / name).mkdir(parents=True)
    add_busybox(folder)
    for path in [*programs().iterdir(), GUEST / "guest.sh"]:
        if path.name in ("track", "disk", "writer", "guest.sh"):
            (folder / "bin" / path.name).unlink(missing_ok=True)
            shutil.copy(path, folder / "bin" / path.name)
    for stage, script in STAGES.items():
        (folder / f"stage-{stage}").write_text(script, encoding="utf-8")
    (folder / "sbin/init").write_text(INIT, encoding="utf-8")
    (folder / "sbin/init").chmod(0o755)
    disk = rig.disk("root", SIZE)
    run(["mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0", "-d", folder, disk.path])
    return disk


def make_initramfs(rig, extents):
    """By initramfs-tools; only what the packaging would have put elsewhere comes from here."""
    conf = rig.dir / "conf"
    for name in ("hooks", "scripts/local-premount", "conf.d", "early"):
        (conf / name).mkdir(parents=True)
    (conf / "initramfs.conf").write_text("MODULES=list\nCOMPRESS=gzip\nFSTYPE=ext4\nRUNSIZE=10%\n")
    (conf / "modules").write_text("virtio_pci\nvirtio_blk\next4\ncrc32c_generic\n")
    (conf / "early/root.conf").write_text(f"device=/dev/vda\nlog=/dev/vda\nextents={extents}\n")
    shutil.copy(PACKAGING / "hook", conf / "hooks/towline")
    shutil.copy(PACKAGING / "premount", conf / "scripts/local-premount/towline")
    # The module is not installed on this machine.
    (conf / "hooks/module").write_text(
        '#!/bin/sh\n[ "${1:-}" != prereqs ] || exit 0\nmkdir -p "$DESTDIR/lib/modules/$version/updates"\n'
        f'cp {rig.module()} "$DESTDIR/lib/modules/$version/updates/"\n')
    (conf / "hooks/module").chmod(0o755)
    program = rig.dir / "towline-early-attach"
    run(["g++", "-std=c++23", "-O2", f"-I{ROOT}", PACKAGING / "early_attach.cpp", "-o", program,
         "-static-libstdc++", "-static-libgcc"])
    image = rig.dir / "initrd"
    run(["env", f"TOWLINE_EARLY={conf / 'early'}", f"TOWLINE_EARLY_ATTACH={program}",
         "mkinitramfs", "-d", conf, "-o", image, rig.kernel.release])
    return image


def blocks_of_log(extents):
    """All that the log may touch: it is no part of the volume."""
    spans = [tuple(map(int, each.split("+"))) for each in extents.split(",")]
    return {sector * 512 // BLOCK for first, sectors in spans
            for sector in range(first, first + sectors)}


def test_a_root_volume(rig):
    root = root_disk(rig)
    made = rig.boot("""
        modprobe ext4
        insmod /towline.ko
        mount /dev/disk/root /mnt
        intent make /mnt/towline.log /dev/disk/root region=1M
        intent extents /mnt/towline.log >extents
        intent attach /dev/disk/root /mnt/towline.log create region=1M block=4K
        rmmod towline
        umount /mnt
        keep extents
        """, [root])
    extents = made.read("extents").decode().strip()
    image = make_initramfs(rig, extents)

    def boot(stage, **more):
        return rig.boot("", [root], module=False, image=image,
                        append=f"root=/dev/vda rw rootfstype=ext4 stage={stage}", **more)

    first = fields(boot(1).read("first").decode())
    assert int(first["trust"]) == TRUST_UNKNOWN, first
    before = rig.copy(root)
    second, sealed = read_epoch(boot(2, unchecked=True), "second")
    assert second["uuid"] == first["uuid"] and second["trust"] == TRUST_EXACT, second
    was = rig.copy(root)
    third, marked = read_epoch(boot(3), "third")
    assert third["uuid"] == first["uuid"] and third["trust"] == TRUST_SUPERSET, third
    changed = blocks_different(before, was, BLOCK)
    # What the second boot's epoch held was committed in it.
    lost = changed - sealed - marked - blocks_of_log(extents)
    rig.count(crash_points=1, crash_points_lost=int(bool(lost)))
    assert not lost, f"{len(lost)} blocks lost: {sorted(lost)[:10]}"
    assert changed - sealed and len(marked) < SIZE // BLOCK, (len(changed), len(marked))


main(globals())
