#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints a table of runs from what `towline sync --json` said of each.

usage: try_table.py [--moments] NAME=FILE...
"""
import json
import sys

MIB = 1024 * 1024


def row(argument, ends):
    name, _, path = argument.partition("=")
    with open(path, encoding="utf-8") as file:
        run = json.load(file)
    run["freeze_ms"] = f"{run['freeze_seconds'] * 1000:.0f}"
    return (
        name,
        f"{run['bytes_total'] / MIB:.1f}",
        f"{run['bytes_changed'] / MIB:.1f}",
        f"{run['bytes_sent'] / MIB:.1f}",
        f"{run['seconds']:.2f}",
        *(str(run[key]) for key, _ in ends),
    )


ENGINES = (("engine", "engine"), ("codec", "codec"))
MOMENTS = (("cause", "cause"), ("tracker", "tracker"), ("label", "label"), ("freeze_ms", "frozen ms"))


def main():
    moments = sys.argv[1:2] == ["--moments"]
    ends = MOMENTS if moments else ENGINES
    heads = ("run", "volume MiB", "changed MiB", "sent MiB", "seconds", *(head for _, head in ends))
    rows = [heads] + [row(argument, ends) for argument in sys.argv[1 + moments:]]
    widths = [max(len(cells[i]) for cells in rows) for i in range(len(heads))]
    for cells in rows:
        print("  ".join(
            cell.rjust(width) if 1 <= i <= 4 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths))).rstrip())


if __name__ == "__main__":
    main()
