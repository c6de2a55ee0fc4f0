# SPDX-License-Identifier: Apache-2.0
"""The ways in which a volume is written to."""

import os
import subprocess

from .lab import MIB
from .tracking import write


def run(*words):
    subprocess.run([str(each) for each in words], check=True, capture_output=True)


def sync(path):
    fd = os.open(path, os.O_RDWR)
    os.fsync(fd)
    os.close(fd)


def filesystem(kind, lab, device):
    run(f"mkfs.{kind}", "-q", device)
    where = lab.mount(device, lab.dir / f"mounted-{kind}")
    for number in range(30):
        (where / str(number)).write_bytes(lab.content(number * 1000))
    run("umount", where)


def ways(lab, device, seed, size):
    """Each changes the device in a way of its own, and has done so for good when it returns."""
    for number, how in enumerate(("direct", "buffered", "mmap", "aio", "uring")):
        yield how, lambda how=how, own=seed + number: write(device, how, own, count=60)
    yield "ranges", lambda: write(device, "direct", seed + 9, count=60, ranges=60)
    yield "discard", lambda: run("blkdiscard", "--offset", 3 * MIB, "--length", 5 * MIB, device)
    yield "zero-out", lambda: run("blkdiscard", "--zeroout", "--offset", 9 * MIB, "--length",
                                  3 * MIB + 512, device)
    yield "punch", lambda: run("fallocate", "--punch-hole", "--offset", 14 * MIB, "--length",
                               MIB, device)
    yield "sector", lambda: run("dd", "if=/dev/urandom", f"of={device}", "bs=512", "count=1",
                                "seek=4099", "oflag=direct")
    yield "end", lambda: run("dd", "if=/dev/urandom", f"of={device}", "bs=512", "count=1",
                             f"seek={size // 512 - 1}", "oflag=direct", "conv=notrunc")
    yield "ext4", lambda: filesystem("ext4", lab, device)
