#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills a run into a vault, and its pruning, at random moments and at every kind of call that makes
something durable or visible: what was sealed reads back right, nothing else is seen, and what is
left over is found and given back.

TOWLINE_COUNT moments (a sample of 10 when it is not set), drawn from TOWLINE_SEED; every third is of an
encrypted vault, and every third of one with two volumes whose equal blocks are kept once. Half of them
go through every sync and every rename of a run in turn; how often each of these was died at is said
at the end, by its number."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "integration"))

from lib.lab import KIB, Skip, binary, write_at
from lib.runner import count, main

READER = TESTS / "integration" / "read_vault.py"
SIZE = 700 * KIB + 123
MOMENTS_SAMPLE = 10
# What a crash can come before or behind, and about how many of each a thread of a run makes: strace
# counts them by thread. A new vault or state has more (mkdirat, rename).
CALLS = {"fsync": 11, "fdatasync": 2, "linkat": 3, "rename": 2, "pwrite64": 6, "unlinkat": 2,
         "mkdirat": 2}
# Those of which each one is to be met. What linkat gives a name is there from then on.
NAMED = [(call, nth) for call in ("fsync", "fdatasync", "linkat")
         for nth in range(1, CALLS[call] + 1)]
KEPT = 4
BLOCK = 64 * KIB


class Volume:
    """A name in the vault, and what its points must hold."""

    def __init__(self, lab, folder, name):
        self.name = name
        self.source = lab.image(f"source-{name}", SIZE)
        self.url = f"vault:{folder}/{name}"
        self.known = {}  # contents of each point that was sealed, or may have been
        self.sealed = []  # as they were last seen, the oldest first

    def points(self):
        listed = subprocess.run([binary(), "point", "list", self.url, "--json"], text=True,
                                capture_output=True, check=True)
        return [each["id"] for each in json.loads(listed.stdout)["points"]]

    def take_from(self, other, random):
        """Some blocks that the other one has, wherever it has them."""
        data = other.source.read_bytes()
        for _ in range(3):
            taken = random.randrange(SIZE // BLOCK) * BLOCK
            write_at(self.source, random.randrange(SIZE // BLOCK) * BLOCK,
                     data[taken:taken + BLOCK])


class Campaign:
    def __init__(self, lab, init=(), names=("disk",)):
        self.lab = lab
        self.random = lab.random
        self.dir = lab.dir / "vault"
        self.volumes = [Volume(lab, self.dir, each) for each in names]
        self.named = []  # still to be met in this turn
        self.killed = Counter()
        self.moment_seconds_max = 0.3  # about what a run takes here, found out as it goes
        subprocess.run([binary(), "vault", "init", self.dir, "--quiet", *init], check=True)

    def finish(self, run, kill_after=None):
        if kill_after is not None:
            time.sleep(kill_after)
            run.kill()
        return self.lab.finish(run)

    def draw_call(self):
        """Where to die: at which call, and at the how manyeth; None: at a moment."""
        kind = self.random.choice(["moment", "named", "named", "call"])
        if kind == "moment":
            return None
        if kind == "call":
            call = self.random.choice([*CALLS])
            return call, self.random.randrange(1, CALLS[call] + 1)
        if not self.named:
            self.named = self.random.sample(NAMED, len(NAMED))
        return self.named.pop()

    def run_and_kill(self, volume):
        words = self.random.choice([["--full"], ["--scan"], ["--resume"], [], []])
        self.lab.change(volume.source, 3)
        for other in self.volumes:
            if other is not volume:
                volume.take_from(other, self.random)
        at = self.draw_call()
        command = self.lab.words(volume.source, volume.url, words)
        if at is not None:
            call, nth = at
            command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e",
                       f"inject={call}:signal=SIGKILL:when={nth}", *command]
        run = subprocess.Popen(command, text=True, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.lab.at_end(self.lab._end, run)
        if at is not None:
            return at, self.finish(run)
        outcome = self.finish(run, self.random.random() * self.moment_seconds_max)
        self.moment_seconds_max *= 0.7 if outcome.exit == 0 else 1.1
        return at, outcome

    def start_prune(self):
        prune = subprocess.Popen([binary(), "vault", "prune", self.dir, "--keep-last", str(KEPT),
                                  "--quiet"], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True)
        self.lab.at_end(self.lab._end, prune)
        return prune

    def prune_and_kill(self):
        at = self.random.choice(["fsync", "unlinkat", "linkat"])
        nth = self.random.randrange(1, 12)
        subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={at}", "-e",
                        f"inject={at}:signal=SIGKILL:when={nth}", binary(), "vault", "prune",
                        self.dir, "--keep-last", str(KEPT), "--quiet"],
                       capture_output=True, check=False)

    def judge(self, volume, pruned):
        points = volume.points()
        for point in points:
            if point not in volume.known:
                volume.known[point] = volume.source.read_bytes()  # sealed, though nobody was told
        # A pruning leaves the newest; one of those may be newer than what was seen last.
        stays = volume.sealed[-(KEPT - 1):] if pruned else volume.sealed
        assert set(stays) <= set(points), "a sealed point is gone"
        volume.sealed = points
        for point in {points[-1], self.random.choice(points)} if points else ():
            out = self.lab.dir / "restored"
            subprocess.run([sys.executable, READER, self.dir, volume.name, point, out], check=True)
            assert out.read_bytes() == volume.known[point], f"point {point} differs"

    def judge_all(self, pruned):
        scrubbed = subprocess.run([binary(), "vault", "scrub", self.dir, "--json"], text=True,
                                  capture_output=True)
        assert scrubbed.returncode == 0, scrubbed.stdout
        for volume in self.volumes:
            self.judge(volume, pruned)

    def round(self):
        # Now and then beside a pruning, which keeps no run from beginning and takes nothing that it
        # finds.
        beside = self.start_prune() if self.random.random() < 0.4 else None
        at, outcome = self.run_and_kill(self.random.choice(self.volumes))
        # Killed, or done before the moment came; or a run before it was killed behind its seal.
        assert outcome.exit in {0, -9, 137}, outcome
        if outcome.exit != 0:
            self.killed[at] += 1
        if beside is not None:
            _, said = beside.communicate()
            assert beside.returncode == 0, said
        pruned = self.random.random() < 0.4
        if pruned:
            self.prune_and_kill()
        pruned = pruned or beside is not None
        self.judge_all(pruned)

    def end(self):
        for volume in self.volumes:
            report = self.lab.sync(volume.source, volume.url)
            assert report["base"]["point"] == volume.points()[-1]
        self.judge_all(False)
        subprocess.run([binary(), "vault", "prune", self.dir, "--keep-last", "2", "--quiet"],
                       check=True)
        scrubbed = subprocess.run([binary(), "vault", "scrub", self.dir, "--json"], text=True,
                                  capture_output=True, check=True)
        assert json.loads(scrubbed.stdout)["garbage_bytes"] == 0, scrubbed.stdout
        for volume in self.volumes:
            volume.sealed = volume.sealed[-2:]
        self.judge_all(False)


