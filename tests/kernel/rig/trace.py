# SPDX-License-Identifier: Apache-2.0
"""QEMU's own record of each write that reached a disk: the truth from outside of the guest. A
guest's `mark N` is a write to a disk of its own, so that the record says what came before it.

Discards and write-zeroes are not in it: for those, images are compared (changes.py)."""

import re

EVENTS = ("virtio_blk_handle_read", "virtio_blk_handle_write")
LINE = re.compile(r"virtio_blk_handle_(read|write) vdev (0x[0-9a-f]+) req 0x[0-9a-f]+ "
                  r"sector (\d+) nsectors (\d+)")
SECTOR = 512
SIGNATURE_FIRST = 1001  # as guest/disk.cpp reads


class Trace:
    def __init__(self, text, names):
        """`names`: the disks in the order of /dev/vda, vdb, ..."""
        self.events = []  # (disk, first byte, bytes), and ("", N, 0) for a mark
        disks = {}
        for kind, vdev, sector, count in LINE.findall(text):
            sector, count = int(sector), int(count)
            if kind == "read":
                place = (sector - SIGNATURE_FIRST) // 2
                if count == 1 and vdev not in disks and 0 <= place < len(names):
                    disks.setdefault(vdev, names[place])
                continue
            if disks.get(vdev) == "marks":
                self.events.append(("", sector, 0))
            else:
                self.events.append((disks.get(vdev, vdev), sector * SECTOR, count * SECTOR))
        self.known = set(disks.values())

    def writes(self, disk, after=None, before=None):
        """(first byte, bytes) of each write to the disk between two marks (None: the boot's end)."""
        assert disk in self.known, f"the trace does not know {disk}, only {self.known}"
        within, found, seen = after is None, [], set()
        for name, first, length in self.events:
            if name == "":
                seen.add(first)
                within = (within or first == after) and first != before
            elif within and name == disk:
                found.append((first, length))
        assert {after, before} - {None} <= seen, f"marks in the trace: {seen}"
        return found


def blocks_of(writes, block, shift=0, end=None):
    """The blocks that these writes touch; `shift` bytes are before the volume on its disk,
    and it ends after `end` bytes of its own."""
    touched = set()
    for first, length in writes:
        first, last = first - shift, first - shift + length
        if last <= 0 or (end is not None and first >= end):
            continue
        last = last if end is None else min(last, end)
        touched.update(range(max(0, first) // block, (last - 1) // block + 1))
    return touched
