# SPDX-License-Identifier: Apache-2.0
"""The works that stores do side by side: each store once a round, in an order that rotates.

The wall of each includes a sync of the filesystem that it wrote to; the source is out of the cache
before every run.
"""

import os
import re
import statistics
import subprocess
import time

from . import files
from .changes import ChangeSet
from .errors import BenchError, say
from .hop import require_equal
from .process import run_command
from .vault_store import FIRST, INCREMENTS, RESTORE, SCRUB, forget_tree

BLOCK_BYTES = 64 << 10


def sync_filesystem(path):
    begin = time.perf_counter()
    subprocess.run(["sync", "--file-system", path], check=True)
    return time.perf_counter() - begin


class Samples:
    """Of one work: medians a store, in the order in which stores were first seen."""

    def __init__(self, work):
        self.work = work
        self._costs = {}
        self._stored = {}

    def add(self, name, cost, wall_s, stored_bytes=None):
        self._costs.setdefault(name, []).append((wall_s, cost.cpu_s, cost.rss_max_bytes))
        self._stored[name] = stored_bytes
        say(f"{self.work} {name}: {wall_s:.3f} s, CPU {cost.cpu_s:.3f} s")

    def rows(self):
        return [self._row(name, costs) for name, costs in self._costs.items()]

    def _row(self, name, costs):
        wall, cpu, rss = (statistics.median(column) for column in zip(*costs))
        return {"work": self.work, "tool": name, "wall_s": round(wall, 6), "cpu_s": round(cpu, 6),
                "stored_bytes": self._stored[name], "rss_max_bytes": int(rss)}


def _rotated(stores, number):
    turn = number % len(stores)
    return stores[turn:] + stores[:turn]


def _measured(lab, action):
    """The cost of what `action` does, and its wall with the sync behind it."""
    files.forget(lab.source)
    sync_filesystem(lab.run_dir)
    cost = action()
    return cost, cost.wall_s + sync_filesystem(lab.run_dir)


def first(lab, stores, rounds):
    samples = Samples(FIRST)
    for number in range(rounds):
        for store in _rotated(stores, number):
            store.renew()
            cost, wall_s = _measured(lab, store.first)
            store.has_increment()
            samples.add(store.name, cost, wall_s, store.stored_bytes())
    return samples.rows()


def increment(lab, work, stores, rounds, figures):
    changes = ChangeSet(work, lab.image, lab.size_bytes, lab.seed)
    list_path = lab.run_dir / f"{work}.list"
    changes.write_list(list_path)
    samples = Samples(work)
    for store in stores:
        store.catch_up()
    for number in range(rounds):
        lab.change_source(changes)
        for store in _rotated(stores, number):
            before = store.objects() if store.name == "vault" else None
            stored_before = store.stored_bytes()
            cost, wall_s = _measured(lab, lambda: store.increment(list_path))
            store.has_increment()
            samples.add(store.name, cost, wall_s, max(0, store.stored_bytes() - stored_before))
            if before is not None:
                figures[f"{work} index bytes a block"] = _index_bytes(store, before, changes)
    return samples.rows()


def _index_bytes(vault, before, changes):
    """All that the run has put beside the stored blocks, a changed block."""
    new = {name: size for name, size in vault.objects().items() if name not in before}
    blocks_bytes = vault.points()[-1]["volumes"][0]["stored_bytes"]
    beside = sum(size for name, size in new.items() if name.parts[0] != "log") - blocks_bytes
    return beside / (changes.total_bytes / BLOCK_BYTES)


def restore(lab, stores, rounds):
    samples = Samples(RESTORE)
    target = lab.run_dir / "restored" / "image.raw"
    target.parent.mkdir()
    for store in stores:
        store.catch_up()
    for number in range(rounds):
        for store in _rotated(stores, number):
            forget_tree(store.root)
            cost, wall_s = _measured(lab, lambda: store.restore(target))
            samples.add(store.name, cost, wall_s)
            if number == 0:
                require_equal(lab, target, f"{store.name} (restore)")
            files.remove(target)
        cost, wall_s = _measured(lab, lambda: _plain_copy(lab, target))
        samples.add("disk", cost, wall_s)
        files.remove(target)
    return samples.rows()


def _plain_copy(lab, target):
    """What the disk alone needs for reading and writing as much."""
    return run_command(lab, ["qemu-img", "convert", "-t", "none", "-T", "none", "-W", "-m", "16",
                             "-O", "raw", lab.source, target])


def scrub(lab, stores, rounds):
    samples = Samples(SCRUB)
    for store in stores:
        store.catch_up()
    for number in range(rounds):
        for store in _rotated(stores, number):
            forget_tree(store.root)
            cost = store.scrub()
            samples.add(store.name, cost, cost.wall_s, store.stored_bytes())
            if store.name == "vault":
                forget_tree(store.root)
                read = ["sh", "-c", 'find "$1" -type f -exec cat {} + >/dev/null', "sh", store.root]
                cost = run_command(lab, read)
                samples.add("disk", cost, cost.wall_s, store.stored_bytes())
    return samples.rows()


def codec_speed(lab, level):
    """Plain bytes a second that zstd itself decodes of this image, one thread, blocks of 64 KiB."""
    sample = lab.run_dir / "sample"
    files.make_sparse(sample, 0)
    wanted = min(256 << 20, lab.size_bytes // 4)
    with open(lab.source, "rb") as reader, open(sample, "wb") as writer:
        for offset, length in files.data_extents(lab.source):
            while length > 0 and wanted > 0:
                piece = os.pread(reader.fileno(), min(length, wanted, 4 << 20), offset)
                writer.write(piece)
                offset, length, wanted = offset + len(piece), length - len(piece), wanted - len(piece)
    out = subprocess.run(["zstd", f"-b{level}", "-i2", f"-B{BLOCK_BYTES}", sample],
                         capture_output=True, text=True, check=True)
    files.remove(sample)
    speeds = re.findall(r"[0-9.]+ MB/s, +([0-9.]+) MB/s", out.stdout + out.stderr)
    if not speeds:
        raise BenchError("zstd -b printed no speeds")
    return float(speeds[-1]) * 1e6


WORKS = (FIRST, *INCREMENTS, RESTORE, SCRUB)
