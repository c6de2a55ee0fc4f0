# SPDX-License-Identifier: Apache-2.0
"""A long history that anyone can make: a sparse volume of 1 TiB, and points that each changed a few
blocks anywhere in it. What is measured is what grows with size and history: opening, memory,
retention. The blocks are mostly zeros, so that all of it takes little room."""

import json
import os
import random
import re
import statistics
import struct
import subprocess
import time

from . import vault_mount
from .errors import BenchError, say
from .process import run_command
from .vault_store import forget_tree

VOLUME_BYTES = 1 << 40
BLOCK_BYTES = 64 << 10
FIRST_BLOCKS = 4096
CHANGED_BLOCKS = 64
POINTS, POINTS_QUICK = 500, 40
MOUNTS = 5
DELETES = 3
READS = 4096


class History:
    def __init__(self, lab, point_count):
        self._lab = lab
        self._source = lab.run_dir / "history.raw"
        self._vault = lab.run_dir / "history-vault"
        self._list = lab.run_dir / "history.list"
        self._random = random.Random(lab.seed)
        self._blocks = []
        self._point_count = point_count

    def _towline(self, *words):
        return run_command(self._lab, [self._lab.program("towline"), *words])

    def _target(self):
        return f"vault:{self._vault}/data"

    def make(self):
        say(f"a volume of 1 TiB with {self._point_count} points")
        with open(self._source, "wb") as file:
            file.truncate(VOLUME_BYTES)
        self._towline("vault", "init", self._vault, "--quiet")
        self._blocks = self._random.sample(range(VOLUME_BYTES // BLOCK_BYTES), FIRST_BLOCKS)
        self._write(self._blocks)
        self._sync("--full")
        for number in range(1, self._point_count):
            # Half of them again, half where nothing was.
            again = self._random.sample(self._blocks, CHANGED_BLOCKS // 2)
            new = self._random.sample(range(VOLUME_BYTES // BLOCK_BYTES), CHANGED_BLOCKS // 2)
            changed = sorted(set(again + new))
            self._blocks += new
            self._write(changed)
            self._list.write_text("".join(f"{block * BLOCK_BYTES} {BLOCK_BYTES}\n"
                                          for block in changed))
            self._sync("--extents", self._list)
            if number % 100 == 0:
                say(f"  {number} points")

    def _write(self, blocks):
        with open(self._source, "r+b") as file:
            for block in blocks:
                stamp = struct.pack("<QQ", block, self._random.getrandbits(64)) * 64
                os.pwrite(file.fileno(), stamp.ljust(BLOCK_BYTES, b"\0"), block * BLOCK_BYTES)

    def _sync(self, *words):
        self._towline("sync", self._source, self._target(), "--state-dir",
                      self._lab.run_dir / "history-state", "--quiet", *words)

    def _points(self):
        return json.loads(self._towline("point", "list", self._target(), "--json").output)["points"]

    def measure(self, figures):
        latest = f"{self._target()}@latest"
        offset = self._blocks[0] * BLOCK_BYTES
        seconds = []
        for _ in range(MOUNTS):
            forget_tree(self._vault)
            seconds.append(vault_mount.first_byte_seconds(self._lab, latest, offset))
        figures["mount first byte s"] = statistics.median(seconds)
        with vault_mount.Mounted(self._lab, latest) as mounted:
            self._read_at_random(mounted.path)
            figures["mount peak bytes"] = mounted.memory_peak_bytes()
        self._measure_deletes(figures)

    def _read_at_random(self, path):
        """Over all of the volume, every block as the source has it."""
        with open(path, "rb") as mounted, open(self._source, "rb") as source:
            for block in self._random.sample(self._blocks, min(READS, len(self._blocks))):
                at = block * BLOCK_BYTES
                if os.pread(mounted.fileno(), BLOCK_BYTES, at) != os.pread(
                        source.fileno(), BLOCK_BYTES, at):
                    raise BenchError(f"the mounted point differs from its source at byte {at}")

    def _measure_deletes(self, figures):
        points = [point["id"] for point in self._points()]
        chosen = self._random.sample(points[1:-1], DELETES + 1)
        seconds = []
        for point in chosen[1:]:
            forget_tree(self._vault)
            seconds.append(self._towline("point", "delete",
                                         f"{self._target()}@{point}").wall_s)
        figures["delete one point s"] = statistics.median(seconds)
        # Tracing takes time, so it has a delete of its own.
        forget_tree(self._vault)
        figures["delete one point data bytes read"] = self._traced_data_bytes(chosen[0])
        if len(self._points()) != len(points) - len(chosen):
            raise BenchError("a deleted point is still there")

    def _traced_data_bytes(self, point):
        """What is read of segments but their ends, which say what lies in them."""
        trace = self._lab.run_dir / "delete.trace"
        self._towline_traced(trace, point)
        total = 0
        with open(trace) as lines:
            for line in lines:
                if "/segment/" in line and (found := re.search(r"\) += (\d+)$", line)):
                    total += int(found.group(1))
        return total

    def _towline_traced(self, trace, point):
        done = subprocess.run(["strace", "-f", "-y", "-o", trace, "-e",
                               "trace=read,pread64,readv,preadv,preadv2",
                               self._lab.program("towline"), "point", "delete",
                               f"{self._target()}@{point}"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            raise BenchError(f"point delete failed: {done.stderr.strip()}")


def measure(lab, point_count, figures):
    history = History(lab, point_count)
    begin = time.perf_counter()
    history.make()
    figures["history made s"] = time.perf_counter() - begin
    history.measure(figures)
