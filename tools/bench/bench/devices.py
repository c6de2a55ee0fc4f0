# SPDX-License-Identifier: Apache-2.0
"""Loop devices, mounts and loads for measurements of live volumes; as root."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from .goals import table


def run(*words):
    return subprocess.run([str(word) for word in words], check=True, capture_output=True,
                          text=True).stdout.strip()


def demand_root():
    if os.geteuid() != 0:
        sys.exit(f"{Path(sys.argv[0]).name}: as root: loop devices and mounts are made")


@contextmanager
def folder(within=None):
    path = Path(tempfile.mkdtemp(prefix="towline-bench-", dir=within)).resolve()
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def loop_over(path, *words):
    device = run("losetup", "--find", "--show", "--direct-io=on", *words, path)
    try:
        yield device
    finally:
        run("losetup", "--detach", device)


@contextmanager
def mounted(device, where, *words):
    where.mkdir(exist_ok=True)
    run("mount", *words, device, where)
    try:
        yield where
    finally:
        run("umount", where)


def fio(device, seconds, *words):
    """I/Os a second."""
    out = run("fio", "--name=load", f"--filename={device}", "--direct=1", "--time_based",
              f"--runtime={seconds}", "--output-format=json", *words)
    job = json.loads(out)["jobs"][0]
    return job["read"]["iops"] + job["write"]["iops"]


def conclude(goals, as_json):
    """Prints them, and ends: with 1 when one was missed."""
    if as_json:
        print(json.dumps([goal.as_json() for goal in goals], indent=2))
    else:
        print("\n" + table(goals))
    sys.exit(not all(goal.reached for goal in goals))
