# SPDX-License-Identifier: Apache-2.0
"""A point that is mounted, and what reading it there costs."""

import json
import os
import subprocess
import time
from pathlib import Path

from .errors import BenchError
from .process import tail

END_SECONDS_MAX = 20


class Mounted:
    """A point's only volume as a file, until the block ends."""

    def __init__(self, lab, point):
        self._lab = lab
        self._point = point
        self._folder = lab.run_dir / "mounted"
        self.path = None
        self.pid = None

    def __enter__(self):
        self._folder.mkdir(exist_ok=True)
        log_path = self._lab.log_path("mount")
        with open(log_path, "w") as log:
            made = subprocess.run([self._lab.program("towline"), "point", "mount", "--json",
                                   self._point, self._folder], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=log, text=True)
        if made.returncode != 0:
            raise BenchError(f"point mount {self._point}\n  failed: {tail(log_path)}")
        report = json.loads(made.stdout)
        self.path = Path(report["volumes"][0]["path"])
        self.pid = report["pid"]
        return self

    def __exit__(self, *_):
        # The daemon outlives the unmount by a moment, in which it still holds the point.
        subprocess.run(["fusermount3", "-u", self._folder], check=True)
        deadline = time.monotonic() + END_SECONDS_MAX
        while Path(f"/proc/{self.pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.005)

    def memory_peak_bytes(self):
        with open(f"/proc/{self.pid}/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        raise BenchError("the mount's daemon is gone")


def first_byte_seconds(lab, point, offset):
    """From the start of the command to the first bytes of data in hand."""
    begin = time.perf_counter()
    with Mounted(lab, point) as mounted:
        descriptor = os.open(mounted.path, os.O_RDONLY)
        try:
            if len(os.pread(descriptor, 4096, offset)) != 4096:
                raise BenchError("the mounted point ends too early")
            return time.perf_counter() - begin
        finally:
            os.close(descriptor)


def _fio(path, words, seconds):
    out = subprocess.run(["fio", "--name=read", f"--filename={path}", "--readonly",
                          "--output-format=json", *words, "--time_based",
                          f"--runtime={seconds}"],
                         capture_output=True, text=True, check=True)
    return json.loads(out.stdout)["jobs"][0]["read"]


def random_read_iops(path, seconds):
    """4 KiB at random, 8 threads, through no cache but the mount's own."""
    return _fio(path, ["--rw=randread", "--bs=4k", "--direct=1", "--ioengine=psync", "--thread",
                       "--numjobs=8", "--group_reporting"], seconds)["iops"]


def sequential_seconds(path):
    """All of it once, as cp would read it."""
    begin = time.perf_counter()
    with open(path, "rb", buffering=0) as reader:
        piece = bytearray(1 << 20)
        while reader.readinto(piece):
            pass
    return time.perf_counter() - begin
