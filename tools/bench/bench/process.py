# SPDX-License-Identifier: Apache-2.0
"""Processes and what they cost.

A command is run by the `launch` program, which measures it from start to exit. A daemon lives
across runs, so its share is the difference of its process clock: nanoseconds, threads that have
ended included, where /proc/PID/stat counts in steps of 10 ms.
"""

import os
import socket
import subprocess
import time
from dataclasses import dataclass

from .errors import BenchError

START_SECONDS_MAX = 20
STOP_SECONDS_MAX = 10


@dataclass
class Cost:
    wall_s: float
    cpu_s: float
    rss_max_bytes: int
    output: str = ""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def loopback_bytes():
    """Bytes sent over lo since boot: the measure for tools that keep no statistics."""
    with open("/proc/net/dev") as table:
        for line in table:
            name, _, fields = line.partition(":")
            if name.strip() == "lo":
                return int(fields.split()[8])
    raise BenchError("no loopback interface in /proc/net/dev")


def tail(path, lines=8):
    try:
        with open(path, errors="replace") as log:
            return "".join(log.readlines()[-lines:]).strip()
    except OSError:
        return ""


class Launched:
    """A command under `launch`; wait() gives its cost, and fails when the command did."""

    def __init__(self, lab, command):
        self.command = [str(word) for word in command]
        self.log_path = lab.log_path(os.path.basename(self.command[0]))
        self._result, result_write = os.pipe()
        with open(self.log_path, "w") as log:
            self._process = subprocess.Popen(
                [str(lab.program("launch")), str(result_write), *self.command],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                pass_fds=[result_write], text=True)
        os.close(result_write)

    def first_line(self):
        return self._process.stdout.readline().strip()

    def child_pid(self):
        path = f"/proc/{self._process.pid}/task/{self._process.pid}/children"
        with open(path) as children:
            return int(children.read().split()[0])

    def running(self):
        return self._process.poll() is None

    def wait(self, accepted=(0,)):
        output = self._process.stdout.read()
        self._process.wait()
        with open(self._result) as result:
            fields = result.read().split()
        self._result = None
        if len(fields) != 4 or int(fields[3]) not in accepted:
            raise BenchError(f"{' '.join(self.command)}\n  failed with status "
                             f"{fields[3] if fields else '?'}: {tail(self.log_path)}")
        wall_ns, cpu_ns, rss = (int(field) for field in fields[:3])
        return Cost(wall_ns / 1e9, cpu_ns / 1e9, rss, output)

    def abandon(self):
        """For the way out after an error: nothing of it may stay behind."""
        if self.running():
            try:
                os.kill(self.child_pid(), 9)
            except (OSError, IndexError):
                self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        if self._result is not None:
            os.close(self._result)


def run_command(lab, command):
    launched = Launched(lab, command)
    try:
        return launched.wait()
    finally:
        launched.abandon()


class Daemon:
    """A server that stays over several runs; cost() counts from the last mark()."""

    def __init__(self, lab, command, ready):
        self.command = [str(word) for word in command]
        self.log_path = lab.log_path(os.path.basename(self.command[0]))
        with open(self.log_path, "w") as log:
            self._process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL,
                                             stdout=log, stderr=subprocess.STDOUT)
        self._wait_until(ready)
        self._cpu_at_mark = 0.0
        self.mark()

    def _wait_until(self, ready):
        deadline = time.monotonic() + START_SECONDS_MAX
        while not ready(self._process.pid):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise BenchError(f"{' '.join(self.command)}\n  did not start: "
                                 f"{tail(self.log_path)}")
            time.sleep(0.01)

    def _cpu(self):
        # The clock id of another process's CPU clock, as clock_getcpuclockid() makes it.
        return time.clock_gettime((~self._process.pid << 3) | 2)

    def mark(self):
        self._cpu_at_mark = self._cpu()
        try:
            with open(f"/proc/{self._process.pid}/clear_refs", "w") as peak:
                peak.write("5")  # the peak starts again from what is resident now
        except OSError:
            pass  # then the peak is that since the start, which is no less

    def cpu_s(self):
        return self._cpu() - self._cpu_at_mark

    def rss_max_bytes(self):
        with open(f"/proc/{self._process.pid}/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return 0

    def stop(self):
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def listens(port):
    """Ready once the process's network namespace has a listener there. Looked up, not tried: a
    connection that says nothing would be a session to some servers."""
    def ready(pid):
        for table in ("tcp", "tcp6"):
            with open(f"/proc/{pid}/net/{table}") as sockets:
                for line in sockets.readlines()[1:]:
                    fields = line.split()
                    if fields[3] == "0A" and int(fields[1].split(":")[1], 16) == port:
                        return True
        return False
    return ready
