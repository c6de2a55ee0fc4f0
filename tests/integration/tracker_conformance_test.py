#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What cbt/tracker.hpp says of every tracker, held by each that this host can have. The module's is
held in a guest, where tests/kernel/conformance_test.py runs this file with TOWLINE_TRACKERS=kmod."""

import os
import uuid
from pathlib import Path

from lib.lab import KIB, MIB
from lib.runner import count, main
from lib.tracked import Tracked
from lib.tracking import Tracking, differing, slow_file, writer
from lib.writes import run, sync, ways

SIZE = int(os.environ.get("TOWLINE_SUITE_MIB", 64)) * MIB  # less in a guest, which is slow
BLOCK = 4 * KIB
ROUNDS_SAMPLE = 1
LOADS = (("aio", {"count": 1000, "depth": 96}), ("uring", {"count": 1000, "depth": 96}),
         ("direct", {"count": 25}))  # 2,025 writes a round


def disk(lab, delay_ms):
    """The file that a tracker's volume is made of, and the one that its writes land in."""
    if delay_ms:
        return slow_file(lab, SIZE, delay_ms)
    image = lab.image("disk", SIZE)
    return image, image


class Bpf:
    """A loop device, and the file that its writes land in."""

    LATE_MS = 30

    def __init__(self, lab, delay_ms=0):
        image, self.below = disk(lab, delay_ms)
        self.device = lab.loop(image, 512, "--direct-io=on")
        self.tracking = Tracking(lab, "bpf")
        self.tracker = self.tracking.attach(self.device, BLOCK)


class Fuse:
    """A loop device over a tracked mount, and the image that its writes land in."""

    # Each: the kernel writes to a file of a FUSE mount one by one, so of 96 the last lands 100 ms late.
    LATE_MS = 1

    def __init__(self, lab, delay_ms=0):
        image, self.below = disk(lab, delay_ms)
        self.tracking = Tracking(lab, "fuse", ends=False)  # a tracking ends with its mount
        mounted = Tracked(lab, image, "--block", BLOCK, run_folder=self.tracking.state)
        self.device = Path(mounted.loop())
        self.tracker = self.tracking.call("find", self.device)["tracker"]


class Kmod:
    """A loop device, or a device-mapper one that is slow on top of it; and the file below."""

    LATE_MS = 30

    def __init__(self, lab, delay_ms=0):
        self.below = lab.image("disk", SIZE)
        self.device = lab.loop(self.below, 512)
        if delay_ms:
            self.device = self._slow(lab, self.device, delay_ms)
        self.tracking = Tracking(lab, "kmod")
        self.tracker = self.tracking.attach(self.device, BLOCK)

    @staticmethod
    def _slow(lab, device, delay_ms):
        table = f"0 {SIZE // 512} delay {device} 0 0 {device} 0 {delay_ms}"
        run("dmsetup", "create", "--noudevsync", "slow", "--table", table)
        run("dmsetup", "mknodes", "slow")
        lab.at_end(run, "dmsetup", "remove", "--noudevsync", "slow")
        return Path("/dev/mapper/slow")


def every_way_of_writing_is_marked(lab, kind):
    on = kind(lab)
    seed = lab.random.randrange(1 << 30)
    on.tracking.harvest(on.tracker)
    for name, act in ways(lab, on.device, seed, SIZE):
        before = on.below.read_bytes()
        act()
        sync(on.device)
        found = on.tracking.harvest(on.tracker)
        changed = differing(before, on.below, BLOCK)
        assert changed and (found.trust == "exact" or found.gap), f"{name}: {found}"
        assert not changed - found.blocks, f"{name}: missed {sorted(changed - found.blocks)[:9]}"
        one = len(found.blocks) == 1 or found.gap
        assert one or name not in ("sector", "end"), f"{name}: {found}"
    quiet = on.tracking.harvest(on.tracker)
    assert quiet.gap or not quiet.blocks and quiet.trust == "exact", str(quiet)


def write_block(on, block, lab):
    fd = os.open(on.device, os.O_WRONLY)
    os.pwrite(fd, lab.content(BLOCK), block * BLOCK)
    os.fsync(fd)
    os.close(fd)