def kill_at(campaign, moments_count):
    if shutil.which("strace") is None:
        raise Skip("strace is not installed")
    for number in range(moments_count):
        try:
            campaign.round()
        except BaseException:
            print(f"moment {number}", flush=True)
            raise
    campaign.end()
    print(told(campaign.killed))


def told(killed):
    """As fsync 16: 1 2 0 ..., by the call's number."""
    calls = [f"{call} {sum(each)}: {' '.join(map(str, each))}" for call, each in
             ((call, [killed[call, nth + 1] for nth in range(CALLS[call])]) for call in CALLS)]
    return f"killed {killed.total()} runs; at moments {killed[None]}; " + "; ".join(calls)


def test_kills(lab):
    moments_count = count(MOMENTS_SAMPLE)
    kill_at(Campaign(lab), moments_count - moments_count // 3 * 2)


def test_kills_of_an_encrypted_vault(lab):
    key = lab.dir / "key"
    key.write_bytes(lab.random.randbytes(32))
    key.chmod(0o600)
    os.environ["TOWLINE_KEY_FILE"] = str(key)
    lab.at_end(os.environ.pop, "TOWLINE_KEY_FILE")
    campaign = Campaign(lab, ["--encrypt", "--key-file", key])
    kill_at(campaign, count(MOMENTS_SAMPLE) // 3)


def test_kills_of_a_vault_that_keeps_equal_blocks_once(lab):
    campaign = Campaign(lab, ["--dedup"], ["disk", "twin"])
    campaign.volumes[1].source.write_bytes(campaign.volumes[0].source.read_bytes())
    kill_at(campaign, count(MOMENTS_SAMPLE) // 3)


if __name__ == "__main__":
    main(globals())
