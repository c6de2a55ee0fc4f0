# SPDX-License-Identifier: Apache-2.0
"""Runs the test_* functions of a file on each kernel, the kernels side by side, each test in a rig of
its own (tools/lib/script_test.sh). Nothing is skipped: what cannot run here has failed.

A failed test's folder stays where TOWLINE_KERNEL_KEEP names one."""

import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import builds, kernels
from .machine import boot_guest, check
from .qemu import Disk

SEED_DEFAULT = 1
printing = threading.Lock()


def seed():
    return int(os.environ.get("TOWLINE_SEED", SEED_DEFAULT))


def count(default):
    """How many rounds: what a campaign asks for, else the sample that there is time for."""
    return int(os.environ.get("TOWLINE_COUNT", default))


def on_one_kernel(function):
    """A test that is the kernel's own code more than ours, and long: the seed says on which of them
    it runs, so that rounds see each."""
    function.on_one_kernel = True
    return function


def chosen(tests, kernels_found):
    """For each kernel its tests. A file's tests that run on one are dealt out in turn."""
    dealt, at = {kernel: [] for kernel in kernels_found}, seed()
    for name, function in tests:
        takers = kernels_found
        if getattr(function, "on_one_kernel", False):
            takers = [kernels_found[at % len(kernels_found)]]
            at += 1
        for kernel in takers:
            dealt[kernel].append((name, function))
    return dealt


class Rig:
    """What a test gets: a kernel, a folder, a source of chance, and boots."""

    def __init__(self, kernel, name, folder):
        self.kernel = kernel
        self.name = name
        self.dir = folder
        self.random = random.Random(f"{seed()}/{name}")
        self.boots = 0
        self.counts = {}

    def module(self):
        """Where a mutated module is under test (tests/kernel/mutations), that one."""
        other = os.environ.get("TOWLINE_KMOD")
        if other:
            return builds.module(self.kernel, Path(other), f"module-{Path(other).name}")
        return builds.module(self.kernel)

    def disk(self, name, size, options="", bus="virtio"):
        """Random bytes, so that zeros written to it are a change."""
        path = self.dir / f"{name}.raw"
        with open(path, "wb") as file:
            for at in range(0, size, 1 << 20):
                file.write(self.random.randbytes(min(1 << 20, size - at)))
        return Disk(name, path, options, bus=bus)

    def copy(self, disk):
        """The disk's bytes as they are now."""
        path = disk.path.with_name(f"{disk.name}-{self.boots}.before")
        builds.run(["cp", "--sparse=always", "--reflink=auto", disk.path, path])
        return path

    def boot(self, script, disks=(), *, module=True, unchecked=False, files=None, **more):
        """`module`: towline.ko lies at /towline.ko. `unchecked` boots are for the test to judge."""
        self.boots += 1
        files = dict(files or {})
        if module:
            files["towline.ko"] = self.module()
        boot = boot_guest(self.kernel, script, list(disks), self.dir / f"boot-{self.boots}",
                          files=files, **more)
        return boot if unchecked else check(boot)

    def count(self, **numbers):
        """Adds to what `tools/test kernel --json` reports of this kernel."""
        for key, number in numbers.items():
            self.counts[key] = self.counts.get(key, 0) + number


def report(kernel, name, counts, passed):
    path = os.environ.get("TOWLINE_KERNEL_REPORT")
    if path:
        with printing, open(path, "a", encoding="ascii") as file:
            file.write(json.dumps({"kernel": kernel.series, "release": kernel.release, "test": name,
                                   "passed": passed, **counts}) + "\n")


def keep_folder(folder, kernel, name):
    target = os.environ.get("TOWLINE_KERNEL_KEEP")
    if target:
        kept = Path(target) / f"{kernel.series}-{name}"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(folder, kept)


def run_one(kernel, name, function):
    began, failure = time.monotonic(), ""
    folder = Path(tempfile.mkdtemp(prefix="rig."))
    rig = Rig(kernel, name, folder)
    try:
        function(rig)
    except Exception:
        failure = traceback.format_exc()
        keep_folder(folder, kernel, name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report(kernel, name, rig.counts, not failure)
    said = f"({time.monotonic() - began:.1f} s" + "".join(
        f", {number} {key}" for key, number in rig.counts.items()) + ")"
    with printing:
        print(f"{failure}{'FAIL' if failure else 'ok  '} {kernel.series} {name} {said}"
              f"{f' seed {seed()}' if failure else ''}", flush=True)
    return not failure


def main(names):
    """`names` is the test file's globals(); an argument chooses among its tests."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    tests = [(name, each) for name, each in names.items()
             if name.startswith("test_") and callable(each) and wanted in name]
    try:
        found = kernels.wanted()
        builds.programs()
    except (kernels.Missing, builds.BuildFailed) as failure:
        print(failure)
        sys.exit(1)
    with ThreadPoolExecutor(len(found)) as pool:
        work = [pool.submit(lambda kernel, mine: [run_one(kernel, *test) for test in mine], *each)
                for each in chosen(tests, found).items()]
        results = [passed for each in work for passed in each.result()]
    failed = results.count(False)
    if failed or not results:
        print(f"{failed} of {len(results)} failed")
        sys.exit(1)
    print(f"{len(results)} passed")
