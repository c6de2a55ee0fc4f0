#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A tracker that missed a write is found out by the audit: the run stops before anything is sent, and
every target of the source is compared once. What is missed here is a write behind the tracker's
back, into the image below a tracked mount and into the file below a tracked loop device."""

import os
import subprocess
import time

from lib.daemon import Daemon
from lib.lab import KIB, MIB, Skip, binary, equal, read_device, write_at
from lib.operator import Operator
from lib.runner import main
from lib.tracked import Tracked

BLOCK = 64 * KIB
SIZE = 8 * MIB  # 128 blocks, fewer than are audited: every clean one is looked at
CORRUPT = 6


def write_unseen(path, offset, data):
    """Past the page cache, so that whoever reads the disk reads it."""
    write_at(path, offset, data)
    fd = os.open(path, os.O_RDWR)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


class GapSeen(Exception):
    """Some kernels run no eBPF program in some places. That is seen, and costs a comparison."""


class Source:
    """A tracked volume with a first copy at a target."""

    def __init__(self, lab, volume, below, tracker, *words):
        self.lab, self.volume, self.below = lab, volume, below
        self.words = ["--tracker", tracker, "--block", BLOCK, *words]

    def sync(self, target, *words):
        report = self.lab.sync(self.volume, target, *self.words, *words)
        if report["cause"] == "tracker-gap":
            raise GapSeen
        return report

    def alarm(self, target, *words):
        outcome = self.lab.try_sync(self.volume, target, *self.words, *words)
        if outcome.exit == 0 and outcome.report["cause"] == "tracker-gap":
            raise GapSeen
        assert outcome.exit == CORRUPT, str(outcome)
        for text in ("held to be unchanged", "the next run compares everything"):
            assert text in outcome.err, str(outcome)

    def write(self, block):
        write_at(self.volume, block * BLOCK, self.lab.content(BLOCK))
        fd = os.open(self.volume, os.O_RDWR)
        os.fsync(fd)
        os.close(fd)

    def write_unseen(self, block):
        write_unseen(self.below, block * BLOCK, self.lab.content(BLOCK))

    def content(self):
        device = self.volume.is_block_device()
        return read_device(self.volume) if device else self.below.read_bytes()


def found_out(lab, source):
    one, two = lab.dir / "one", lab.dir / "two"
    source.sync(one)
    source.sync(two)
    # A target that is new to the tracking is compared once.
    source.sync(one)
    source.write(10)
    source.write(11)
    good = source.sync(one)
    assert (good["cause"], good["bytes_changed"]) == ("tracked", 2 * BLOCK), good
    assert good["audited_blocks"] == SIZE // BLOCK - 2, good
    before = one.read_bytes()

    source.write(20)
    source.write_unseen(30)
    source.alarm(one)
    assert one.read_bytes() == before, "something was sent"
    healed = source.sync(one)
    assert healed["cause"] == "audit-failed", healed
    assert one.read_bytes() == source.content()
    source.write(40)
    again = source.sync(one)
    assert (again["cause"], again["bytes_changed"]) == ("tracked", BLOCK), again
    # The other target's epochs were not believed either.
    other = source.sync(two)
    assert other["cause"] == "audit-failed", other
    assert two.read_bytes() == source.content()


def tracked_image(lab, size=SIZE):
    """A mount where `towline sync` looks for one."""
    image = lab.image("image", size)
    tracked = Tracked(lab, image, run_folder="/run/towline")
    return Source(lab, tracked.volume, image, "fuse", "--snapshot", "fuse")


def test_below_a_tracked_mount(lab):
    found_out(lab, tracked_image(lab))


def seen_or_found(source, target, block):
    """A write that the tracker does not know of is found by the audit or, where the tracker says
    that it has missed something, by the comparison that this costs: never sent past in silence.
    True: it was the audit."""
    source.write((block + 7) % (SIZE // BLOCK))
    source.write_unseen(block)
    try:
        source.alarm(target)
        assert source.sync(target)["cause"] == "audit-failed"
        found = True
    except GapSeen:
        found = False
    assert target.read_bytes() == source.content(), "the unseen write is not at the target"
    return found


def test_below_a_loop_device_with_bpf(lab):
    if os.geteuid() != 0:
        raise Skip("tracking a device takes root")
    below = lab.image("below", SIZE)
    device = lab.loop(below, 512, "--direct-io=on")
    attached = subprocess.run([binary(), "track", "attach", device, "--tracker", "bpf"],
                              text=True, capture_output=True)
    if attached.returncode != 0:
        raise Skip(f"no eBPF tracker here: {attached.stderr.strip()}")
    lab.at_end(subprocess.run, [binary(), "track", "detach", device])
    source, one = Source(lab, device, below, "bpf"), lab.dir / "one"
    for _ in range(2):
        lab.sync(device, one, *source.words)
    if not any(seen_or_found(source, one, block) for block in range(30, 40)):
        raise Skip("this kernel runs no eBPF program in so many places that each of 10 epochs was "
                   "unknown: each was compared, and the audit had nothing to do")


PERIOD_SECONDS = 0.08
ROLLING = ("--audit", 0, "--audit-days", PERIOD_SECONDS / 86400)


def test_what_no_sample_looks_at_is_found_by_going_round(lab):
    source, target = tracked_image(lab), lab.dir / "one"
    source.sync(target, *ROLLING)
    source.write(10)
    time.sleep(2 * PERIOD_SECONDS)
    good = source.sync(target, *ROLLING)
    assert (good["cause"], good["audited_blocks"]) == ("tracked", SIZE // BLOCK - 1), good
    source.write_unseen(30)
    time.sleep(2 * PERIOD_SECONDS)
    source.alarm(target, *ROLLING)
    healed = source.sync(target, *ROLLING)
    assert (healed["cause"], healed["bytes_changed"]) == ("audit-failed", BLOCK), healed
    slow = source.sync(target, "--audit", 0, "--audit-days", 3650)
    assert slow["audited_blocks"] == 0, slow


def test_a_tracker_that_forgets_one_mark_in_a_thousand(lab):
    """Every thousandth write lands below the tracker, as one that was not marked. It is found within
    the runs that the size of the sample predicts: with k wrong blocks among b that are held to be
    unchanged, one look finds none with a chance of 1 - k/b, and a run looks 256 times."""
    blocks, sample, a_run, forgets = 2048, 256, 200, 1000
    source, target = tracked_image(lab, blocks * BLOCK), lab.dir / "one"
    source.sync(target)
    wrong, marks, undetected, runs = set(), 0, 1.0, 0
    while True:
        marked = set(lab.random.sample(range(blocks), a_run))
        for block in marked:
            marks += 1
            if marks % forgets == 0:
                source.write_unseen(block)
                wrong.add(block)
            else:
                write_at(source.volume, block * BLOCK, lab.content(4 * KIB))
                wrong.discard(block)
        runs += 1
        undetected *= (1 - len(wrong) / (blocks - a_run)) ** sample
        outcome = lab.try_sync(source.volume, target, *source.words, "--audit-days", 0)
        if outcome.exit == CORRUPT:
            break
        assert outcome.exit == 0 and outcome.report["cause"] == "tracked", str(outcome)
        assert undetected > 1e-9, f"{len(wrong)} wrong blocks were not found in {runs} runs"
    assert wrong, "an alarm about nothing"
    print(f"     {marks // forgets} of {marks} marks were forgotten; found in run {runs}, by then with a "
          f"chance of {1 - undetected:.2f}")
    assert source.sync(target)["cause"] == "audit-failed"
    assert target.read_bytes() == source.content()


def test_a_job_raises_an_alarm(lab):
    image = lab.image("image", SIZE)
    tracked = Tracked(lab, image, run_folder=lab.dir / "run")
    daemon = Daemon(lab, ["--run-dir", lab.dir / "run"]).start()
    daemon.put("db", tracked.volume, lab.dir / "one", {"manual": True}, tracker="fuse",
               snapshot="fuse")
    for _ in range(2):
        daemon.completed(daemon.start_run("db")["id"])
    assert "job.alarm" not in [event["type"] for event in daemon.events()]
    write_unseen(image, 30 * BLOCK, lab.content(BLOCK))
    run = daemon.ended(daemon.start_run("db")["id"])
    assert run["state"] == "Failed", run
    events = [(event["type"], event["run"]) for event in daemon.events()]
    assert ("job.alarm", run["id"]) in events and ("run.failed", run["id"]) in events, events
    healed = daemon.completed(daemon.start_run("db")["id"])
    assert healed["cause"] == "audit-failed", healed
    assert [event["type"] for event in daemon.events()].count("job.alarm") == 1


def test_a_job_goes_round_in_its_days(lab):
    """So many blocks that a sample of 256 does not make up for it."""
    image = lab.sparse("image", 512 * MIB)
    tracked = Tracked(lab, image, run_folder=lab.dir / "run")
    daemon = Daemon(lab, ["--run-dir", lab.dir / "run"]).start()
    made = daemon.put("db", tracked.volume, lab.dir / "one", {"manual": True}, tracker="fuse",
                      snapshot="fuse", audit_days=0)["job"]
    assert made["audit_days"] == 0, made
    assert Operator(daemon).json("job", "edit", "db", "--audit-days",
                                 PERIOD_SECONDS / 86400)["changed"]
    daemon.completed(daemon.start_run("db")["id"])
    write_unseen(image, 30 * BLOCK, lab.content(BLOCK))
    time.sleep(2 * PERIOD_SECONDS)
    run = daemon.ended(daemon.start_run("db")["id"])
    assert run["state"] == "Failed" and "held to be unchanged" in run["error"]["message"], run
    healed = daemon.completed(daemon.start_run("db")["id"])
    assert healed["cause"] == "audit-failed", healed


def test_against_a_point_of_a_vault(lab):
    vault = lab.dir / "vault"
    subprocess.run([binary(), "vault", "init", vault], check=True, capture_output=True)
    source, target = tracked_image(lab), f"vault:{vault}/data"
    source.sync(target)
    source.write(10)
    good = source.sync(target)
    assert (good["cause"], good["audited_blocks"]) == ("tracked", SIZE // BLOCK - 1), good
    source.write_unseen(30)
    source.alarm(target)
    healed = source.sync(target)
    assert (healed["cause"], healed["bytes_changed"]) == ("audit-failed", BLOCK), healed


def test_without_it_the_write_is_missed(lab):
    """What the others show is the audit's work."""
    source, target = tracked_image(lab), lab.dir / "one"
    source.sync(target)
    source.write(20)
    source.write_unseen(30)
    report = source.sync(target, "--audit", 0)
    assert (report["cause"], report["audited_blocks"]) == ("tracked", 0), report
    try:
        equal(target, source.below)
    except AssertionError:
        return
    raise AssertionError("the write was not missed: nothing is shown here")


def test_a_sample_is_as_large_as_was_asked_for(lab):
    source, target = tracked_image(lab), lab.dir / "one"
    source.sync(target)
    report = source.sync(target, "--audit", 16)
    assert (report["cause"], report["audited_blocks"]) == ("tracked", 16), report


main(globals())
