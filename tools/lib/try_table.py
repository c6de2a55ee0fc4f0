#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints a table of runs from what `towline sync --json` said of each.

usage: try_table.py NAME=FILE...
"""
import json
import sys

MIB = 1024 * 1024


def row(argument):
    name, _, path = argument.partition("=")
    with open(path, encoding="utf-8") as file:
        run = json.load(file)
    return (
        name,
        f"{run['bytes_total'] / MIB:.1f}",
        f"{run['bytes_changed'] / MIB:.1f}",
        f"{run['bytes_sent'] / MIB:.1f}",
        f"{run['seconds']:.2f}",
        run["engine"],
        run["codec"],
    )


def main():
    heads = ("run", "volume MiB", "changed MiB", "sent MiB", "seconds", "engine", "codec")
    rows = [heads] + [row(argument) for argument in sys.argv[1:]]
    widths = [max(len(cells[i]) for cells in rows) for i in range(len(heads))]
    for cells in rows:
        print("  ".join(
            cell.ljust(width) if i in (0, 5, 6) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths))).rstrip())


if __name__ == "__main__":
    main()
