#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills the source, the server or both at random moments of runs of every mode, starts the server
again on its port at once, and resumes until a run is through: the replica is equal each time.

TOWLINE_COUNT moments (a sample of 12 when it is not set), drawn from TOWLINE_SEED."""

import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from lib.lab import MIB, equal, lines
from lib.runner import count, main, seed

MOMENTS_SAMPLE = 12
SIZE = 8 * MIB + 12345
RATE = 48  # Mbit/s: a full copy takes 1.4 s, with a checkpoint in it
RUN_SECONDS = 1.9
KILLS_MAX = 3  # one after another, before a run is left in peace
MAY_END_WITH = {0, 4, 7, -9}  # sealed before the kill, lost its peer, fenced out, killed


class Campaign:
    def __init__(self, lab):
        self.lab = lab
        self.random = lab.random
        self.source = lab.image("source", SIZE)
        self.server = lab.server()
        self.url = self.server.url("replica")
        self.resumed = 0

    def words(self):
        """A mode, and the list that it needs."""
        mode = self.random.choice(["--full", "--scan", "--extents", "--extents", ""])
        speed = ["--rate", RATE, "--compress", self.random.choice(["0", "1", "auto"]),
                 "--block", self.random.choice(["64K", "64K", "4K", "256K"]),
                 "--connections", self.random.choice([1, 1, 2]),
                 "--engine", self.random.choice(["uring", "aio"])]
        return ([mode] if mode else []) + (["-"] if mode == "--extents" else []) + speed

    def change(self):
        """Many blocks, so that a list takes its time too."""
        return self.lab.change(self.source, self.random.randrange(10, 80))

    def killed_run(self, words, stdin):
        """Starts a run and kills somebody; the run's end, and whether it was through before."""
        run = self.lab.start_sync(self.source, self.url, *words, stdin=stdin)
        time.sleep(self.random.uniform(0, RUN_SECONDS))
        whom = self.random.choice(["source", "server", "both"])
        if whom != "source":
            self.server.kill()
        if whom != "server":
            run.kill()
        if whom != "source":
            self.server.start()
        ended = self.lab.finish(run)
        assert ended.exit in MAY_END_WITH, (whom, ended)
        return ended.exit == 0

    def moment(self):
        changes = self.change()
        words = self.words()
        listed = "--extents" in words
        stdin = lines(changes) if listed else None
        through = self.killed_run(words, stdin)
        for _ in range(self.random.randrange(KILLS_MAX)):
            if through:
                break
            # Every other time the source goes on changing while it is down.
            if self.random.random() < 0.5:
                changes += self.change()
                stdin = lines(changes) if listed else None
            through = self.killed_run([*words, "--resume"], stdin)
        if not through:
            self.settle(words, changes)
        equal(self.source, self.lab.root / "replica")

    def settle(self, words, changes):
        """In peace: with --resume, or one time in four without."""
        words = [word for word in words if word not in ("--rate", RATE)]
        if self.random.random() < 0.75:
            words.append("--resume")
        stdin = lines(changes) if "--extents" in words else None
        self.resumed += self.lab.sync(self.source, self.url, *words, stdin=stdin)["resumed"]


def test_kill_at_random_moments(lab):
    moments = count(MOMENTS_SAMPLE)
    lab.random = random.Random(seed())
    campaign = Campaign(lab)
    lab.sync(campaign.source, campaign.url)
    for number in range(moments):
        try:
            campaign.moment()
        except BaseException:
            print(f"at moment {number} of seed {seed()}")
            raise
    print(f"{moments} moments, {campaign.resumed} runs resumed")
    assert campaign.resumed > 0 or moments < MOMENTS_SAMPLE, "nothing was ever resumed"


def test_kill_in_a_first_copy(lab):
    """There is no base yet: nothing but the journal to go on with."""
    lab.random = random.Random(seed() + 1)
    campaign = Campaign(lab)
    for number in range(max(2, count(MOMENTS_SAMPLE) // 6)):
        campaign.url = campaign.server.url(f"replica{number}")
        words = ["--rate", RATE, "--compress", 0]
        if not campaign.killed_run(words, None):
            lab.sync(campaign.source, campaign.url, "--resume")
        equal(campaign.source, lab.root / f"replica{number}")
        (lab.root / f"replica{number}").unlink()


main(globals())
