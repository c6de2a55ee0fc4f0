# SPDX-License-Identifier: Apache-2.0
"""A place of its own for one test: folders, images, devices, servers and runs, all taken down again
in reverse order, whatever happened. Processes are ended by their pid."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from .outcome import Outcome
from .proxy import Proxy
from .server import Server

KIB = 1024
MIB = 1024 * 1024
RUN_SECONDS_MAX = 120


class Skip(Exception):
    """The test cannot run here; the text says why."""


def binary():
    return os.environ.get("TOWLINE_BIN", "build/release/bin") + "/towline"


class Lab:
    def __init__(self, random):
        self.random = random
        self._stack = contextlib.ExitStack()
        self._logs = []

    def __enter__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="lab.")).resolve()
        self._stack.callback(shutil.rmtree, self.dir, ignore_errors=True)
        self.state = self.dir / "state"
        self.root = self.dir / "root"
        self.root.mkdir()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def print_logs(self):
        for log in self._logs:
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}")

    def at_end(self, function, *words):
        self._stack.callback(function, *words)

    # --- programs

    def server(self, listen="tcp://127.0.0.1:0", root=None, words=()):
        log = self.dir / f"serve-{len(self._logs)}.log"
        self._logs.append(log)
        server = Server(binary(), listen, root or self.root, words, log)
        self.at_end(server.kill)
        server.start()
        return server

    def proxy(self, server, harm=None):
        proxy = Proxy(server.port, harm)
        self.at_end(proxy.close)
        return proxy

    def words(self, source, target, words, state=None):
        return [binary(), "sync", str(source), str(target), "--state-dir",
                str(state or self.state), "--json", *map(str, words)]

    def start_sync(self, source, target, *words, state=None, stdin=None):
        """A run that goes on; the lab kills it at its end if nobody else did."""
        run = subprocess.Popen(self.words(source, target, words, state), text=True,
                               stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.at_end(self._end, run)
        if stdin:
            pipe, run.stdin = run.stdin, None
            try:
                pipe.write(stdin)
                pipe.close()
            except BrokenPipeError:
                pass  # it refused before it read the list; its exit tells
        return run

    @staticmethod
    def _end(run):
        if run.poll() is None:
            run.send_signal(signal.SIGCONT)
            run.kill()
        run.communicate()

    def finish(self, run, seconds_max=RUN_SECONDS_MAX):
        out, err = run.communicate(timeout=seconds_max)
        return Outcome(run.returncode, out, err, run.args)

    def try_sync(self, source, target, *words, state=None, stdin=None):
        return self.finish(self.start_sync(source, target, *words, state=state, stdin=stdin))

    def sync(self, source, target, *words, state=None, stdin=None):
        """A run that must succeed: its report."""
        outcome = self.try_sync(source, target, *words, state=state, stdin=stdin)
        assert outcome.exit == 0, str(outcome)
        return outcome.report

    def refused(self, source, target, *words, says=(), exit=3, state=None, stdin=None):
        """A run that must be refused, with a message that holds every word of `says`."""
        outcome = self.try_sync(source, target, *words, state=state, stdin=stdin)
        assert outcome.exit == exit, f"not {exit}, but {outcome}"
        for text in [says] if isinstance(says, str) else says:
            assert text in outcome.err, f"{text!r} is not in: {outcome.err}"
        return outcome

    def extents(self, source, target, changes, *words, state=None):
        """A run of listed changes that must succeed."""
        return self.sync(source, target, "--extents", "-", *words, state=state,
                         stdin=lines(changes))

    # --- volumes

    def image(self, name, size_bytes, data=None):
        """Random bytes, with a hole and a stretch of zeros when there is room for them."""
        path = self.dir / name
        path.write_bytes(self.content(size_bytes) if data is None else data)
        if data is None and size_bytes >= 16 * 64 * KIB:
            self._punch(path, size_bytes)
        return path

    def content(self, size_bytes):
        return self.random.randbytes(size_bytes)

    def _punch(self, path, size_bytes):
        unit = size_bytes // 16 // (64 * KIB) * 64 * KIB
        subprocess.run(["fallocate", "-p", "-o", str(unit * 3), "-l", str(unit * 2), path],
                       check=True)
        write_at(path, unit * 9, bytes(unit))

    def sparse(self, name, size_bytes):
        path = self.dir / name
        with open(path, "wb") as file:
            file.truncate(size_bytes)
        return path

    def filesystem_image(self, name, size_bytes):
        folder = self.dir / (name + ".files")
        folder.mkdir()
        for index in range(20):
            text = self.random.randbytes(2000).hex() * self.random.randrange(1, 20)
            (folder / f"file{index}").write_text(text)
        path = self.sparse(name, size_bytes)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", folder, path], check=True)
        return path

    def change(self, path, count, block_bytes=64 * KIB):
        """Writes at random places, and lists them."""
        size = path.stat().st_size
        changes = []
        for _ in range(count):
            length = min(size, self.random.randrange(1, 2 * block_bytes))
            offset = self.random.randrange(0, size - length + 1)
            write_at(path, offset, self.content(length))
            changes.append((offset, length))
        return changes

    def loop(self, path, sector_bytes=512, *words):
        """A loop device over the file."""
        made = subprocess.run(["losetup", "--find", "--show", "--sector-size", str(sector_bytes),
                               *words, str(path)], text=True, capture_output=True)
        if made.returncode != 0:
            raise Skip(f"no loop device can be had here: {made.stderr.strip()}")
        device = made.stdout.strip()
        self.at_end(detach, device)
        return Path(device)

    def mount(self, what, where, *words):
        where.mkdir(exist_ok=True)
        done = subprocess.run(["mount", *words, str(what), str(where)], text=True,
                              capture_output=True)
        if done.returncode != 0:
            raise Skip(f"cannot mount here: {done.stderr.strip()}")
        self.at_end(unmount, where)
        return where


def detach(device):
    subprocess.run(["losetup", "--detach", device], check=False, capture_output=True)


def unmount(where):
    for _ in range(20):
        if subprocess.run(["umount", str(where)], capture_output=True).returncode == 0:
            return
        if not os.path.ismount(where):
            return
        time.sleep(0.1)
    subprocess.run(["umount", "--lazy", str(where)], check=False)


def write_at(path, offset, data):
    with open(path, "r+b", buffering=0) as file:
        file.seek(offset)
        file.write(data)


def lines(changes):
    return "".join(f"{offset} {length}\n" for offset, length in changes) or "# nothing\n"


def covered(changes):
    """The bytes of a list in which extents may overlap."""
    total, end = 0, 0
    for offset, length in sorted(changes):
        start = max(offset, end)
        end = max(end, offset + length)
        total += max(0, end - start)
    return total


def read_device(path):
    """A device past the page cache of an earlier reader."""
    subprocess.run(["blockdev", "--flushbufs", str(path)], check=True)
    return Path(path).read_bytes()


def equal(one, other):
    """By content, in pieces; tells where they differ."""
    with open(one, "rb") as a, open(other, "rb") as b:
        at = 0
        while True:
            mine, theirs = a.read(MIB), b.read(MIB)
            if mine != theirs:
                first = next((i for i, (x, y) in enumerate(zip(mine, theirs)) if x != y),
                             min(len(mine), len(theirs)))
                raise AssertionError(f"{one} and {other} differ at byte {at + first}")
            if not mine:
                return True
            at += len(mine)


def wait_for(condition, seconds_max=10, what="what was waited for"):
    end = time.monotonic() + seconds_max
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"{what} did not come within {seconds_max} s")
