# SPDX-License-Identifier: Apache-2.0
"""The rounds: each tool once a round, in an order that rotates, so that a slow minute of the
machine falls on all of them; and the medians over the rounds.

The wall of every tool includes the flush of its target, and its CPU that of flushing: whoever
leaves data in the page cache has not finished. Both ends' images are out of the cache before every
run.
"""

import statistics

from . import files
from .changes import INCREMENTS, ChangeSet
from .errors import say
from .hop import require_equal
from .tool import FULL, SCAN, Sample

ROUNDS = 5
ROUNDS_HEAVY = 3


def rounds_of(tool, work, asked):
    if asked is not None:
        return asked
    return ROUNDS_HEAVY if tool.heavy or work in (FULL, SCAN) else ROUNDS


def measure_work(lab, work, tools, rounds_asked):
    """Rows of medians, one for each tool."""
    changes = ChangeSet(work, lab.image, lab.size_bytes, lab.seed) if work in INCREMENTS else None
    list_path = lab.run_dir / f"{work}.list"
    if changes:
        changes.write_list(list_path)
        say(f"{work}: {changes.total_bytes >> 10} KiB in {len(changes.extents)} extents")
    rounds = {tool: rounds_of(tool, work, rounds_asked) for tool in tools}
    samples = {tool: [] for tool in tools}
    try:
        for tool in tools:
            tool.begin(work)
        for number in range(max(rounds.values())):
            due = [tool for tool in tools if number < rounds[tool]]
            _one_round(lab, work, due, changes, list_path, number, samples)
    finally:
        for tool in tools:
            tool.end()
    return [_row(work, tool, samples[tool]) for tool in tools]


def _one_round(lab, work, tools, changes, list_path, number, samples):
    if changes:
        lab.change_source(changes)
        for tool in tools:
            tool.changed(changes.extents)
    turn = number % len(tools)
    for tool in tools[turn:] + tools[:turn]:
        sample = _one_run(lab, work, tool, list_path, compare=number == 0)
        samples[tool].append(sample)
        say(f"{work} round {number + 1} {tool.name}: {sample.wall_s:.3f} s, "
            f"CPU {sample.cpu_s:.3f} s")


def _one_run(lab, work, tool, list_path, compare):
    tool.before_run(work)
    target = tool.target(work)
    files.forget(lab.source)
    if target.exists():
        files.forget(target)
    sample = tool.run(work, list_path)
    flush_wall, flush_cpu = files.flush(target)
    tool.after_run(work)
    if compare and tool.leaves_equal(work):
        require_equal(lab, target, f"{tool.name} ({work})")
    if work == FULL:
        files.remove(target)
    return Sample(sample.wall_s + flush_wall, sample.cpu_s + flush_cpu, sample.bytes_sent,
                  sample.rss_max_bytes)


def _row(work, tool, samples):
    def median(field):
        values = [getattr(sample, field) for sample in samples]
        return None if None in values else statistics.median(values)
    sent = median("bytes_sent")
    return {
        "work": work,
        "tool": tool.name,
        "wall_s": round(median("wall_s"), 6),
        "cpu_s": round(median("cpu_s"), 6),
        "bytes_sent": None if sent is None else int(sent),
        "rss_max_bytes": int(median("rss_max_bytes")),
    }
