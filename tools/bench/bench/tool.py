# SPDX-License-Identifier: Apache-2.0
"""What every measured tool is to the measurement.

A tool keeps one replica across the incremental works, and gets a fresh target for every full copy.
Only run() is measured; everything before and after it is preparation.
"""

import shutil
from dataclasses import dataclass

from . import files
from .errors import BenchError
from .hop import copy_image

FULL = "full"
SCAN = "scan-1"
INCREMENTAL = ("inc-0.1-random", "inc-1-random", "inc-10-random", "inc-1-clustered",
               "inc-10-clustered")
WORKS = (FULL, *INCREMENTAL, SCAN)


@dataclass
class Sample:
    wall_s: float
    cpu_s: float
    bytes_sent: int | None
    rss_max_bytes: int


class Tool:
    name = ""
    # Program -> Debian package that brings it.
    needs = {}
    works = ()
    # Slow enough that fewer rounds do.
    heavy = False

    def __init__(self, lab):
        self.lab = lab
        self.replica = lab.run_dir / f"{self.name}.raw"
        self.fresh = lab.run_dir / f"{self.name}-full.raw"
        self._generation = None

    def require_programs(self):
        for program, package in self.needs.items():
            if shutil.which(program) is None:
                raise BenchError(f"{self.name} needs the program {program}: install the package "
                                 f"{package}, or leave the tool out with --tools")

    def target(self, work):
        return self.fresh if work == FULL else self.replica

    def begin(self, work):
        """Before the first round of a work: the replica equals the source."""
        if work == FULL:
            return
        if self._generation is None:
            self.make_replica()
        elif self._generation != self.lab.generation:
            self.catch_up()
        self._generation = self.lab.generation
        self.start(work)

    def make_replica(self):
        copy_image(self.lab, self.lab.source, self.replica)

    def catch_up(self):
        changed = self.lab.changed_since(self._generation)
        files.copy_extents(self.lab.source, self.replica, changed)

    def start(self, work):
        """Starts what stays over the rounds of a work."""

    def changed(self, extents):
        """The source has changed there; for tools that must see it happen."""

    def before_run(self, work):
        if work == FULL:
            files.make_sparse(self.fresh, self.lab.size_bytes)

    def run(self, work, list_path):
        raise NotImplementedError

    def after_run(self, work):
        """Ends what before_run() started; the target stays until it has been compared."""
        if work != FULL:
            self._generation = self.lab.generation

    def leaves_equal(self, work):
        """Whether the target must equal the source after run()."""
        return True

    def end(self):
        """Ends whatever still runs; may be called more than once."""
