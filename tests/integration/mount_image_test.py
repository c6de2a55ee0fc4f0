#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An image behind a tracked mount is used as any file is, and every change of it is known, whatever
kind of write made it; what may not be mounted is refused with the remedy."""

import fcntl
import mmap
import os
import socket
import struct
import subprocess
import time

from lib.lab import KIB, MIB, equal, wait_for
from lib.runner import main
from lib.tracked import (COMMIT, FREEZE, GIVE_BACK, HAND_OVER, HOLD, PREPARE, READY, STATUS, TRUST,
                         Control, Refusal, Tracked, alive, differing, request)

BLOCK = 4 * KIB
SIZE = 8 * MIB + 1536  # a tail that is no whole page
LIBC_PUNCH, LIBC_ZERO, LIBC_KEEP = 2, 16, 1


def allocate(fd, mode, offset, length):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length))
    assert result == 0, os.strerror(ctypes.get_errno())


def direct_write(path, offset, length, byte):
    memory = mmap.mmap(-1, length)
    memory.write(bytes([byte]) * length)
    fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
    os.pwrite(fd, memory, offset)
    os.close(fd)


def touched(*extents):
    return {block for offset, length in extents
            for block in range(offset // BLOCK, (offset + length - 1) // BLOCK + 1)}


def test_every_kind_of_write_is_marked_exactly(lab):
    tracked = Tracked(lab, lab.image("image", SIZE))
    assert tracked.report["trust"] == "exact" and tracked.report["cause"] == "first"
    with open(tracked.volume, "r+b", buffering=0) as file:
        fd = file.fileno()
        os.pwrite(fd, b"x", 0)
        os.pwrite(fd, b"misaligned" * 1000, 5 * BLOCK - 3)
        os.pwrite(fd, b"end", SIZE - 3)
        os.pwrite(fd, lab.content(3 * MIB), MIB)
        allocate(fd, LIBC_PUNCH | LIBC_KEEP, 5 * MIB, 64 * KIB)
        allocate(fd, LIBC_PUNCH | LIBC_KEEP, 5 * MIB + 256 * KIB + 100, 5000)
        allocate(fd, LIBC_ZERO | LIBC_KEEP, 6 * MIB, 8 * KIB)
        allocate(fd, 0, 6 * MIB + 64 * KIB, 8 * KIB)  # space alone: no change
        os.fsync(fd)
    direct_write(tracked.volume, 7 * MIB, 2 * BLOCK, 5)
    direct_write(tracked.volume, 7 * MIB + 3 * BLOCK + 512, 512, 6)
    frozen = tracked.freeze()
    assert frozen["blocks"] == touched(
        (0, 1), (5 * BLOCK - 3, 10000), (SIZE - 3, 3), (MIB, 3 * MIB), (5 * MIB, 64 * KIB),
        (5 * MIB + 256 * KIB + 100, 5000), (6 * MIB, 8 * KIB), (7 * MIB, 2 * BLOCK),
        (7 * MIB + 3 * BLOCK + 512, 512)), sorted(frozen["blocks"])
    equal(tracked.volume, tracked.image)
    assert tracked.commit(frozen["frozen"])["committed"] == 1
    assert tracked.freeze()["blocks"] == set()


def test_resize(lab):
    tracked = Tracked(lab, lab.image("image", SIZE))
    os.truncate(tracked.volume, 2 * MIB + 100)
    os.truncate(tracked.volume, 4 * MIB)
    frozen = tracked.freeze()
    assert frozen["volume_bytes"] == 4 * MIB
    assert frozen["blocks"] == touched((2 * MIB + 99, 2 * MIB - 99))
    with open(tracked.volume, "r+b", buffering=0) as file:
        file.seek(5 * MIB)
        file.write(b"behind the end")
    equal(tracked.volume, tracked.image)
    with open(tracked.volume, "wb") as file:  # cut to nothing first
        file.write(lab.content(MIB))
    equal(tracked.volume, tracked.image)
    again = tracked.freeze()["blocks"]
    assert again == touched((0, MIB)), again ^ touched((0, MIB))


def test_a_filesystem_on_a_loop_device(lab):
    """Buffered, mmap-ed and discarded: the bytes that differ are among those that are marked."""
    tracked = Tracked(lab, lab.image("image", 64 * MIB, bytes(64 * MIB)))
    loop = tracked.loop()
    subprocess.run(["mkfs.ext4", "-q", loop], check=True)
    at = lab.dir / "filesystem"
    at.mkdir()
    subprocess.run(["mount", loop, at], check=True)
    lab.at_end(subprocess.run, ["umount", at])
    (at / "old").write_bytes(lab.content(6 * MIB))
    subprocess.run(["sync", "-f", at], check=True)
    first = tracked.freeze()
    before = tracked.image.read_bytes()
    tracked.commit(first["frozen"])

    with open(at / "mapped", "w+b") as file:
        file.truncate(MIB)
        with mmap.mmap(file.fileno(), MIB) as mapped:
            for page in range(0, MIB, 8 * KIB):
                mapped[page:page + 4] = lab.content(4)
            mapped.flush()
    (at / "old").unlink()
    for number in range(200):
        (at / f"file{number}").write_bytes(lab.content(lab.random.randrange(1, 9000)))
    subprocess.run(["fstrim", at], check=True)
    subprocess.run(["umount", at], check=True)
    subprocess.run(["e2fsck", "-fn", loop], check=True, capture_output=True)
    second = tracked.freeze()
    changed = differing(before, tracked.image.read_bytes(), BLOCK)
    assert len(changed) > 100 and changed <= second["blocks"], changed - second["blocks"]
    assert second["trust"] == 1


def test_a_loop_devices_requests_are_many_at_once(lab):
    """Of those that nobody waits for, 12 where the kernel is told nothing: half the writes a second."""
    tracked = Tracked(lab, lab.image("image", SIZE))
    connections = lab.dir / "connections"
    connections.mkdir()
    subprocess.run(["mount", "-t", "fusectl", "fusectl", connections], check=True)
    lab.at_end(subprocess.check_call, ["umount", connections])
    ours = connections / str(os.minor(tracked.volume.stat().st_dev))
    assert (ours / "max_background").read_text() == "64\n"
    assert (ours / "congestion_threshold").read_text() == "64\n"


def test_random_writes_while_epochs_end(lab):
    """A replica that gets what is marked, epoch by epoch, with the writer going on."""
    tracked = Tracked(lab, lab.image("image", 4 * MIB), "--region", "1M")
    replica = bytearray(tracked.image.read_bytes())
    writer = subprocess.Popen(
        ["fio", "--name=w", f"--filename={tracked.volume}", "--rw=randwrite", "--bsrange=512-16k",
         "--blockalign=512", "--direct=1", "--ioengine=libaio", "--iodepth=16", "--size=4M",
         "--time_based", "--runtime=3", "--randrepeat=1", "--group_reporting", "--output=/dev/null"])
    epochs = 0
    while True:
        last = writer.poll() is not None
        frozen = tracked.freeze()
        with open(tracked.volume, "rb", buffering=0) as file:
            for block in frozen["blocks"]:
                replica[block * BLOCK:(block + 1) * BLOCK] = os.pread(file.fileno(), BLOCK,
                                                                      block * BLOCK)
        tracked.ask(COMMIT if epochs % 3 else GIVE_BACK, sequence=frozen["frozen"])
        epochs += 1
        if last:
            break
    assert writer.returncode == 0 and epochs > 5, (writer.returncode, epochs)
    assert replica == tracked.image.read_bytes(), f"after {epochs} epochs"
    print(f"     {epochs} epochs, {tracked.ask(STATUS)['writes']} writes")


# --- how it ends, and goes on

def test_a_clean_end_is_exact_and_a_kill_a_superset(lab):
    tracked = Tracked(lab, lab.image("image", SIZE), "--region", "1M")
    uuid = tracked.report["tracker"]
    direct_write(tracked.volume, MIB, BLOCK, 1)
    frozen = tracked.freeze()
    direct_write(tracked.volume, 3 * MIB, BLOCK, 2)
    tracked.unmount()

    report = tracked.mount()
    assert (report["tracker"], report["cause"], report["trust"]) == (uuid, "saved", "exact")
    tracked.ask(COMMIT, sequence=frozen["frozen"])  # over a restart
    again = tracked.freeze()
    assert again["blocks"] == touched((3 * MIB, BLOCK)) and again["frozen"] == 2

    direct_write(tracked.volume, 5 * MIB, BLOCK, 3)
    tracked.kill()
    try:
        tracked.volume.stat()
        raise AssertionError("the mount of a dead daemon answers")
    except OSError:
        pass
    report = tracked.remount_after_kill()
    assert (report["tracker"], report["cause"], report["trust"]) == (uuid, "crash", "superset")
    after = tracked.freeze()
    assert TRUST[after["frozen_trust"]] == "superset"
    assert after["blocks"] == touched((3 * MIB, MIB), (5 * MIB, MIB)), "the hot regions, whole"
    assert after["frozen"] > again["frozen"], "no number twice"


def test_what_a_killed_one_leaves_goes_with_the_next(lab):
    """Also where that is another tracking, whose socket has another name."""
    image = lab.image("image", SIZE)
    tracked = Tracked(lab, image)
    tracked.kill()
    subprocess.run(["umount", "-l", tracked.mountpoint], check=True)
    sockets = tracked.run_folder / "fuse"
    left = [path.name for path in sockets.glob("*.sock")]
    assert left == [tracked.report["tracker"] + ".sock"], left
    image.unlink()
    lab.image("image", SIZE)
    uuid = tracked.mount()["tracker"]
    assert uuid != tracked.report["tracker"]
    assert [path.name for path in sockets.glob("*.sock")] == [uuid + ".sock"]
    tracked.freeze()


def test_another_image_or_writer_means_a_new_tracking(lab):
    image = lab.image("image", SIZE)
    tracked = Tracked(lab, image)
    seen = {tracked.report["tracker"]}
    for cause, change in [
            ("foreign-writes", lambda: os.utime(image)),
            ("replaced", lambda: os.replace(lab.image("other", SIZE), image)),
            ("replaced", lambda: os.truncate(image, SIZE + MIB)),
            ("log-void", lambda: os.removexattr(image, "user.towline.tracker")),
            ("log-damaged", lambda: damage(lab.dir / "tracking/fuse"))]:
        tracked.unmount()
        change()
        report = tracked.mount()
        assert report["cause"] == cause, (cause, report)
        assert report["tracker"] not in seen and report["trust"] == "unknown", report
        seen.add(report["tracker"])


def damage(folder):
    for record in folder.glob("*/record"):
        data = bytearray(record.read_bytes())
        data[100] ^= 1
        record.write_bytes(data)


def test_takeover_under_load(lab):
    """Another process goes on with the connection; no write fails, no mark is lost."""
    tracked = Tracked(lab, lab.image("image", 4 * MIB))
    before = tracked.image.read_bytes()
    loop = tracked.loop()
    writer = subprocess.Popen(
        ["fio", "--name=w", f"--filename={loop}", "--rw=randwrite", "--bs=4k", "--direct=1",
         "--ioengine=libaio", "--iodepth=8", "--size=4M", "--time_based", "--runtime=4",
         "--output=/dev/null"])
    uuid, first = tracked.report["tracker"], tracked.pid
    for _ in range(4):
        old = tracked.pid
        report = tracked.mount("--takeover")
        assert (report["tracker"], report["trust"]) == (uuid, "exact"), report
        wait_for(lambda: not alive(old))
        time.sleep(0.2)
    assert tracked.pid != first
    assert writer.wait() == 0, "a write failed"
    frozen = tracked.freeze()
    assert differing(before, tracked.image.read_bytes(), BLOCK) <= frozen["blocks"]
    assert frozen["frozen_trust"] == 1


def test_a_successor_that_dies_leaves_all_to_its_predecessor(lab):
    tracked = Tracked(lab, lab.image("image", SIZE))
    direct_write(tracked.volume, 0, BLOCK, 1)
    successor = Control(tracked.report["control"])
    for fd in successor.raw(request(HAND_OVER))[1]:
        os.close(fd)
    successor.close()
    direct_write(tracked.volume, MIB, BLOCK, 1)
    frozen = tracked.freeze()
    assert frozen["blocks"] == touched((0, 1), (MIB, BLOCK)) and frozen["frozen_trust"] == 1


# --- refusals

def refused(done, *says, exit=3):
    assert done.returncode == exit, (done.returncode, done.stderr)
    for text in says:
        assert text in done.stderr, f"{text!r} is not in: {done.stderr}"


def test_refusals_name_the_remedy(lab):
    image = lab.image("image", SIZE)
    tracked = Tracked(lab, image)
    refused(tracked.try_mount(), "mounted on it", "umount")
    other = lab.dir / "mount-other"
    other.mkdir()
    tracked.mountpoint, kept = other, tracked.mountpoint
    refused(tracked.try_mount(), "in use by another process", exit=7)
    tracked.mountpoint = kept
    tracked.unmount()

    (kept / "file").write_text("")
    refused(tracked.try_mount(), "not empty", "empty folder")
    (kept / "file").unlink()
    with open(image, "rb"):
        refused(tracked.try_mount(), "open in another program", "fuser")
    with open(image, "r+b") as locked:
        fcntl.lockf(locked, fcntl.LOCK_EX)
        refused(tracked.try_mount(), "open in another program")
    loop = subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True,
                          text=True).stdout.strip()
    refused(tracked.try_mount(), "loop")
    subprocess.run(["losetup", "-d", loop], check=True)
    link = lab.dir / "link"
    link.symlink_to(kept)
    tracked.mountpoint = link
    refused(tracked.try_mount(), "symbolic link")
    tracked.mountpoint = lab.dir / "nowhere"
    refused(tracked.try_mount(), "mkdir")
    tracked.mountpoint = image
    refused(tracked.try_mount(), "is no folder")
    tracked.mountpoint = kept
    tracked.mount()
    tracked.kill()
    refused(tracked.try_mount(), "daemon that died", "umount")
    tracked.remount_after_kill()
    loop = tracked.loop()
    os.kill(tracked.pid, 15)  # asked to end while it is used: it goes on
    time.sleep(0.3)
    direct_write(loop, 0, BLOCK, 1)
    subprocess.run(["losetup", "-d", loop], check=True)
    os.kill(tracked.pid, 15)
    wait_for(lambda: not alive(tracked.pid))


def test_hostile_clients_harm_nobody(lab):
    tracked = Tracked(lab, lab.image("image", SIZE))
    good = request(STATUS)
    # Clients that say nothing, beyond what is served at once.
    silent = [tracked.control() for _ in range(40)]
    for client in silent:
        client.close()
    for message in [b"", b"x", good[:-1], good + b"x", bytes(len(good)), b"\xff" * 8000,
                    request(99), request(0), request(STATUS, flags=2), request(STATUS)[:4],
                    request(HOLD, drain_ms=10 ** 9), struct.pack("<IHH", 0x43464C54, 2, 1)]:
        client = tracked.control()
        try:
            data, fds = client.raw(message)
            assert not fds and data[6:8] != b"\0\0", message
        except ConnectionError:
            pass
        client.close()
    # One that prepares, holds the gate and says nothing more: writes go on when its lease ends.
    holder = tracked.control()
    holder.call(PREPARE)
    holder.call(HOLD, drain_ms=100, lease_ms=300)
    for command in [HOLD, FREEZE, PREPARE]:
        try:
            tracked.ask(command)
            raise AssertionError(f"{command} of another's freeze")
        except Refusal:
            pass
    began = time.monotonic()
    direct_write(tracked.volume, 0, BLOCK, 1)
    assert 0.1 < time.monotonic() - began < 5
    try:
        holder.call(FREEZE)
        raise AssertionError("a freeze after its lease")
    except Refusal as refusal:
        assert "longer" in refusal.text
    holder.close()
    # One that sends and never reads.
    deaf = tracked.control()
    deaf.socket.setblocking(False)
    try:
        for _ in range(100_000):
            deaf.socket.send(good)
    except (BlockingIOError, ConnectionError):
        pass
    for sequence in [0, 7, 2 ** 63]:
        for command in [COMMIT, GIVE_BACK]:
            try:
                tracked.ask(command, sequence=sequence)
                raise AssertionError("an epoch that never was")
            except Refusal:
                pass
    for command in [READY]:
        try:
            tracked.ask(command)
            raise AssertionError("nothing is handed over")
        except Refusal:
            pass
    assert tracked.freeze()["blocks"] == touched((0, BLOCK))
    unlisted = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        unlisted.connect(tracked.report["control"])
        raise AssertionError("a stream to a seqpacket socket")
    except OSError:
        pass
    unlisted.close()


if __name__ == "__main__":
    main(globals())
