# SPDX-License-Identifier: Apache-2.0
"""A tracked mount (`towline mount-image`) and its control socket, spoken to byte by byte."""

import array
import errno
import json
import os
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

from .lab import Skip, binary, wait_for

MAGIC = 0x43464C54
STATUS, PREPARE, HOLD, FREEZE, RELEASE, COMMIT, GIVE_BACK, REMOVE, HAND_OVER, READY = range(1, 11)
WITH_SNAPSHOT = 1
TRUST = {1: "exact", 2: "superset", 3: "unknown"}
REPLY_MAX = 8192


def request(command, flags=0, sequence=0, drain_ms=0, lease_ms=0, store=0, chunk=0):
    return struct.pack("<IHHIQIIQI", MAGIC, 1, command, flags, sequence, drain_ms, lease_ms, store,
                       chunk)


class Refusal(Exception):
    def __init__(self, code, error, text):
        super().__init__(f"{text} (code {code}, errno {error})")
        self.code, self.errno, self.text = code, error, text


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values if len(values) > 1 else values[0]

    def text(self):
        length = self.take("H")
        self.at += length
        return self.data[self.at - length:self.at].decode()


def decode(data):
    reader = Reader(data)
    magic, version, code, error = reader.take("IHHI")
    assert (magic, version) == (MAGIC, 1), data[:16]
    text = reader.text()
    reply = {"uuid": reader.take("16s"), "volume_bytes": reader.take("Q"),
             "block": reader.take("I")}
    for name in ["sequence", "sequence_frozen", "committed"]:
        reply[name] = reader.take("Q")
    reply["trust"], reply["reasons"], reply["log"] = reader.take("III")
    reply["writes"], reply["memory"], reply["snapshot"] = reader.take("QQQ")
    reply["snapshot_flags"] = reader.take("I")
    reply["snapshot_sequence"], reply["snapshot_bytes"] = reader.take("QQ")
    reply["chunk"], reply["slots_used"], reply["slots"] = reader.take("IQQ")
    reply["why"], reply["image"], reply["mountpoint"] = (reader.text() for _ in range(3))
    reply["frozen"], reply["after"], reply["frozen_trust"] = reader.take("QQI")
    reply["frozen_reasons"], reply["held_us"], reply["frozen_snapshot"] = reader.take("IQI")
    reader.at += 4 + reader.take("I")
    if code:
        raise Refusal(code - 1, error, text)
    return reply


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def blocks_of(saved):
    """The marked blocks of a saved change map."""
    body, _, _, _, runs, count = struct.unpack_from("<IIIQQQ", saved, 12)
    at, block, marked = 48, 0, set()
    if body == 1:
        bits = int.from_bytes(saved[48:-4], "little")
        marked = {block for block in range(bits.bit_length()) if bits >> block & 1}
    for _ in range(runs if body == 0 else 0):
        clear, at = varint(saved, at)
        length, at = varint(saved, at)
        marked.update(range(block + clear, block + clear + length))
        block += clear + length
    assert len(marked) == count, (len(marked), count)
    return marked


class Control:
    """One connection."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Before the time limit: a socket with one is refused where others wait for their turn.
        self.socket.connect(str(path))
        self.socket.settimeout(30)

    def close(self):
        self.socket.close()

    def raw(self, message):
        """What comes back, and the descriptors with it; b"" when it hung up."""
        self.socket.send(message)
        fds = array.array("i")
        data, ancillary, _, _ = self.socket.recvmsg(REPLY_MAX, socket.CMSG_LEN(16))
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(content[:len(content) // 4 * 4])
        return data, list(fds)

    def call(self, command, **words):
        data, fds = self.raw(request(command, **words))
        try:
            reply = decode(data)
            if command == FREEZE:
                reply["blocks"] = blocks_of(os.pread(fds[0], os.fstat(fds[0]).st_size, 0))
            return reply
        finally:
            for fd in fds:
                os.close(fd)


class Tracked:
    """An image, served."""

    def __init__(self, lab, image, *words, run_folder=None):
        """`run_folder` as None: a folder of its own, that `towline sync` does not look in."""
        self.run_folder = run_folder or lab.dir / "run"
        if os.geteuid() != 0 or not os.access("/dev/fuse", os.W_OK):
            raise Skip("needs root and /dev/fuse")
        self.lab, self.image, self.words = lab, image, words
        self.mountpoint = lab.dir / f"mount-{image.name}"
        self.mountpoint.mkdir(exist_ok=True)
        self.volume = self.mountpoint / "volume"
        self.sockets = set()
        lab.at_end(self.end)
        self.report = self.mount()

    def command(self, *words):
        return [binary(), "mount-image", "--state-dir", str(self.lab.dir / "tracking"),
                "--run-dir", str(self.run_folder), "--json", *map(str, self.words),
                *map(str, words), str(self.image), str(self.mountpoint)]

    def try_mount(self, *words):
        return subprocess.run(self.command(*words), capture_output=True, text=True, timeout=60)

    def mount(self, *words):
        done = self.try_mount(*words)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        self.pid = report["pid"]
        self.sockets.add(report["tracker"] + ".sock")
        return report

    def unmount(self):
        subprocess.run(["umount", self.mountpoint], check=True)
        wait_for(lambda: not alive(self.pid))

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        wait_for(lambda: not alive(self.pid))

    def end(self):
        if alive(self.pid):
            os.kill(self.pid, signal.SIGKILL)
        subprocess.run(["umount", "-l", self.mountpoint], capture_output=True)
        # What a daemon that was killed leaves, in a folder that others use.
        for name in self.sockets:
            (Path(self.run_folder) / "fuse" / name).unlink(missing_ok=True)

    def remount_after_kill(self):
        subprocess.run(["umount", "-l", self.mountpoint], check=True)
        self.report = self.mount()
        return self.report

    # --- control

    def control(self):
        return Control(self.mountpoint / "control")

    def ask(self, command, **words):
        control = self.control()
        try:
            return control.call(command, **words)
        finally:
            control.close()

    def freeze(self, snapshot=False, store=0, chunk=0):
        control = self.control()
        try:
            control.call(PREPARE, flags=WITH_SNAPSHOT if snapshot else 0, store=store, chunk=chunk)
            if snapshot:
                control.call(HOLD, drain_ms=5000, lease_ms=2000)
            return control.call(FREEZE)
        finally:
            control.close()

    def commit(self, sequence):
        return self.ask(COMMIT, sequence=sequence)

    def remove_snapshot(self, sequence):
        for _ in range(50):
            try:
                return self.ask(REMOVE, sequence=sequence)
            except Refusal as refusal:
                if "is open" not in refusal.text:
                    raise
                time.sleep(0.02)
        raise AssertionError("the snapshot stays open")

    # --- a loop device over it

    def loop(self):
        device = subprocess.run(["losetup", "--find", "--show", "--direct-io=on", self.volume],
                                check=True, capture_output=True, text=True).stdout.strip()
        self.lab.at_end(subprocess.run, ["losetup", "-d", device])
        return device


def alive(pid):
    """A zombie of somebody else's is as good as dead, when none of its threads still ends."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            if file.read().rsplit(")", 1)[1].split()[0] != "Z":
                return True
        return len(os.listdir(f"/proc/{pid}/task")) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False
    except OSError as error:
        return error.errno != errno.ESRCH


def differing(before, after, block):
    """Blocks whose bytes differ."""
    size = max(len(before), len(after))
    return {at // block for at in range(0, size, block)
            if before[at:at + block] != after[at:at + block]}
