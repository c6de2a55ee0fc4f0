# SPDX-License-Identifier: Apache-2.0
"""The guest's whole userland in memory: busybox, our static programs, kernel modules with what they
depend on, and a few programs of this machine with their libraries. A boot's own files come on a
disk, as what was booted once goes on for many (saved.py)."""

import io
import lzma
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

from .builds import BUILD, GUEST, fingerprint, programs, run, up_to_date
from .kernels import REMEDY, Missing

# What every boot may use; a test names what it needs beside it.
MODULES = ("virtio_pci", "virtio_blk", "ext4", "crc32c_generic", "dm_mod", "dm_delay", "null_blk",
           "loop")
FILES_BYTES_MIN = 1 << 20
HOST_PROGRAMS = ("dmsetup",)  # of this machine
BUSYBOX = Path("/bin/busybox")


def busybox():
    path = Path(shutil.which("busybox") or BUSYBOX)
    if not path.is_file():
        raise Missing(f"busybox is missing: {REMEDY}")
    return path


def add_busybox(root):
    shutil.copy(busybox(), root / "bin/busybox")
    for name in run([busybox(), "--list"]).split():
        link = root / "bin" / name
        if not link.exists():
            link.symlink_to("busybox")


def add_program(root, name):
    """A dynamic program of this machine, by its name or path, its libraries where its loader looks
    for them."""
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        raise Missing(f"{name} is missing: {REMEDY}")
    target = root / "bin" / Path(path).name
    target.unlink(missing_ok=True)
    shutil.copy(path, target)
    for library in re.findall(r"(/\S+) \(0x", run(["ldd", path])):
        copy = root / library.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists():
            shutil.copy(library, copy)


def module_files(kernel, name):
    """Of `name` and all that it wants, in the order of loading; none when it is built in."""
    shown = subprocess.run(["modprobe", "-d", kernel.root, "-S", kernel.release, "--show-depends", name],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if shown.returncode != 0:
        raise Missing(f"kernel {kernel.release} has no module {name}: {shown.stderr.strip()}")
    return [Path(path) for path in re.findall(r"^insmod /*(/\S+)", shown.stdout, re.MULTILINE)]


def add_modules(root, kernel, names):
    folder = root / "lib/modules" / kernel.release
    folder.mkdir(parents=True)
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        shutil.copy(kernel.modules / name, folder / name)
    for path in {each for name in names for each in module_files(kernel, name)}:
        copy = folder / path.relative_to(kernel.modules)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".xz":
            # Debian's depmod reads them so; busybox's modprobe does not.
            copy.with_suffix("").write_bytes(lzma.decompress(path.read_bytes()))
        else:
            shutil.copy(path, copy)
    run(["depmod", "-b", root, kernel.release])


def pack(root, archive):
    """Not compressed: under emulation that takes longer than all that it saves. Devices come from
    devtmpfs: no root needed."""
    names = ["."] + sorted(str(path.relative_to(root)) for path in root.rglob("*"))
    packed = subprocess.run(["cpio", "--create", "--format=newc", "--owner=0:0", "--quiet"],
                            input="\n".join(names).encode(), cwd=root, check=True,
                            stdout=subprocess.PIPE).stdout
    archive.write_bytes(packed + b"\0" * (-len(packed) % 512))
    return archive


def base(kernel, modules=(), host_programs=()):
    """The archive that boots of this kernel with these extras have in common."""
    modules = sorted({*MODULES, *modules})
    host_programs = sorted({*HOST_PROGRAMS, *host_programs})
    built = programs()
    files = [*built.iterdir(), GUEST / "init", GUEST / "guest.sh"]
    extras = "-".join(sorted({*modules, *host_programs} - {*MODULES, *HOST_PROGRAMS})) or "base"
    folder = BUILD / kernel.release / f"userland-{extras}"
    key = fingerprint(files, kernel.release, modules, host_programs)
    with up_to_date(folder, key) as good:
        if not good:
            root = folder / "root"
            for name in ("bin", "dev", "proc", "sys", "tmp", "mnt", "run", "lib"):
                (root / name).mkdir(parents=True)
            add_busybox(root)
            for path in files:
                shutil.copy(path, root / ("init" if path.name == "init" else f"bin/{path.name}"),
                            follow_symlinks=False)
            for name in host_programs:
                add_program(root, name)
            add_modules(root, kernel, modules)
            pack(root, folder / "base.cpio")
            shutil.rmtree(root)
    return folder / "base.cpio"


def archive_of(files, folder):
    """A boot's own files (name in the guest: text or Path), as a disk that the guest unpacks."""
    path = folder / "files.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            if isinstance(content, Path):
                archive.add(content.resolve(), name)
            else:
                entry = tarfile.TarInfo(name)
                entry.size = len(content.encode())
                archive.addfile(entry, io.BytesIO(content.encode()))
    # So large that the one read by which the host tells disks apart is within it.
    os.truncate(path, max(path.stat().st_size, FILES_BYTES_MIN))
    return path
