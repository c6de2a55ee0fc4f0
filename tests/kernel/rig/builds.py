# SPDX-License-Identifier: Apache-2.0
"""Builds what runs in the guest: the module against a kernel's headers, and the static programs of
tests/kernel/guest. Under build/kernel; what did not change is not built again."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

from .kernels import unpacked

ROOT = Path(__file__).resolve().parents[3]
GUEST = ROOT / "tests/kernel/guest"
BUILD = ROOT / "build/kernel"
UAPI = ROOT / "kmod/uapi"
PROGRAM_OPTIONS = ["-std=c++20", "-O2", "-Wall", "-Wextra", "-Wshadow", "-Werror",
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
            # With C=1 sparse reads each file as well; what it finds it only says.
            said = run(["make", "-C", kernel.headers, f"M={folder}", f"-j{os.cpu_count()}", "C=1",
                        "CF=-D__CHECK_ENDIAN__", "modules"])
            told = re.sub("warning: (the compiler|pahole version) differs", "", said.lower())
            if "warning:" in told or "error:" in told:
                raise BuildFailed(f"the module builds with warnings:\n{said[-6000:]}")
            # What debuggers read of it is 25 times as large, and each boot would unpack it.
            run(["strip", "--strip-debug", folder / output])
    return folder / output


def vmlinux(kernel):
    folder = BUILD / kernel.release / "vmlinux"
    with up_to_date(folder, fingerprint([kernel.image])) as good:
        if not good:
            (folder / "vmlinux").write_bytes(unpacked(kernel.image))
    return folder / "vmlinux"


def programs():
    """The folder of the guest's programs: one file, `guest`, linked to under each name. Every boot
    unpacks it, and a static program is C++'s library for the most part."""
    folder = BUILD / "guest"
    headers = [*GUEST.glob("*.hpp"), *UAPI.glob("*.h")]
    mains = sorted(GUEST.glob("*.cpp"))
    with up_to_date(folder, fingerprint([*headers, *mains, Path(__file__)], *PROGRAM_OPTIONS)) as good:
        if not good:
            objects = BUILD / "guest-objects"
            objects.mkdir(exist_ok=True)
            names = [path.stem for path in mains]
            (objects / "guest.cpp").write_text(dispatcher(names), encoding="ascii")
            running = [compile_object(path, objects / f"{path.stem}.o", [f"-Dmain={path.stem}_main"])
                       for path in mains]
            running.append(compile_object(objects / "guest.cpp", objects / "guest.o", []))
            for each in running:
                output, _ = each.communicate()
                if each.returncode != 0:
                    raise BuildFailed(f"{each.args[-3]}\n{output[-6000:]}")
            run(["g++", "-static", "-s", *(objects / f"{name}.o" for name in [*names, "guest"]), "-o",
                 folder / "guest", "-luring", "-laio"])
            for name in names:
                (folder / name).symlink_to("guest")
    return folder


def dispatcher(names):
    """The main() that calls the one of the name that it was called by."""
    return ("#include <cstdio>\n#include <cstring>\n"
            + "".join(f"int {name}_main(int, char**);\n" for name in names)
            + "int main(int count, char** words) {\n"
              "    const char* slash = std::strrchr(words[0], '/');\n"
              "    const char* name = slash != nullptr ? slash + 1 : words[0];\n"
            + "".join(f"    if (std::strcmp(name, \"{name}\") == 0) return {name}_main(count, words);\n"
                      for name in names)
            + "    std::fprintf(stderr, \"no program %s\\n\", name);\n    return 127;\n}\n")


def compile_object(path, output, more):
    return subprocess.Popen(["g++", *PROGRAM_OPTIONS, *more, "-c", path, "-o", output],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)
