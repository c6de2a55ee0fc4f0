#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills the daemon of a tracked mount at random moments under load, with epochs ending, and mounts
the image again: every block that differs from what its consumer holds is marked.

TOWLINE_COUNT moments (a sample of 5 when it is not set), drawn from TOWLINE_SEED."""

import subprocess
import time

from lib.lab import KIB, MIB, wait_for
from lib.runner import count, main, seed
from lib.tracked import STATUS, Refusal, Tracked, differing

BLOCK = 4 * KIB
SIZE = 64 * MIB
MOMENTS_SAMPLE = 5


def fio(path, random, area):
    """In an area of its own each time, so that regions are hot, cool and cold."""
    offset = random.randrange(0, (SIZE - area) // MIB) * MIB
    return subprocess.Popen(
        ["fio", "--name=w", f"--filename={path}", f"--offset={offset}", f"--size={area}",
         "--rw=randwrite", "--bsrange=512-32k", "--blockalign=512", "--direct=1",
         "--ioengine=libaio", "--iodepth=16", f"--randseed={random.randrange(1 << 30)}",
         "--thread", "--time_based", "--runtime=30", "--output=/dev/null"], stderr=subprocess.DEVNULL)


class Campaign:
    def __init__(self, lab):
        self.lab, self.random = lab, lab.random
        image = lab.image("image", SIZE)
        self.held = bytearray(image.read_bytes())  # what the consumer has
        self.tracked = Tracked(lab, image, "--region", "1M")
        self.superset_blocks = 0

    def harvest(self, commit=True):
        """One increment; what it brought only counts once it is committed."""
        frozen = self.tracked.freeze()
        taken = {}
        with open(self.tracked.volume, "rb", buffering=0) as file:
            for block in frozen["blocks"]:
                file.seek(block * BLOCK)
                taken[block] = file.read(BLOCK)
        if not commit:
            return frozen
        self.tracked.commit(frozen["frozen"])
        for block, data in taken.items():
            self.held[block * BLOCK:block * BLOCK + len(data)] = data
        return frozen

    def moment(self):
        writer = fio(self.tracked.volume, self.random, self.random.choice([MIB, 4 * MIB]))
        try:
            before = self.tracked.ask(STATUS)["writes"]
            wait_for(lambda: self.tracked.ask(STATUS)["writes"] > before)
            end = time.monotonic() + self.random.uniform(0, 0.5)
            while time.monotonic() < end:
                time.sleep(self.random.uniform(0, 0.1))
                if self.random.random() < 0.5:
                    self.harvest(self.random.random() < 0.7)
        finally:
            self.tracked.kill()
            writer.kill()
            writer.wait()
        report = self.tracked.remount_after_kill()
        assert report["cause"] == "crash" and report["trust"] == "superset", report
        changed = differing(self.held, self.tracked.image.read_bytes(), BLOCK)
        frozen = self.harvest()
        missed = changed - frozen["blocks"]
        assert not missed, f"{len(missed)} of {len(changed)} changed blocks are not marked"
        assert len(frozen["blocks"]) < SIZE // BLOCK, "a superset, not everything"
        self.superset_blocks += len(frozen["blocks"])
        assert self.held == self.tracked.image.read_bytes()


def test_killed_daemons_forget_nothing(lab):
    campaign = Campaign(lab)
    moments = count(MOMENTS_SAMPLE)
    for number in range(moments):
        try:
            campaign.moment()
        except (AssertionError, Refusal, OSError) as failure:
            raise AssertionError(f"moment {number} of seed {seed()}: {failure}") from failure
    assert campaign.superset_blocks > 0, "nothing was written"
    print(f"     {moments} kills, {campaign.superset_blocks // moments} of {SIZE // BLOCK} blocks "
          "marked in the middle")


if __name__ == "__main__":
    main(globals())
