# SPDX-License-Identifier: Apache-2.0
"""What truly changed, block by block, against what the module's map says."""

from dataclasses import dataclass, field

KIB = 1024
MIB = 1024 * 1024


def blocks_different(before, after, block, start=0, length=None):
    """Compares two raw images (from `start`, `length` bytes of them)."""
    different, number = set(), 0
    with open(before, "rb") as one, open(after, "rb") as other:
        one.seek(start)
        other.seek(start)
        left = length
        while left is None or left > 0:
            want = block if left is None else min(block, left)
            old, new = one.read(want), other.read(want)
            if not old and not new:
                break
            if old != new:
                different.add(number)
            number += 1
            left = None if left is None else left - want
    return different


def blocks_marked(bitmap, blocks):
    """The bits of a map as the module hands it out: least significant first."""
    found = set()
    for at, byte in enumerate(bitmap):
        while byte:
            bit = byte & -byte
            found.add(at * 8 + bit.bit_length() - 1)
            byte ^= bit
    assert all(each < blocks for each in found), "marks behind the end of the volume"
    return found


@dataclass
class Finding:
    """One comparison: what a user would lose is `missed`."""
    changed: set
    marked: set
    missed: set = field(init=False)
    surplus: set = field(init=False)

    def __post_init__(self):
        self.missed = self.changed - self.marked
        self.surplus = self.marked - self.changed

    def __str__(self):
        return (f"{len(self.changed)} blocks changed, {len(self.marked)} marked, "
                f"{len(self.missed)} missed {sorted(self.missed)[:8]}, "
                f"{len(self.surplus)} more than changed {sorted(self.surplus)[:8]}")
