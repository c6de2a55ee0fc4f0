# SPDX-License-Identifier: Apache-2.0
"""What is on a disk after its power was cut: QEMU's blklogwrites notes each write and flush of a
boot, and any moment of it can be made into a disk. What was flushed is there; of what was not, some
writes are, some are not, and some are torn between two sectors."""

import struct
from collections import deque
from dataclasses import dataclass

SECTOR = 512
LOG_MAGIC = 0x6a736677736872
FLUSH, FUA, DISCARD = 1, 2, 4
LOG_BYTES = 1 << 30  # sparse


@dataclass
class Entry:
    sector: int
    count: int
    flags: int
    data_at: int


class WriteLog:
    """The entries of a disk's log, in the order in which they were complete."""

    def __init__(self, path):
        self.path = path
        self.entries = []
        with open(path, "rb") as file:
            magic, version, count, sector_size = struct.unpack("<QQQI", file.read(28))
            assert magic == LOG_MAGIC and version == 1 and sector_size == SECTOR, (magic, version)
            at = SECTOR
            for _ in range(count):
                file.seek(at)
                sector, length, flags, _ = struct.unpack("<QQQQ", file.read(32))
                self.entries.append(Entry(sector, length, flags, at + SECTOR))
                at += SECTOR + (0 if flags & DISCARD else length * SECTOR)

    def data(self, entry):
        if entry.flags & DISCARD:
            return bytes(entry.count * SECTOR)
        with open(self.path, "rb") as file:
            file.seek(entry.data_at)
            return file.read(entry.count * SECTOR)

    def seals(self, sector):
        """{number: index behind the entry} of the single sectors that were written there."""
        return {struct.unpack("<Q", self.data(entry)[:8])[0]: index + 1
                for index, entry in enumerate(self.entries)
                if entry.sector == sector and entry.count == 1}

    def touches(self, index, ranges):
        """Whether an entry writes into one of these (first byte, end) ranges."""
        entry = self.entries[index]
        first, end = entry.sector * SECTOR, (entry.sector + entry.count) * SECTOR
        return entry.count and any(first < to and end > start for start, to in ranges)

    def durable_before(self, index):
        """How many of the entries before this one a flush made durable."""
        for at in range(index - 1, -1, -1):
            if self.entries[at].flags & FLUSH:
                return at
        return 0

    def replay(self, disk, before, random=None):
        """Onto a copy of the disk as it was. Without `random` nothing is lost."""
        durable = self.durable_before(before) if random else before
        with open(disk, "r+b") as file:
            for index, entry in enumerate(self.entries[:before]):
                if index < durable:
                    write_sectors(file, entry, self.data(entry), range(entry.count))
                elif random:
                    write_sectors(file, entry, self.data(entry), survivors(entry, random))


@dataclass
class Part:
    """Of a disk whose log `order` has what is written to all parts of it, in order. The part's own log
    tells which flushes are its own; `order` does not say whose they are."""
    log: WriteLog
    order: WriteLog
    start: int
    end: int

    def replay(self, disk, at, random):
        """As the part was when `order` had `at` entries, onto a copy of the whole. How many entries
        its own log had then. What only one of the logs has by then was under way, and nobody knew
        that it was complete. A last flush that may have been ours was."""
        here = {}
        last = -1
        for index, entry in enumerate(self.order.entries[:at]):
            if entry.count and self.start <= entry.sector * SECTOR < self.end:
                key = entry.sector - self.start // SECTOR, entry.count
                here.setdefault(key, deque()).append(index)
                last = index
        written, count, flushed, flushed_before_last = [], 0, 0, 0
        for index, entry in enumerate(self.log.entries):
            if not entry.count:
                flushed = len(written)
                continue
            if not here.get((entry.sector, entry.count)):
                break
            flushed_before_last = flushed
            written.append(here[entry.sector, entry.count].popleft())
            count = index + 1
        if not any(entry.flags & FLUSH for entry in self.order.entries[last + 1:at]):
            flushed = flushed_before_last
        durable = set(written[:flushed])
        # Of two writes to one place at once the disk has what `order` has last.
        with open(disk, "r+b") as file:
            for index in sorted(written):
                entry = self.order.entries[index]
                write_sectors(file, entry, self.order.data(entry),
                              range(entry.count) if index in durable else survivors(entry, random))
        return count


def survivors(entry, random):
    """Half of the writes are there or not there as a whole, the others sector by sector."""
    kind = random.randrange(4)
    if kind < 2:
        return range(entry.count if kind else 0)
    return [sector for sector in range(entry.count) if random.randrange(2)]


def write_sectors(file, entry, data, sectors):
    if len(sectors) == entry.count:
        file.seek(entry.sector * SECTOR)
        file.write(data)
        return
    for sector in sectors:
        file.seek((entry.sector + sector) * SECTOR)
        file.write(data[sector * SECTOR:(sector + 1) * SECTOR])
