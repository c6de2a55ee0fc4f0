# SPDX-License-Identifier: Apache-2.0
"""Builds what runs in the guest: the module against a kernel's headers, and the static programs of
tests/kernel/guest. Under build/kernel; what did not change is not built again."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

from .kernels import unpacked

ROOT = Path(__file__).resolve().parents[3]
GUEST = ROOT / "tests/kernel/guest"
BUILD = ROOT / "build/kernel"
UAPI = ROOT / "kmod/uapi"
PROGRAM_OPTIONS = ["-std=c++20", "-O2", "-static", "-Wall", "-Wextra", "-Wshadow", "-Werror",
                   "-D_FILE_OFFSET_BITS=64", "-D_GNU_SOURCE", f"-I{ROOT}"]


class BuildFailed(Exception):
    pass


def run(words, **more):
    done = subprocess.run([str(each) for each in words], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)
    if done.returncode != 0:
        raise BuildFailed(f"{' '.join(map(str, words))}\n{done.stdout[-6000:]}")
    return done.stdout


def fingerprint(files, *more):
    """Of names and contents, so that a changed file and a new one are both seen."""
    total = hashlib.sha256(repr(more).encode())
    for path in sorted(files):
        total.update(f"{path}\0".encode() + path.read_bytes())
    return total.hexdigest()


@contextmanager
def up_to_date(folder, key):
    """Yields whether `folder` is what `key` made; if not, the caller makes it, alone."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = Path(f"{folder}.key")
        good = folder.is_dir() and stamp.is_file() and stamp.read_text(encoding="ascii") == key
        if not good:
            stamp.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        yield good
        stamp.write_text(key, encoding="ascii")


def sources(folder):
    return [path for path in folder.rglob("*") if path.is_file() and
            path.suffix in {".c", ".h", ""} and not path.name.startswith(".")]


def module(kernel, source=ROOT / "kmod", name="module", output="towline.ko"):
    """The path of the .ko. The tree is copied: the kernel's build writes beside the sources."""
    if not any(source.glob("*.c")):
        raise BuildFailed(f"{source}: no module to build there")
    folder = BUILD / kernel.release / name
    files = sources(source)
    with up_to_date(folder, fingerprint(files, kernel.release)) as good:
        if not good:
            for path in files:
                copy = folder / path.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
            said = run(["make", "-C", kernel.headers, f"M={folder}", f"-j{os.cpu_count()}",
                          "modules"])
            if "warning:" in said.lower().replace("warning: the compiler differs", ""):
                raise BuildFailed(f"the module builds with warnings:\n{said[-6000:]}")
    return folder / output


def vmlinux(kernel):
    folder = BUILD / kernel.release / "vmlinux"
    with up_to_date(folder, fingerprint([kernel.image])) as good:
        if not good:
            (folder / "vmlinux").write_bytes(unpacked(kernel.image))
    return folder / "vmlinux"


def programs():
    """The folder of the guest's programs: each .cpp with a main of its own, and what they share."""
    folder = BUILD / "guest"
    headers = [*GUEST.glob("*.hpp"), *UAPI.glob("*.h")]
    mains = sorted(GUEST.glob("*.cpp"))
    with up_to_date(folder, fingerprint([*headers, *mains], *PROGRAM_OPTIONS)) as good:
        if not good:
            running = [compile_program(path, folder / path.stem) for path in mains]
            for path, each in zip(mains, running):
                output, _ = each.communicate()
                if each.returncode != 0:
                    raise BuildFailed(f"{path}\n{output[-6000:]}")
    return folder


def compile_program(path, output):
    return subprocess.Popen(["g++", *PROGRAM_OPTIONS, path, "-o", output, "-luring", "-laio"],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)
