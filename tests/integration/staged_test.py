#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A replica that is whole stays whole: a run is staged beside it, attested, then applied. Cut off
before, it is the old moment to the byte; cut off behind, whoever takes it over makes it the new one,
without its source."""

import os
import subprocess

from lib.cutting import cut_off, goes_on
from lib.daemon import Daemon
from lib.lab import KIB, MIB, binary, equal, lines, read_device, write_at
from lib.operator import Operator
from lib.outcome import Outcome
from lib.pair import Pair
from lib.runner import main

SIZE = 16 * MIB
HEADER_BYTES = 44  # of an index (docs/format-staged.md)


def towline(*words):
    done = subprocess.run([binary(), *map(str, words)], text=True, capture_output=True, timeout=120)
    return Outcome(done.returncode, done.stdout, done.stderr, words)


def tmpfs(lab, name, megabytes):
    return lab.mount("tmpfs", lab.dir / name, "-t", "tmpfs", "-o", f"size={megabytes}m")


def resize(folder, megabytes):
    assert os.system(f"mount -o remount,size={megabytes}m {folder}") == 0


def journals(folder):
    return sorted(each.name.rpartition(".")[2] for each in folder.glob(".towline-*"))


def test_a_run_that_is_cut_off_leaves_the_old_moment(lab):
    pair = Pair(lab, SIZE)
    old = pair.replica.read_bytes()
    changes = [(at, 64 * KIB) for at in range(0, SIZE, 128 * KIB)]
    for offset, length in changes:
        write_at(pair.source, offset, lab.content(length))
    run, have = cut_off(lab, pair.source, pair.url, "--extents", "-", stdin=lines(changes), rate=24)
    assert run.exit != 0 and have > 0
    assert pair.replica.read_bytes() == old
    pair.server.kill()
    assert pair.replica.read_bytes() == old
    pair.server.start()
    report = goes_on(lab, pair.source, pair.url, have, SIZE // 2)
    assert report["staged"], report
    equal(pair.source, pair.replica)
    assert journals(lab.root / ".towline") == []


def test_what_is_staged_and_what_is_not(lab):
    pair = Pair(lab)
    assert not lab.sync(pair.source, pair.server.url("first"))["staged"]
    for words in [["--scan"], ["--full"], ["--scan", "--verify"]]:
        lab.change(pair.source, 4)
        assert lab.sync(pair.source, pair.url, *words)["staged"]
        equal(pair.source, pair.replica)
        lab.change(pair.source, 4)
        assert not lab.sync(pair.source, pair.url, "--direct", *words)["staged"]
        equal(pair.source, pair.replica)
    local = lab.dir / "local"
    lab.sync(pair.source, local)
    lab.change(pair.source, 4)
    journal = lab.dir / "journal"
    journal.mkdir()
    assert lab.sync(pair.source, local, "--journal", journal)["staged"]
    equal(pair.source, local)
    assert journals(journal) == [] == journals(lab.dir)
    lab.refused(pair.source, pair.url, "--scan", "--journal", journal, says=["on this host"])


def test_an_image_that_shrinks_and_grows(lab):
    pair = Pair(lab, SIZE)
    for size in [SIZE // 2 + 513, SIZE + 77, SIZE]:
        os.truncate(pair.source, size)
        lab.change(pair.source, 3)
        report = lab.sync(pair.source, pair.url)
        assert report["staged"], report
        equal(pair.source, pair.replica)


def test_no_room_to_stage(lab):
    """Refused before anything is sent where the size is known; else the run ends on the way. The
    replica is as it was, and --direct or a journal elsewhere brings it up to date."""
    small = tmpfs(lab, "small", 12)
    server = lab.server(words=["--journal", small])
    source = lab.image("source", SIZE, lab.content(SIZE))
    lab.sync(source, server.url("replica"))
    replica = lab.root / "replica"
    old = replica.read_bytes()
    write_at(source, 0, lab.content(14 * MIB))
    whole = lines([(0, 14 * MIB)])
    for words, stdin in [(["--extents", "-"], whole), (["--scan"], None)]:
        outcome = lab.try_sync(source, server.url("replica"), *words, stdin=stdin)
        assert outcome.exit == 5, outcome
        assert "--direct" in outcome.err and "--journal" in outcome.err, outcome
        assert replica.read_bytes() == old
    resize(small, 40)
    assert lab.sync(source, server.url("replica"), "--resume")["staged"]
    equal(source, replica)
    resize(small, 12)
    write_at(source, 0, lab.content(14 * MIB))
    assert not lab.sync(source, server.url("replica"), "--scan", "--direct")["staged"]
    equal(source, replica)


class Full:
    """A sparse replica that has no room for the run that is staged for it: applying fails."""

    def __init__(self, lab, served):
        self.lab = lab
        self.folder = tmpfs(lab, "full", 5)
        self.journal = lab.dir / "journal"
        self.journal.mkdir()
        self.source = lab.sparse("source", SIZE)
        write_at(self.source, MIB, lab.content(MIB))
        self.words = [] if served else ["--journal", self.journal]
        self.server = None
        self.target = self.replica = self.folder / "replica"
        if served:
            self.server = lab.server(root=self.folder, words=["--journal", self.journal])
            self.target = self.server.url("replica")
        lab.sync(self.source, self.target)
        write_at(self.source, 2 * MIB, lab.content(8 * MIB))
        outcome = lab.try_sync(self.source, self.target, "--extents", "-", *self.words,
                               stdin=lines([(2 * MIB, 8 * MIB)]))
        assert outcome.exit == 5, outcome
        assert journals(self.journal) == ["blocks", "staged"], outcome


def test_a_server_that_starts_applies_what_was_staged(lab):
    full = Full(lab, served=True)
    full.server.kill()
    resize(full.folder, 20)
    full.server.start()
    equal(full.source, full.replica)
    assert journals(full.journal) == []
    # The source hears that its run counts.
    write_at(full.source, 0, lab.content(4096))
    report = lab.extents(full.source, full.target, [(0, 4096)])
    assert report["cause"] == "change-list" and report["bytes_changed"] <= 64 * KIB, report
    equal(full.source, full.replica)


def test_hands_apply_what_was_staged(lab):
    full = Full(lab, served=False)
    finish = ["target", "finish", full.replica, "--state-dir", lab.state]
    outcome = towline(*finish)
    assert outcome.exit == 5, outcome
    resize(full.folder, 20)
    outcome = towline(*finish)
    assert outcome.exit == 0 and "is applied" in outcome.out, outcome
    equal(full.source, full.replica)
    assert "nothing was left" in towline(*finish).out
    assert journals(full.journal) == []


def test_the_next_run_applies_what_was_staged(lab):
    full = Full(lab, served=False)
    resize(full.folder, 20)
    write_at(full.source, 0, lab.content(4096))
    report = lab.extents(full.source, full.target, [(0, 4096)])
    assert report["bytes_changed"] <= 64 * KIB, report
    equal(full.source, full.replica)


def test_a_staged_block_that_rots(lab):
    """Nobody is given it. The source still has what the run was to bring."""
    full = Full(lab, served=False)
    blocks = next(full.journal.glob("*.blocks"))
    data = blocks.read_bytes()[5 * MIB:5 * MIB + 1]
    write_at(blocks, 5 * MIB, bytes([data[0] ^ 1]))
    resize(full.folder, 20)
    outcome = towline("target", "finish", full.replica, "--state-dir", lab.state)
    assert outcome.exit == 6 and "CRC" in outcome.err, outcome
    lab.sync(full.source, full.target, "--scan")
    equal(full.source, full.replica)


def test_an_index_that_lost_its_end(lab):
    """What is gone of it may be all that the run had brought."""
    full = Full(lab, served=False)
    index = next(full.journal.glob("*.staged"))
    os.truncate(index, HEADER_BYTES)
    resize(full.folder, 20)
    outcome = towline("target", "finish", full.replica, "--state-dir", lab.state)
    assert outcome.exit == 6 and "lost its end" in outcome.err, outcome
    lab.sync(full.source, full.target, "--scan")
    equal(full.source, full.replica)


def test_a_job_stages_where_it_is_told(lab):
    source, small = lab.image("source", SIZE, lab.content(SIZE)), tmpfs(lab, "small", 12)
    daemon = Daemon(lab).start()
    daemon.put("db", source, lab.dir / "replica", {"manual": True}, journal=str(small))
    daemon.completed(daemon.start_run("db")["id"])
    old = (lab.dir / "replica").read_bytes()
    write_at(source, 0, lab.content(14 * MIB))
    run = daemon.ended(daemon.start_run("db")["id"])
    assert run["state"] == "Failed" and "--journal" in run["error"]["message"], run
    assert (lab.dir / "replica").read_bytes() == old
    assert Operator(daemon).json("job", "edit", "db", "--direct")["changed"]
    daemon.completed(daemon.start_run("db")["id"])
    equal(source, lab.dir / "replica")
    refused = Operator(daemon).try_("job", "create", "far", "--volume", source, "--target",
                                    f"vault:{lab.dir}/none/data", "--journal", small)
    assert refused.returncode != 0 and "on this host" in refused.stderr, refused


def test_target_finish_of_what_is_no_replica(lab):
    plain = lab.image("plain", MIB)
    outcome = towline("target", "finish", plain, "--state-dir", lab.state)
    assert outcome.exit == 3 and "no replica" in outcome.err, outcome


def test_a_device(lab):
    source = lab.image("source", 2 * MIB + 512)
    disk = lab.loop(lab.sparse("disk", 3 * MIB))
    write_at(disk, 2 * MIB + 512, b"behind" * 100)
    lab.sync(source, disk, "--overwrite")
    lab.change(source, 5)
    report = lab.sync(source, disk)
    assert report["staged"], report
    assert read_device(disk)[:2 * MIB + 512] == source.read_bytes()
    assert read_device(disk)[2 * MIB + 512:][:600] == b"behind" * 100
    assert journals(lab.state / "targets") == []


def test_a_journal_on_the_source_itself(lab):
    """Each run would write what the next one has to bring."""
    image = lab.filesystem_image("disk", 32 * MIB)
    disk = lab.loop(image)
    there = lab.mount(disk, lab.dir / "there")
    target = lab.dir / "replica"
    lab.sync(disk, target, "--snapshot", "none")
    lab.refused(disk, target, "--scan", "--snapshot", "none", "--journal", there,
                says=["on the source itself", "--direct"])
    assert journals(there) == []


main(globals())
