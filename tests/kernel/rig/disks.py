# SPDX-License-Identifier: Apache-2.0
"""Disks as the host makes them: filesystems that leave the random bytes around them alone (a zeroed
block is a change then), and partitions."""

from .builds import run
from .changes import MIB

FORMATS = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K"],
    "btrfs": ["mkfs.btrfs", "-q", "-f", "-K"],
}
PARTITION_START = 1 * MIB


def format_disk(path, kind):
    run([*FORMATS[kind], path])


def partition(path, size):
    """One Linux partition of `size` bytes, at PARTITION_START."""
    table = f"label: dos\nstart={PARTITION_START // 512}, size={size // 512}, type=83\n"
    table_file = path.with_suffix(".sfdisk")
    table_file.write_text(table, encoding="ascii")
    run(["sh", "-c", f"sfdisk --quiet --wipe never '{path}' <'{table_file}'"])


def format_partition(path, kind, size):
    """The filesystem is made beside it and put in its place."""
    part = path.with_suffix(".partition")
    with open(part, "wb") as file:
        file.truncate(size)
    format_disk(part, kind)
    run(["dd", f"if={part}", f"of={path}", "bs=1M", f"seek={PARTITION_START // MIB}",
         "conv=notrunc,sparse"])
    part.unlink()
