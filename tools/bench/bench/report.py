# SPDX-License-Identifier: Apache-2.0
"""The results as a table for people and as Markdown for docs/performance.md."""

from . import goals, page

BASE = "towline"
PLACES = ("--build", "--work-dir", "--svg", "--markdown", "--page")
PAGE_MARK = "compare"
HEADINGS = ("work", "tool", "wall s", "x", "CPU s", "x", "sent MiB", "peak MiB")


def ratio(row, rows, field):
    """How many times the base's value this is; None without a base or where that is zero."""
    for other in rows:
        if other["work"] == row["work"] and other["tool"] == BASE and other[field]:
            return row[field] / other[field]
    return None


def times_text(value):
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _cells(row, rows):
    def times(field):
        value = ratio(row, rows, field)
        return "-" if value is None else times_text(value)
    sent = row["bytes_sent"]
    return (row["work"], row["tool"], f"{row['wall_s']:.3f}", times("wall_s"),
            f"{row['cpu_s']:.3f}", times("cpu_s"),
            "-" if sent is None else f"{sent / 2**20:.1f}", f"{row['rss_max_bytes'] / 2**20:.0f}")


def table(rows):
    lines = [HEADINGS, *(_cells(row, rows) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    text = []
    previous = None
    for line in lines:
        if previous is not None and line[0] != previous:
            text.append("")
        previous = line[0]
        left = (cell.ljust(width) for cell, width in zip(line[:2], widths))
        right = (cell.rjust(width) for cell, width in zip(line[2:], widths[2:]))
        text.append("  ".join([*left, *right]).rstrip())
    return "\n".join(text) + f"\n\nx: times {BASE}'s. " + NOTE


NOTE = ("Medians. Image caches empty before each run; the flush of the target is in the wall.\n"
        "Peak is the sum of both sides. No tool compresses unless --towline-args says so. cp and qemu-img copy from file to file, without a network.")


def conditions():
    return page.conditions("tools/bench/compare", PLACES)


def markdown(rows):
    lines = [conditions(), "",
             "| work | tool | wall s | x | CPU s | x | sent MiB | peak MiB |",
             "|---|---|--:|--:|--:|--:|--:|--:|"]
    lines += ["| " + " | ".join(_cells(row, rows)) + " |" for row in rows]
    lines += ["", f"x: times {BASE}'s. " + NOTE.replace("\n", " "), "",
              "Against what was set out:", "", goals.markdown(rows)]
    return "\n".join(lines)
