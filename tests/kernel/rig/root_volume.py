# SPDX-License-Identifier: Apache-2.0
"""A guest that boots from a disk as Debian does: initramfs-tools' own initramfs, with the hook and the
script that the packaging installs, attaches the root volume before it is mounted. Its intent log
lies on itself."""

import shutil

from .builds import GUEST, ROOT, programs, run
from .initramfs import add_busybox

PACKAGING = ROOT / "kmod/initramfs"
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
disk said
poweroff -f
sleep 60
"""


def root_disk(rig, size, stages, fill=lambda folder: None):
    """`stages`: a script a boot. `fill` puts more into the folder that becomes the filesystem."""
    folder = rig.dir / "root"
    for name in ("bin", "dev", "proc", "sys", "tmp", "run", "sbin", "mnt"):
        (folder / name).mkdir(parents=True)
    add_busybox(folder)
    for path in [*programs().iterdir(), GUEST / "guest.sh"]:
        if path.name in ("guest", "track", "disk", "writer", "guest.sh"):
            (folder / "bin" / path.name).unlink(missing_ok=True)
            shutil.copy(path, folder / "bin" / path.name, follow_symlinks=False)
    for stage, script in stages.items():
        (folder / f"stage-{stage}").write_text(script, encoding="utf-8")
    (folder / "sbin/init").write_text(INIT, encoding="utf-8")
    (folder / "sbin/init").chmod(0o755)
    fill(folder)
    disk = rig.disk("root", size)
    run(["mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0", "-d", folder, disk.path])
    return disk


def make_log(rig, root):
    """On the root filesystem, for the first time; its extents, as the boot's order names them."""
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
    return made.read("extents").decode().strip()


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


def boot_root(rig, image, stage, disks, **more):
    """`disks`: the root's first."""
    return rig.boot("", disks, module=False, image=image,
                    append=f"root=/dev/vda rw rootfstype=ext4 stage={stage}", **more)
