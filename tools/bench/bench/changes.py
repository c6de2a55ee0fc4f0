# SPDX-License-Identifier: Apache-2.0
"""What changes on the source between two runs.

A work's change set is a fixed list of 64 KiB blocks, chosen by the seed among those that hold data;
every round writes fresh contents into it. So each tool always finds its replica one generation
behind the source, which is what an incremental run finds in real life, and nothing has to be reset.
"""

import os
import random
import struct

from . import files

BLOCK_BYTES = 64 * 1024
CLUSTER_BYTES = 4 << 20
POOL_BYTES = 8 << 20

# work -> (percent of the image that changes, size of what is chosen)
INCREMENTS = {
    "inc-0.1-random": (0.1, BLOCK_BYTES),
    "inc-1-random": (1.0, BLOCK_BYTES),
    "inc-10-random": (10.0, BLOCK_BYTES),
    "inc-1-clustered": (1.0, CLUSTER_BYTES),
    "inc-10-clustered": (10.0, CLUSTER_BYTES),
    "scan-1": (1.0, BLOCK_BYTES),
}


class ChangeSet:
    def __init__(self, work, image, size_bytes, seed):
        percent, unit_bytes = INCREMENTS[work]
        self._key = f"{seed}/{work}"
        count = max(1, round(size_bytes * percent / 100 / unit_bytes))
        units = _units_with_data(image, unit_bytes)
        chosen = random.Random(self._key).sample(units, min(count, len(units)))
        self.extents = _joined(sorted(chosen), unit_bytes)
        self.total_bytes = sum(length for _, length in self.extents)

    def write_list(self, path):
        """The change list as a tracker gives it: a line each, OFFSET LENGTH."""
        with open(path, "w") as listing:
            listing.writelines(f"{offset} {length}\n" for offset, length in self.extents)

    def write(self, path, generation):
        """Writes this generation's contents into the source and waits until they are durable."""
        source = random.Random(f"{self._key}/{generation}")
        pool = memoryview(_half_compressible_pool(source))
        starts = POOL_BYTES // 4096 - BLOCK_BYTES // 4096
        with open(path, "r+b") as file:
            for block in self._blocks():
                stamp = struct.pack("<QQ", generation, block)
                start = source.randrange(starts) * 4096
                piece = pool[start + len(stamp):start + BLOCK_BYTES]
                os.pwritev(file.fileno(), [stamp, piece], block)
            os.fsync(file.fileno())

    def _blocks(self):
        for offset, length in self.extents:
            yield from range(offset, offset + length, BLOCK_BYTES)


def _units_with_data(image, unit_bytes):
    """Offsets of the aligned units that lie wholly in data."""
    units = []
    for offset, length in files.data_extents(image):
        first = -(-offset // unit_bytes)
        last = (offset + length) // unit_bytes
        units.extend(unit * unit_bytes for unit in range(first, last))
    return units


def _joined(offsets, unit_bytes):
    extents = []
    for offset in offsets:
        if extents and sum(extents[-1]) == offset:
            extents[-1] = (extents[-1][0], extents[-1][1] + unit_bytes)
        else:
            extents.append((offset, unit_bytes))
    return extents


def _half_compressible_pool(source):
    """Every 4 KiB half noise and half text, so that a codec has something to find."""
    text = b"".join(b"%08x: the quick brown fox, replicated\n" % line for line in range(64))[:2048]
    noise = source.randbytes(POOL_BYTES // 2)
    return b"".join(noise[at:at + 2048] + text for at in range(0, len(noise), 2048))
