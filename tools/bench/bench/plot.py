# SPDX-License-Identifier: Apache-2.0
"""The results as an SVG: for each work a group of bars for the wall and one for the CPU.

Every group has a scale of its own, since a full copy takes a hundred times a small increment; what
is compared is the tools within a group, and the figures stand beside the bars. A bar that would
dwarf the others is cut, and shows it.
"""

import textwrap
from html import escape

from .report import BASE, ratio, times_text

COLOURS = {"towline": "#1f6f8b", "qemu-bitmap": "#d9822b", "nbdcopy": "#8a63b0",
           "qemu-img": "#5b8c5a", "cp": "#7d6b58", "rsync": "#c04f4f", "floor": "#c9c9c9"}
PANELS = (("wall_s", "wall"), ("cpu_s", "CPU, both sides"))
LABEL_WIDTH, BAR_WIDTH, VALUE_WIDTH = 96, 230, 112
PANEL_WIDTH = LABEL_WIDTH + BAR_WIDTH + VALUE_WIDTH
CAPTION_CHARACTERS = 140
# A bar ends at this many times the base's (or the shortest's).
TIMES_MAX = 6
BAR_HEIGHT, BAR_STEP, GROUP_GAP, TOP, LEFT = 13, 18, 34, 56, 16


def _text(x, y, words, size=11, anchor="start", weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{escape(words)}</text>')


def _seconds(value):
    if value >= 1:
        return f"{value:.2f} s"
    return f"{value * 1000:.0f} ms" if value >= 0.1 else f"{value * 1000:.1f} ms"


def _scale(own, field):
    """The value at which a bar is as long as it may be."""
    base = [row[field] for row in own if row["tool"] == BASE] or [min(row[field] for row in own)]
    return min(max(row[field] for row in own), TIMES_MAX * base[0]) or 1.0


def _cut(x, y):
    """The mark of a bar that goes on: a white stroke across it."""
    return (f'<path d="M{x:.1f} {y + BAR_HEIGHT} l6 -{BAR_HEIGHT}" stroke="white" '
            'stroke-width="3"/>')


def _bar(row, rows, field, longest, x, y):
    width = min(BAR_WIDTH, max(1.0, BAR_WIDTH * row[field] / longest))
    times = ratio(row, rows, field)
    value = _seconds(row[field])
    if times is not None and row["tool"] != BASE:
        value += f", {times_text(times)}x"
    weight = "bold" if row["tool"] == BASE else "normal"
    base_line = y + BAR_HEIGHT - 3
    parts = [_text(x + LABEL_WIDTH - 6, base_line, row["tool"], anchor="end", weight=weight),
             f'<rect x="{x + LABEL_WIDTH}" y="{y}" width="{width:.1f}" height="{BAR_HEIGHT}" '
             f'fill="{COLOURS.get(row["tool"], "#777777")}"/>',
             _text(x + LABEL_WIDTH + width + 5, base_line, value, weight=weight)]
    if row[field] > longest:
        parts.append(_cut(x + LABEL_WIDTH + width * 0.9, y))
    return parts


def _group(work, rows, y):
    """One work: its name, and the bars of both panels."""
    own = [row for row in rows if row["work"] == work]
    parts = [_text(LEFT, y - 8, work, size=13, weight="bold")]
    for number, (field, _) in enumerate(PANELS):
        longest = _scale(own, field)
        x = LEFT + number * PANEL_WIDTH
        for place, row in enumerate(own):
            parts += _bar(row, rows, field, longest, x, y + place * BAR_STEP)
    return parts, y + len(own) * BAR_STEP + GROUP_GAP


def svg(rows, caption):
    works = list(dict.fromkeys(row["work"] for row in rows))
    parts = []
    for number, (_, title) in enumerate(PANELS):
        x = LEFT + number * PANEL_WIDTH + LABEL_WIDTH
        parts.append(_text(x, 22, title, size=13, weight="bold"))
    y = TOP
    for work in works:
        group, y = _group(work, rows, y)
        parts += group
    for line in textwrap.wrap(caption, CAPTION_CHARACTERS):
        parts.append(_text(LEFT, y, line, size=10))
        y += BAR_HEIGHT
    width, height = LEFT * 2 + PANEL_WIDTH * len(PANELS), y
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="sans-serif">\n'
            '<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n")
