# SPDX-License-Identifier: Apache-2.0
"""The results of tools/bench/vault for people and for docs/performance.md, and what they say of the
numbers that were set out."""

from . import page
from .goals import Goal
from .report import times_text
from .vault_store import FIRST, INCREMENTS, RESTORE, SCRUB

BASE = "vault"
PEERS = ("restic", "borg")
PAGE_MARK = "vault"
PLACES = ("--build", "--work-dir", "--page")
MIB = 1 << 20
HEADINGS = ("work", "tool", "wall s", "x", "CPU s", "x", "stored MiB", "peak MiB")
NOTE = ("x: times the vault's. Medians. The source is out of the cache before each run, for restore and "
        "scrub what is stored is too; a sync of the filesystem is in the wall. Stored is what the run "
        "added. restic encrypts always, borg and the vault here do not; vault-aes does. reflink shares "
        "its blocks with the source and is lost with it; qcow2 keeps one state. disk is qemu-img's "
        "copy of the raw image (restore) and cat over the vault's objects (scrub).")


def _find(rows, work, tool, field):
    for row in rows:
        if row["work"] == work and row["tool"] == tool:
            return row[field]
    return None


def _cells(row, rows):
    def times(field):
        base = _find(rows, row["work"], BASE, field)
        return times_text(row[field] / base) if base else "-"
    stored = row["stored_bytes"]
    return (row["work"], row["tool"], f"{row['wall_s']:.3f}", times("wall_s"),
            f"{row['cpu_s']:.3f}", times("cpu_s"),
            "-" if stored is None else f"{stored / MIB:.1f}", f"{row['rss_max_bytes'] / MIB:.0f}")


class _Goals:
    def __init__(self, rows, figures):
        self.rows = rows
        self.figures = figures
        self.found = []

    def add(self, work, says, bound, value, at_least=False):
        self.found.append(Goal(work, says, bound, value, at_least))

    def ratio(self, work, field, says, bound, *, over, under=BASE, at_least=False):
        above, below = (_find(self.rows, work, tool, field) for tool in (over, under))
        if above is not None and below:
            self.add(work, says, bound, above / below, at_least)

    def figure(self, name, work, says, bound, scale=1.0, at_least=False):
        if name in self.figures:
            self.add(work, says, bound, self.figures[name] / scale, at_least)


def goals_of(rows, figures):
    goals = _Goals(rows, figures)
    for peer in PEERS:
        goals.ratio(FIRST, "wall_s", f"times faster than {peer}", 4, over=peer, at_least=True)
    goals.ratio(FIRST, "cpu_s", "CPU, times restic's", 1 / 3, over=BASE, under="restic")
    for peer in PEERS:
        goals.ratio(FIRST, "stored_bytes", f"size, times {peer}'s", 1.1, over=BASE, under=peer)
    goals.ratio(FIRST, "wall_s", "wall with AES-256-GCM, times without", 1.25, over="vault-aes")
    for work in INCREMENTS:
        goals.ratio(work, "wall_s", "wall, times the staged device target's", 1.2, over=BASE,
                    under="device")
        goals.ratio(work, "wall_s", "wall, times the direct device target's", 1.2, over=BASE,
                    under="device-direct")
        for peer in PEERS:
            goals.ratio(work, "wall_s", f"times faster than {peer}", 30, over=peer, at_least=True)
        goals.figure(f"{work} index bytes a block", work, "index bytes a changed block", 48)
    _reading_goals(goals)
    goals.figure("mount first byte s", "history", "ms from mount to the first byte", 200, 1e-3)
    goals.figure("mount peak bytes", "history", "MiB of the mount at most", 256, MIB)
    goals.figure("delete one point data bytes read", "history",
                 "KiB read of segments to delete a point", 0, 1024)
    return goals.found


def _reading_goals(goals):
    figures, rows = goals.figures, goals.rows
    data_bytes, codec = figures.get("data bytes"), figures.get("codec bytes/s")
    wall, disk = (_find(rows, RESTORE, tool, "wall_s") for tool in (BASE, "disk"))
    if wall and disk and codec:
        floor = max(disk, data_bytes / codec)
        goals.add(RESTORE, "of the codec's or the disk's speed", 0.8, floor / wall, True)
    wall, disk = (_find(rows, SCRUB, tool, "wall_s") for tool in (BASE, "disk"))
    if wall and disk:
        floor = max(disk, data_bytes / codec) if codec else disk
        goals.add(SCRUB, "of the disk's or the codec's speed", 0.8, floor / wall, True)
    if "mount sequential s" in figures and codec:
        goals.add("mount", "sequential, of the codec's speed", 0.5,
                  data_bytes / codec / figures["mount sequential s"], True)
    goals.figure("mount random IOPS", "mount", "random 4 KiB reads a second", 5000, at_least=True)


def _figure_lines(figures):
    return [(name, f"{value:,.3f}" if value < 100 else f"{value:,.0f}")
            for name, value in figures.items()]


def table(rows, figures):
    lines = [HEADINGS, *(_cells(row, rows) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    text = []
    for number, line in enumerate(lines):
        if number and line[0] != lines[number - 1][0]:
            text.append("")
        left = (cell.ljust(width) for cell, width in zip(line[:2], widths))
        right = (cell.rjust(width) for cell, width in zip(line[2:], widths[2:]))
        text.append("  ".join([*left, *right]).rstrip())
    text += ["", *(f"{name}: {value}" for name, value in _figure_lines(figures)), ""]
    for goal in goals_of(rows, figures):
        work, says, bound, value, reached = goal.cells()
        text.append(f"{work}: {says}: wanted {bound}, is {value}: {reached.strip('*')}")
    return "\n".join(text)


def markdown(rows, figures):
    lines = [page.conditions("tools/bench/vault", PLACES), "",
             "| " + " | ".join(HEADINGS) + " |", "|---|---|--:|--:|--:|--:|--:|--:|"]
    lines += ["| " + " | ".join(_cells(row, rows)) + " |" for row in rows]
    lines += ["", NOTE, "", "| figure | |", "|---|--:|"]
    lines += [f"| {name} | {value} |" for name, value in _figure_lines(figures)]
    lines += ["", "Against what was set out:", "",
              "| work | what | wanted | is | reached |", "|---|---|--:|--:|---|"]
    lines += ["| " + " | ".join(goal.cells()) + " |" for goal in goals_of(rows, figures)]
    return "\n".join([*lines, ""])
