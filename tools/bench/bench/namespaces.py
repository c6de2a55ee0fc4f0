# SPDX-License-Identifier: Apache-2.0
"""Two network namespaces joined by a cable whose one direction can be slowed by a token bucket.

They carry the number of this process in their names. Leaving the context removes them, whatever
happened within; what a killed process left behind is removed by the next one.
"""

import os
import re
import shutil
import subprocess

from .errors import BenchError

PREFIX = "towline-link"
# TEST-NET-1: never routed, and seen only inside the two namespaces.
SOURCE_ADDRESS, TARGET_ADDRESS = "192.0.2.1", "192.0.2.2"
# What the bucket may let through at once: a few full frames of the largest segments.
BURST_BYTES = 256 * 1024
QUEUE_MS = 50


def _ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


class Link:
    """A cable of `megabits` per second from source to target; 0 leaves it as fast as it is."""

    def __init__(self, megabits):
        self._megabits = megabits
        self._source = f"{PREFIX}-{os.getpid()}-s"
        self._target = f"{PREFIX}-{os.getpid()}-t"

    @property
    def at_source(self):
        return ["ip", "netns", "exec", self._source]

    @property
    def at_target(self):
        return ["ip", "netns", "exec", self._target]

    def __enter__(self):
        if os.geteuid() != 0 or shutil.which("tc") is None:
            raise BenchError("a slowed link needs root and the package iproute2")
        _remove_stale()
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_):
        self._remove()

    def _make(self):
        for name in (self._source, self._target):
            _ip("netns", "add", name)
        _ip("link", "add", "cable", "netns", self._source, "type", "veth",
            "peer", "name", "cable", "netns", self._target)
        for name, address in ((self._source, SOURCE_ADDRESS), (self._target, TARGET_ADDRESS)):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            _ip("-n", name, "link", "set", "cable", "up")
            _ip("-n", name, "link", "set", "lo", "up")
        if self._megabits:
            _ip("netns", "exec", self._source, "tc", "qdisc", "add", "dev", "cable", "root", "tbf",
                "rate", f"{self._megabits}mbit", "burst", str(BURST_BYTES),
                "latency", f"{QUEUE_MS}ms")

    def _remove(self):
        for name in (self._source, self._target):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def _remove_stale():
    for name in re.findall(rf"^({PREFIX}-\d+-[st])", _ip("netns", "list"), re.M):
        if not os.path.exists(f"/proc/{name.split('-')[2]}"):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)
