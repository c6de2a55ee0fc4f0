#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The eBPF tracker on live devices: every way in which a device is written to is marked, whichever
node it went by, and it lives on without a process."""

import subprocess

from lib.lab import KIB, MIB, Skip
from lib.runner import count, main
from lib.tracking import Tracking, differing, slow_disk, write, writer
from lib.writes import run, sync, ways

SIZE = 64 * MIB
BLOCK = 4 * KIB
PART = 2 * MIB, 24 * MIB  # start and length of the first partition


def partitioned(lab):
    """A loop device with two partitions: its node, its file, and the node of the first of them."""
    image = lab.image("disk", SIZE)
    table = f"start={PART[0] // 512}, size={PART[1] // 512}\nstart={32 * MIB // 512}, size=20480\n"
    subprocess.run(["sfdisk", "-q", image], input=table, text=True, check=True)
    disk = lab.loop(image, 512, "--partscan")
    part = disk.with_name(disk.name + "p1")
    if not part.exists() and subprocess.run(["partx", "--add", disk]).returncode != 0:
        raise Skip("no partitions can be made of a loop device here")
    return disk, image, part


def test_every_way_of_writing_by_disk_and_partition(lab):
    disk, image, part = partitioned(lab)
    tracking = Tracking(lab, "bpf")
    whole, inner = tracking.attach(disk, BLOCK), tracking.attach(part, BLOCK)
    seed, gaps = lab.random.randrange(1 << 30), 0
    for name, act in ways(lab, part, seed, PART[1]):
        before = image.read_bytes()
        act()
        sync(disk)
        sets = tracking.freeze(whole, inner)
        for each in sets:
            tracking.call("commit", each.tracker, each.sequence)
            assert each.trust == "exact" or each.gap, f"{name}: {each}"
        if sets[0].gap or sets[1].gap:
            print(f"     {name}: a gap was seen")
            gaps += 1
            assert gaps <= 2, "gaps are the exception"
            continue
        by_disk, by_part = sets[0].blocks, sets[1].blocks
        changed = differing(before, image, BLOCK, *PART)
        assert changed, name
        assert not changed - by_part, f"{name}: missed {sorted(changed - by_part)[:9]}, {sets[1]}"
        assert by_disk == {each + PART[0] // BLOCK for each in by_part}, f"{name}: views differ"
        assert len(by_part) == 1 or name not in ("sector", "end"), f"{name}: {sets[1]}"


def test_the_disk_s_node_changes_the_partition(lab):
    disk, image, part = partitioned(lab)
    tracking = Tracking(lab, "bpf")
    inner = tracking.attach(part, BLOCK)
    before = image.read_bytes()
    write(disk, "direct", 1, count=100, start=0, span=40 * MIB)
    changed, found = differing(before, image, BLOCK, *PART), tracking.harvest(inner)
    assert changed and not changed - found.blocks, str(found)
    assert found.volume_bytes == PART[1], found.volume_bytes


def test_what_changes_nothing_marks_nothing(lab):
    disk = lab.loop(lab.image("disk", SIZE))
    tracking = Tracking(lab, "bpf")
    tracker = tracking.attach(disk)
    run("dd", f"if={disk}", "of=/dev/null", "bs=1M", "count=8", "iflag=direct")
    sync(disk)
    found = tracking.freeze(tracker)
    assert not found.blocks and found.trust == "exact" and found.reasons == "first", str(found)
    assert tracking.status(tracker)["writes_seen"] == 0


def test_blocks_of_all_sizes(lab):
    disk = lab.loop(lab.image("disk", SIZE + 12 * KIB))
    for block in [4 * KIB, 64 * KIB, MIB]:
        tracking = Tracking(lab, "bpf")
        tracker = tracking.attach(disk, block)
        before = (lab.dir / "disk").read_bytes()
        write(disk, "direct", block, count=40, min=512, max=256 * KIB)
        run("dd", "if=/dev/urandom", f"of={disk}", "bs=4K", "count=3", f"seek={SIZE // 4096}",
            "oflag=direct")
        changed, found = differing(before, lab.dir / "disk", block), tracking.harvest(tracker)
        assert not changed - found.blocks, f"{block}: {found}"
        assert max(found.blocks) == (SIZE + 12 * KIB - 1) // block, str(found)
        status = tracking.status(tracker)
        assert status["memory_bytes"] <= 2 * (SIZE // block // 8 + 8192) + 20 * KIB, status
        tracking.call("detach", tracker)


def test_a_device_without_a_request_queue(lab):
    """zram takes bios as they are: in-flight writes are found by their submission alone."""
    try:
        with open("/sys/class/zram-control/hot_add", encoding="ascii") as file:
            number = file.read().strip()
    except OSError as error:
        raise Skip(f"no zram here: {error}") from None
    device, folder = f"/dev/zram{number}", f"/sys/block/zram{number}"
    lab.at_end(lambda: open("/sys/class/zram-control/hot_remove", "w",
                            encoding="ascii").write(number))
    with open(folder + "/disksize", "w", encoding="ascii") as file:
        file.write("32M")
    tracking = Tracking(lab, "bpf")
    tracker = tracking.attach(device)
    lab.at_end(lambda: tracking.call("detach", tracker))
    for how in ("direct", "buffered", "aio", "uring"):
        before = bytes(open(device, "rb").read())
        write(device, how, 5, count=50, min=4096)
        sync(device)
        now = lab.dir / "now"
        now.write_bytes(open(device, "rb").read())
        changed, found = differing(before, now, BLOCK), tracking.harvest(tracker)
        assert found.trust == "exact" and not changed - found.blocks, f"{how}: {found}"
    run("blkdiscard", "--offset", MIB, "--length", MIB, device)
    assert {MIB // BLOCK, 2 * MIB // BLOCK - 1} <= tracking.harvest(tracker).blocks


def test_slow_writes_under_harvests(lab):
    """Each round: a load of delayed writes, and meanwhile epoch after epoch is taken."""
    device, backing = slow_disk(lab, SIZE, 30)
    tracking = Tracking(lab, "bpf")
    tracker = tracking.attach(device)
    for number in range(count(2)):
        before, union, epochs, gaps = backing.read_bytes(), set(), 0, 0
        load = writer(device, ("aio", "uring")[number % 2], lab.random.randrange(1 << 30),
                      count=2200, min=4096, max=16 * KIB, depth=96)
        while load.poll() is None:
            found = tracking.harvest(tracker)
            assert found.trust == "exact" or found.gap, str(found)
            union |= found.blocks
            epochs += 1
            gaps += found.gap
        assert load.returncode == 0 and gaps <= epochs // 4, f"{gaps} gaps in {epochs} epochs"
        union |= tracking.harvest(tracker).blocks
        missed = differing(before, backing, BLOCK) - union
        assert not missed and epochs > 3, f"round {number}: {len(missed)} missed, {epochs} epochs"
    print(f"     {tracking.status(tracker)['writes_seen']} delayed writes, 0 missed")


def test_killed_at_any_moment_it_tracks_on(lab):
    """Calls are killed -9 in the middle; each can be made again, and no mark is lost."""
    disk, image = lab.loop(lab.image("disk", SIZE)), lab.dir / "disk"
    tracking = Tracking(lab, "bpf")
    tracker = tracking.attach(disk)
    before, union = image.read_bytes(), set()
    load = writer(disk, "direct", 9, seconds=max(4, count(20) // 10), pause_us=2000, max=16 * KIB)
    kills = 0
    while load.poll() is None:
        sets = tracking.killed(lab.random.uniform(0.001, 0.05), "freeze", tracker)
        kills += sets is None
        found = tracking.freeze(tracker)
        if lab.random.randrange(4) == 0:
            tracking.killed(lab.random.uniform(0.001, 0.02), "give-back", tracker, found.sequence)
            tracking.call("give-back", tracker, found.sequence)
            continue
        union |= found.blocks
        tracking.killed(lab.random.uniform(0.001, 0.02), "commit", tracker, found.sequence)
        tracking.call("commit", tracker, found.sequence)
        assert found.trust == "exact" or found.gap, str(found)
    union |= tracking.harvest(tracker).blocks
    missed = differing(before, image, BLOCK) - union
    assert not missed and kills > 5, f"{len(missed)} missed after {kills} kills"


main(globals())