def marks_are_dropped_by_commit_alone(lab, kind):
    on = kind(lab)
    track, tracker = on.tracking, on.tracker
    on.tracking.harvest(tracker)
    write_block(on, 100, lab)
    first = track.freeze(tracker)
    assert first.gap or first.blocks == {100}, str(first)
    track.call("give-back", tracker, first.sequence)
    track.call("give-back", tracker, first.sequence)
    track.refused("refused", "commit", tracker, first.sequence)
    # Who froze, and died: the next freeze has both.
    write_block(on, 200, lab)
    second = track.freeze(tracker)
    assert second.gap or second.blocks == {100, 200}, str(second)
    write_block(on, 300, lab)
    third = track.freeze(tracker)
    assert third.gap or third.blocks == {100, 200, 300}, str(third)
    assert "merged" in third.reasons, str(third)
    track.refused("refused", "commit", tracker, second.sequence)
    track.call("commit", tracker, third.sequence)
    track.call("commit", tracker, third.sequence)
    track.refused("refused", "give-back", tracker, third.sequence)
    status = track.status(tracker)
    assert (status["sequence_frozen"], status["sequence_committed"]) == (0, third.sequence), status
    last = track.freeze(tracker)
    assert last.gap or not last.blocks, str(last)
    assert last.after == third.sequence, str(last)
    assert first.sequence < second.sequence < third.sequence < last.sequence


def what_is_not_tracked_is_told(lab, kind):
    on = kind(lab)
    for verb in ("status", "freeze"):
        on.tracking.refused("invalid", verb, uuid.uuid4())
    other = lab.loop(lab.image("other", MIB))
    assert on.tracking.call("find", other) is None
    assert on.tracking.call("find", on.device)["tracker"] == on.tracker
    assert [each["tracker"] for each in on.tracking.call("list")] == [on.tracker]
    on.tracking.refused("busy", "attach", on.device)


def writes_are_counted(lab, kind):
    on = kind(lab)
    before = on.tracking.status(on.tracker)["writes_seen"]
    on.device.open("rb").read(MIB)
    assert on.tracking.status(on.tracker)["writes_seen"] == before, "a read is no write"
    write_block(on, 7, lab)
    assert on.tracking.status(on.tracker)["writes_seen"] > before


def increments_under_load_make_the_volume(lab, kind):
    """A consumer that copies what each epoch marks, while several programs write to a disk on which
    a write lands long after it was submitted: with fast ones the races of an epoch's end are not
    met."""
    on = kind(lab, kind.LATE_MS)
    held = bytearray(on.below.read_bytes())
    before, epochs = on.tracking.status(on.tracker)["writes_seen"], 0

    def take(found):
        with open(on.below, "rb", buffering=0) as file:
            for block in found.blocks:
                file.seek(block * BLOCK)
                held[block * BLOCK:(block + 1) * BLOCK] = file.read(BLOCK)
    for number in range(count(ROUNDS_SAMPLE)):
        seed = lab.random.randrange(1 << 30)
        span = SIZE // len(LOADS) // MIB * MIB
        load = [writer(on.device, how, seed + at, max=64 * KIB, start=at * span, span=span, **more)
                for at, (how, more) in enumerate(LOADS)]
        while any(each.poll() is None for each in load):
            found = on.tracking.freeze(on.tracker)
            take(found)
            assert found.trust == "exact" or found.gap, str(found)
            on.tracking.call("commit", on.tracker, found.sequence)
            epochs += 1
        assert all(each.returncode == 0 for each in load)
        take(on.tracking.harvest(on.tracker))
        stale = differing(held, on.below, BLOCK)
        assert not stale, f"round {number}: {len(stale)} stale blocks {sorted(stale)[:9]}"
    seen = on.tracking.status(on.tracker)["writes_seen"] - before
    # The kernel may join neighbours.
    assert seen >= 0.9 * count(ROUNDS_SAMPLE) * sum(more["count"] for _, more in LOADS), seen
    print(f"     {seen} writes that land {kind.LATE_MS} ms late, {epochs} epochs, 0 missed")


CHECKS = (every_way_of_writing_is_marked, marks_are_dropped_by_commit_alone,
          what_is_not_tracked_is_told, writes_are_counted, increments_under_load_make_the_volume)
KINDS = {"bpf": Bpf, "fuse": Fuse, "kmod": Kmod}
for _check in CHECKS:
    for _kind in (KINDS[_name] for _name in os.environ.get("TOWLINE_TRACKERS", "bpf,fuse").split(",")):
        globals()[f"test_{_kind.__name__.lower()}_{_check.__name__}"] = (
            lambda lab, check=_check, kind=_kind: check(lab, kind))

main(globals())
