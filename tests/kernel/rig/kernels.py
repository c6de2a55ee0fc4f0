# SPDX-License-Identifier: Apache-2.0
"""The kernels that the tests boot: Debian's own, the newest installed one of each series. Or one that
was made for it: TOWLINE_KERNEL_ROOT names the folder that it is installed in."""

import lzma
import os
import re
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

SERIES = ("6.1", "6.12")
REMEDY = "install it with `tools/setup kernel` (as root)"


class Missing(Exception):
    """Something that the tests stand on is not installed; the text says what and what to do."""


@dataclass(frozen=True)
class Kernel:
    series: str
    release: str
    root: Path = Path("/")

    @property
    def image(self):
        return self.root / f"boot/vmlinuz-{self.release}"

    @property
    def modules(self):
        return self.root / f"lib/modules/{self.release}"

    @property
    def headers(self):
        return self.modules / "build"


def numbers(release):
    return [int(each) for each in re.findall(r"\d+", release)]


def newest(series):
    """With its headers: an image alone is of no use, the module has to be built for it."""
    pattern = re.compile(re.escape(series) + r"(\.\d+)*(-\d+|\+deb\d+)-amd64")
    found = [path.name for path in Path("/lib/modules").glob("*") if pattern.fullmatch(path.name)]
    for release in sorted(found, key=numbers, reverse=True):
        kernel = Kernel(series, release)
        if kernel.image.is_file() and (kernel.headers / "Makefile").is_file():
            return kernel
    raise Missing(f"no Debian kernel {series} with its headers here: {REMEDY}")


def of_root(root):
    """The only one there; its own name is its series'."""
    found = [path.name for path in (root / "lib/modules").glob("*")]
    if len(found) != 1:
        raise Missing(f"{root}/lib/modules has {len(found)} kernels, not one")
    kernel = Kernel(found[0], found[0], root)
    if kernel.image.is_file() and (kernel.headers / "Makefile").is_file():
        return kernel
    raise Missing(f"{root}: no kernel {kernel.release} with its headers there")


def wanted():
    """All of them, or the one series that TOWLINE_KERNEL names."""
    root = os.environ.get("TOWLINE_KERNEL_ROOT")
    if root:
        return [of_root(Path(root))]
    only = os.environ.get("TOWLINE_KERNEL", "")
    if only and only not in SERIES:
        raise Missing(f"TOWLINE_KERNEL={only}: the tests know {', '.join(SERIES)}")
    return [newest(series) for series in SERIES if only in ("", series)]


def unpacked(image):
    """The ELF in a vmlinuz. QEMU boots it by PVH as it is: unpacking it under emulation takes up to
    four seconds of each boot."""
    data = image.read_bytes()
    if data.startswith(b"\x7fELF"):
        return data
    setup_sectors = data[0x1f1] or 4
    offset, length = struct.unpack_from("<II", data, 0x248)
    payload = data[(setup_sectors + 1) * 512 + offset:][:length]
    if payload.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor().decompress(payload)
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        # The last four bytes are the size of what is in it.
        return subprocess.run(["zstd", "-d", "-c"], input=payload[:-4], check=True,
                              stdout=subprocess.PIPE).stdout
    raise Missing(f"{image}: packed in a way that the tests do not know")
