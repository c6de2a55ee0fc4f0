# SPDX-License-Identifier: Apache-2.0
"""What was set out for the numbers, and what a measurement says of it."""

BASE = "towline"
FULL_PEERS = ("nbdcopy", "qemu-img", "cp")
MIB = 1 << 20
SIDE_BYTES_MAX = 64 * MIB


class Goal:
    """One quantity against its bound."""

    def __init__(self, work, says, bound, value, at_least=False):
        self.work = work
        self.says = says
        self.bound = bound
        self.value = value
        self.reached = value >= bound if at_least else value <= bound
        self._sign = ">=" if at_least else "<="

    def cells(self):
        return (self.work, self.says, f"{self._sign} {self.bound:g}", f"{self.value:.2f}",
                "yes" if self.reached else "**no**")

    def as_json(self):
        return {"work": self.work, "what": self.says, "wanted": f"{self._sign} {self.bound:g}",
                "is": self.value, "reached": self.reached}


def _find(rows, work, tool, field):
    for row in rows:
        if row["work"] == work and row["tool"] == tool:
            return row[field]
    return None


def _against(rows, goals, work, tool, field, says, bound):
    ours, theirs = _find(rows, work, BASE, field), _find(rows, work, tool, field)
    if ours is not None and theirs:
        goals.append(Goal(work, says, bound, ours / theirs))


def goals_of(rows):
    """Those that the rows say something about."""
    goals = []
    for work in dict.fromkeys(row["work"] for row in rows):
        if work.startswith(("inc-1-", "inc-10-")):
            _against(rows, goals, work, "qemu-bitmap", "wall_s", "wall, times QEMU's", 1.0)
            _against(rows, goals, work, "floor", "wall_s", "wall, times the floor's", 1.1)
            _against(rows, goals, work, "qemu-bitmap", "cpu_s", "CPU, times QEMU's", 0.6)
        if work == "full":
            peers = [peer for peer in FULL_PEERS if _find(rows, work, peer, "wall_s")]
            if peers:
                best = min(peers, key=lambda peer: _find(rows, work, peer, "wall_s"))
                _against(rows, goals, work, best, "wall_s", f"wall, times {best}'s, the best", 0.9)
            _against(rows, goals, work, "nbdcopy", "cpu_s", "CPU, times nbdcopy's", 0.5)
        if work == "scan-1":
            goals += _scan_goals(rows, work)
    peaks = [row["rss_max_bytes"] for row in rows if row["tool"] == BASE]
    if peaks:
        # Of both sides together: below the bound for one, each is.
        goals.append(Goal("all", "MiB at most, both sides", SIDE_BYTES_MAX / MIB,
                          max(peaks) / MIB))
    return goals


def _scan_goals(rows, work):
    ours = _find(rows, work, BASE, "wall_s")
    found = []
    for tool, says, bound in (("rsync", "times faster than rsync", 5.0),
                              ("floor", "of the floor's reading speed", 0.8)):
        theirs = _find(rows, work, tool, "wall_s")
        if ours and theirs:
            found.append(Goal(work, says, bound, theirs / ours, at_least=True))
    return found


def table(goals):
    lines = ["| work | what | wanted | is | reached |", "|---|---|--:|--:|---|"]
    lines += ["| " + " | ".join(goal.cells()) + " |" for goal in goals]
    return "\n".join([*lines, ""])


def markdown(rows):
    return table(goals_of(rows))
