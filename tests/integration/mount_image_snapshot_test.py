#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Snapshots of tracked mounts: one moment under load, of a group too; a full store costs the
snapshot and nobody else."""

import os
import subprocess
import threading
import time

from lib.lab import KIB, MIB, Skip, wait_for
from lib.runner import count, main
from lib.tracked import FREEZE, HOLD, PREPARE, STATUS, WITH_SNAPSHOT, Refusal, Tracked

BLOCK = 4 * KIB
ROUNDS_SAMPLE = 6


def fio(path, seconds, *words):
    return subprocess.Popen(
        ["fio", "--name=w", f"--filename={path}", "--rw=randwrite", "--bsrange=4k-64k",
         "--blockalign=4k", "--direct=1", "--ioengine=libaio", "--iodepth=16",
         "--thread", "--time_based", f"--runtime={seconds}", "--output=/dev/null", *words])


def test_images_hold_their_moment_under_load(lab):
    """The last image and what is marked since make the next one, whole: whatever else came into it
    would differ. Read while its chunks are copied, and once more when they are."""
    tracked = Tracked(lab, lab.image("image", 16 * MIB))
    replica = bytearray(tracked.image.read_bytes())
    loop = tracked.loop()
    writer = fio(loop, 60, "--size=16M")
    lab.at_end(writer.wait)
    lab.at_end(writer.terminate)
    for number in range(count(ROUNDS_SAMPLE)):
        time.sleep(lab.random.uniform(0, 0.3))
        frozen = tracked.freeze(snapshot=True, store=32 * MIB)
        path = tracked.mountpoint / f"snapshot-{frozen['frozen']}"
        image = path.read_bytes()
        for block in frozen["blocks"]:
            replica[block * BLOCK:(block + 1) * BLOCK] = image[block * BLOCK:(block + 1) * BLOCK]
        assert image == replica, f"round {number}: another moment is in the image"
        assert path.read_bytes() == image, f"round {number}: the image changed"
        try:
            os.open(path, os.O_WRONLY)
            raise AssertionError("a snapshot that can be written to")
        except OSError:
            pass
        tracked.remove_snapshot(frozen["frozen"])
        tracked.commit(frozen["frozen"])
    assert writer.poll() is None, "the writer failed"


def test_a_group_is_one_moment(lab):
    """A number goes to the first image, then to the second, then the next number: in one moment the
    second has the number of the first, or the one before."""
    pair = [Tracked(lab, lab.image(name, 4 * MIB, bytes(4 * MIB))) for name in ["a", "b"]]
    stop = threading.Event()

    def write():
        files = [os.open(each.volume, os.O_WRONLY | os.O_DSYNC) for each in pair]
        number = 0
        while not stop.is_set():
            number += 1
            for file in files:
                os.pwrite(file, number.to_bytes(8, "little") * 512, 0)
                os.pwrite(file, number.to_bytes(8, "little") * 512, MIB)
        for file in files:
            os.close(file)

    thread = threading.Thread(target=write)
    thread.start()
    numbers = set()
    try:
        for _ in range(count(ROUNDS_SAMPLE * 5)):
            controls = [each.control() for each in pair]
            for control in controls:
                control.call(PREPARE, flags=WITH_SNAPSHOT, store=MIB)
            for control in controls:
                control.call(HOLD, drain_ms=5000, lease_ms=5000)
            time.sleep(lab.random.uniform(0, 0.01))
            frozen = [control.call(FREEZE)["frozen"] for control in controls]
            for control in controls:
                control.close()
            seen = []
            for each, sequence in zip(pair, frozen):
                with open(each.mountpoint / f"snapshot-{sequence}", "rb", buffering=0) as file:
                    for at in [0, MIB]:
                        stamp = os.pread(file.fileno(), BLOCK, at)
                        assert stamp == stamp[:8] * 512, "a torn stamp"
                        seen.append(int.from_bytes(stamp[:8], "little"))
            # In the order in which they were written: never growing, one apart at most.
            assert seen == sorted(seen, reverse=True) and seen[0] - seen[-1] <= 1, seen
            numbers.add(seen[0])
            for each, sequence in zip(pair, frozen):
                each.remove_snapshot(sequence)
                each.commit(sequence)
    finally:
        stop.set()
        thread.join()
    assert len(numbers) > 3, numbers


def test_a_full_store_costs_the_snapshot_alone(lab):
    tracked = Tracked(lab, lab.image("image", 16 * MIB, lab.content(16 * MIB)))
    frozen = tracked.freeze(snapshot=True, store=MIB)
    path = tracked.mountpoint / f"snapshot-{frozen['frozen']}"
    with open(path, "rb", buffering=0) as held:
        writer = fio(tracked.volume, 2, "--size=16M")
        assert writer.wait() == 0, "a write failed for a full store"
        status = tracked.ask(STATUS)
        assert status["snapshot_flags"] == 3 and "full" in status["why"], status
        try:
            held.read(BLOCK)
            raise AssertionError("a snapshot that failed gives bytes")
        except OSError:
            pass
        try:
            tracked.ask(8, sequence=frozen["frozen"])
            raise AssertionError("removed while it is open")
        except Refusal as refusal:
            assert "is open" in refusal.text
    tracked.remove_snapshot(frozen["frozen"])
    assert not path.exists()
    assert tracked.freeze()["trust"] == 1, "tracking goes on"


def test_a_disk_without_room_makes_no_snapshot(lab):
    small = lab.dir / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8M", "towline", small], check=True)
    lab.at_end(subprocess.run, ["umount", "-l", small])
    tracked = Tracked(lab, lab.image("image", 32 * MIB), "--store", small)
    try:
        tracked.freeze(snapshot=True, store=32 * MIB)
        raise AssertionError("32 MiB on a disk of 8")
    except Refusal as refusal:
        assert "--store" in refusal.text and refusal.code == 6, refusal  # kNoSpace
    assert tracked.ask(STATUS)["sequence_frozen"] == 0, "nothing was frozen"
    frozen = tracked.freeze(snapshot=True, store=4 * MIB)
    tracked.remove_snapshot(frozen["frozen"])


def test_a_log_that_cannot_be_written_fails_no_write(lab):
    """Writes go on, and a crash then reads as unknown."""
    tracked = Tracked(lab, lab.image("image", 16 * MIB), "--region", "1M")
    uuid = tracked.report["tracker"]
    record = next((lab.dir / "tracking/fuse").glob("*/record"))
    if subprocess.run(["chattr", "+i", record], capture_output=True).returncode != 0:
        raise Skip("no immutable files in the temporary folder")
    lab.at_end(subprocess.run, ["chattr", "-i", record])
    with open(tracked.volume, "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), lab.content(BLOCK), 3 * MIB)
    assert tracked.ask(STATUS)["log"] == 1, "void, and durably so"
    assert tracked.freeze()["blocks"] == {3 * MIB // BLOCK}, "what is in memory is exact"
    tracked.kill()
    subprocess.run(["chattr", "-i", record], check=True)
    report = tracked.remount_after_kill()
    assert report["cause"] == "log-void" and report["tracker"] != uuid, report


def test_a_read_only_loop_device_over_a_snapshot(lab):
    """As one mounts what a snapshot holds."""
    tracked = Tracked(lab, lab.filesystem_image("image", 32 * MIB))
    frozen = tracked.freeze(snapshot=True)
    path = tracked.mountpoint / f"snapshot-{frozen['frozen']}"
    subprocess.run(["mkfs.ext4", "-q", "-F", tracked.volume], check=True)  # overwritten meanwhile
    device = subprocess.run(["losetup", "--find", "--show", "-r", path], check=True,
                            capture_output=True, text=True).stdout.strip()
    checked = subprocess.run(["e2fsck", "-fn", device], capture_output=True, text=True)
    files = subprocess.run(["debugfs", "-R", "ls -p", device], capture_output=True, text=True)
    subprocess.run(["losetup", "-d", device], check=True)
    assert checked.returncode == 0, checked.stdout
    assert "file19" in files.stdout, files
    wait_for(lambda: not os.path.exists(f"/sys/block/{device[5:]}/loop/backing_file"))
    tracked.remove_snapshot(frozen["frozen"])


if __name__ == "__main__":
    main(globals())
