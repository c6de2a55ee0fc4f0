# SPDX-License-Identifier: Apache-2.0
"""Trackers as a run uses them, a step at a time, each step a process of its own; devices that are
slow; and what truly changed on them."""

import json
import os
import subprocess
import time
from pathlib import Path

from .lab import Skip

BIN = Path(os.environ.get("TOWLINE_BIN", "build/release/bin"))
BPFFS = Path("/sys/fs/bpf")


class Refused(Exception):
    """What the tracker answered; `code` is of io/result.hpp."""

    def __init__(self, answer):
        super().__init__(answer["text"])
        self.code = answer["code"]


class Tracking:
    """The tracker of one kind, with a state folder and pins of its own."""

    def __init__(self, lab, kind, ends=True):
        self.lab, self.kind = lab, kind
        self.state = lab.dir / "tracking"
        self._attached = False
        self.pins = BPFFS / f"towline-test-{os.getpid()}-{lab.dir.name.replace('.', '-')}"
        if ends:
            lab.at_end(self._end)

    def words(self, *words):
        return [str(each) for each in (BIN / "tracker_probe", self.kind, self.state, self.pins,
                                       *words)]

    def call(self, *words):
        done = subprocess.run(self.words(*words), text=True, capture_output=True, timeout=60)
        assert done.returncode in (0, 1) and done.stdout, f"{words}: {done.returncode} {done.stderr}"
        answer = json.loads(done.stdout)
        if done.returncode == 1:
            raise Refused(answer)
        return answer

    def killed(self, after_seconds, *words):
        """A call that is killed if it is not done by then; its answer if it was."""
        process = subprocess.Popen(self.words(*words), stdout=subprocess.PIPE, text=True)
        try:
            return json.loads(process.communicate(timeout=after_seconds)[0])
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return None

    def refused(self, code, *words):
        try:
            answer = self.call(*words)
        except Refused as refused:
            assert refused.code == code, f"{refused.code}: {refused}"
            return str(refused)
        raise AssertionError(f"{words} gave {answer}")

    def attach(self, device, block=4096):
        """Its uuid; a skip where this host cannot track so."""
        if os.geteuid() != 0:
            raise Skip("tracking a device takes root")
        try:
            tracker = self.call("attach", device, block)
            self._attached = True
            return tracker
        except Refused as refused:
            if refused.code != "unsupported":
                raise
            raise Skip(str(refused)) from None

    def freeze(self, *trackers):
        sets = [ChangeSet(each) for each in self.call("freeze", *trackers)]
        return sets[0] if len(trackers) == 1 else sets

    def harvest(self, tracker):
        """An epoch that a consumer took over for good."""
        found = self.freeze(tracker)
        self.call("commit", found.tracker, found.sequence)
        return found

    def status(self, tracker):
        return self.call("status", tracker)

    def _end(self):
        if not self._attached and not self.state.is_dir():
            return
        for status in self.call("list"):
            self.call("detach", status["tracker"])
        if self.pins.is_dir() and not list(self.pins.iterdir()):  # it may be another one's too
            self.pins.rmdir()


class ChangeSet:
    def __init__(self, answer):
        self.tracker, self.sequence, self.after = (answer[key] for key in
                                                   ("tracker", "sequence", "after"))
        self.trust, self.reasons = answer["trust"], answer["reasons"]
        self.volume_bytes, self.block_bytes = answer["volume_bytes"], answer["block_bytes"]
        self.blocks = {first + n for first, count in answer["runs"] for n in range(count)}
        # A kernel that runs no program in some places makes gaps, which are seen: then a consumer
        # takes everything.
        self.gap = self.trust == "unknown" and "gap" in self.reasons
        if self.gap:
            self.blocks = set(range(-(-self.volume_bytes // self.block_bytes)))

    def __str__(self):
        return (f"epoch {self.sequence} after {self.after}, {self.trust} ({self.reasons}), "
                f"{len(self.blocks)} blocks {sorted(self.blocks)[:8]}")


def slow_file(lab, size_bytes, delay_ms):
    """A file whose writes land that much later, and the one that they land in."""
    backing, mount_point = lab.sparse("slow", size_bytes), lab.dir / "slow.mount"
    mount_point.mkdir()
    if not (BIN / "delay_fs").exists():
        raise Skip("this build has no delay_fs: libfuse3-dev is missing")
    server = subprocess.Popen([BIN / "delay_fs", backing, mount_point, str(delay_ms)])
    lab.at_end(_end_slow_disk, server, mount_point)
    for _ in range(100):
        if (mount_point / "volume").exists():
            break
        if server.poll() is not None:
            raise Skip("FUSE cannot be mounted here")
        time.sleep(0.05)
    return mount_point / "volume", backing


def slow_disk(lab, size_bytes, delay_ms):
    """A loop device over such a file, and the one that its writes land in."""
    volume, backing = slow_file(lab, size_bytes, delay_ms)
    return lab.loop(volume, 512, "--direct-io=on"), backing


def _end_slow_disk(server, mount_point):
    for _ in range(100):
        if subprocess.run(["umount", mount_point], capture_output=True).returncode == 0:
            break
        time.sleep(0.1)
    server.wait(timeout=20)


def writer(path, how, seed, **more):
    """A load of writes of tests/kernel/guest/writer.cpp."""
    words = [f"{key}={value}" for key, value in more.items()]
    return subprocess.Popen([BIN / "writer", str(path), f"how={how}", f"seed={seed}", *words],
                            stdout=subprocess.DEVNULL)


def write(path, how, seed, **more):
    assert writer(path, how, seed, **more).wait() == 0


def differing(before, after, block, start=0, length=None):
    """Numbers of the blocks in which `after` (a file) is not what `before` (bytes) was."""
    now = Path(after).read_bytes()
    end = len(now) if length is None else start + length
    return {(at - start) // block for at in range(start, end, block)
            if now[at:min(at + block, end)] != before[at:min(at + block, end)]}
