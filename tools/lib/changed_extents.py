#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints where two images of one size differ, a line "OFFSET LENGTH" a run of 64 KiB blocks.

usage: changed_extents.py BEFORE AFTER
What a tracker would know; here, for a demonstration, it is found by comparing.
"""
import sys

BLOCK = 64 * 1024


def changed_runs(before, after):
    start = None
    offset = 0
    while True:
        old, new = before.read(BLOCK), after.read(BLOCK)
        if old != new and start is None:
            start = offset
        if old == new and start is not None:
            yield start, offset - start
            start = None
        if not new:
            return
        offset += len(new)


def main():
    with open(sys.argv[1], "rb") as before, open(sys.argv[2], "rb") as after:
        for offset, length in changed_runs(before, after):
            print(offset, length)


if __name__ == "__main__":
    main()
