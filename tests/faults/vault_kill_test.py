#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills a run into a vault, and its pruning, at random moments and at every kind of call that makes
something durable or visible: what was sealed reads back right, nothing else is seen, and what is
left over is found and given back.

TOWLINE_COUNT moments (a sample of 10 when it is not set), drawn from TOWLINE_SEED; every third is of an
encrypted vault."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "integration"))

from lib.lab import KIB, Skip, binary
from lib.runner import count, main

READER = TESTS / "integration" / "read_vault.py"
SIZE = 700 * KIB + 123
MOMENTS_SAMPLE = 10
# What a crash can come before or behind. Of a run there are about as many of each.
CALLS = {"fsync": 16, "linkat": 7, "pwrite64": 12, "unlinkat": 6, "mkdirat": 4}
KEPT = 4


class Campaign:
    def __init__(self, lab, init=()):
        self.lab = lab
        self.random = lab.random
        self.source = lab.image("source", SIZE)
        self.dir = lab.dir / "vault"
        self.url = f"vault:{self.dir}/disk"
        self.known = {}  # contents of each point that was sealed, or may have been
        self.sealed = []  # as they were last seen, the oldest first
        subprocess.run([binary(), "vault", "init", self.dir, "--quiet", *init], check=True)

    def points(self):
        listed = subprocess.run([binary(), "point", "list", self.url, "--json"], text=True,
                                capture_output=True, check=True)
        return [each["id"] for each in json.loads(listed.stdout)["points"]]

    def finish(self, run, kill_after=None):
        if kill_after is not None:
            time.sleep(kill_after)
            run.kill()
        return self.lab.finish(run)

    def run_and_kill(self):
        words = self.random.choice([["--full"], ["--scan"], ["--resume"], [], []])
        self.lab.change(self.source, 3)
        at = self.random.choice([None, *CALLS])
        command = self.lab.words(self.source, self.url, words)
        if at is not None:
            nth = self.random.randrange(1, CALLS[at] + 1)
            command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={at}", "-e",
                       f"inject={at}:signal=SIGKILL:when={nth}", *command]
        run = subprocess.Popen(command, text=True, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.lab.at_end(self.lab._end, run)
        outcome = self.finish(run, self.random.random() * 0.15 if at is None else None)
        return at, outcome

    def prune_and_kill(self):
        at = self.random.choice(["fsync", "unlinkat", "linkat"])
        nth = self.random.randrange(1, 12)
        subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={at}", "-e",
                        f"inject={at}:signal=SIGKILL:when={nth}", binary(), "vault", "prune",
                        self.dir, "--keep-last", str(KEPT), "--quiet"],
                       capture_output=True, check=False)

    def judge(self, contents, pruned):
        points = self.points()
        for point in points:
            if point not in self.known:
                self.known[point] = contents  # sealed, though nobody was told
        # A pruning leaves the newest; one of those may be newer than what was seen last.
        stays = self.sealed[-(KEPT - 1):] if pruned else self.sealed
        assert set(stays) <= set(points), "a sealed point is gone"
        self.sealed = points
        scrubbed = subprocess.run([binary(), "vault", "scrub", self.dir, "--json"], text=True,
                                  capture_output=True)
        assert scrubbed.returncode == 0, scrubbed.stdout
        for point in {points[-1], self.random.choice(points)} if points else ():
            out = self.lab.dir / "restored"
            subprocess.run([sys.executable, READER, self.dir, "disk", point, out], check=True)
            assert out.read_bytes() == self.known[point], f"point {point} differs"

    def round(self):
        at, outcome = self.run_and_kill()
        # Killed, or done before the moment came; or a run before it was killed behind its seal.
        assert outcome.exit in {0, -9, 137}, outcome
        pruned = self.random.random() < 0.4
        if pruned:
            self.prune_and_kill()
        self.judge(self.source.read_bytes(), pruned)
        return at

    def end(self):
        report = self.lab.sync(self.source, self.url)
        assert report["base"]["point"] == self.points()[-1]
        self.judge(self.source.read_bytes(), False)
        subprocess.run([binary(), "vault", "prune", self.dir, "--keep-last", "2", "--quiet"],
                       check=True)
        scrubbed = subprocess.run([binary(), "vault", "scrub", self.dir, "--json"], text=True,
                                  capture_output=True, check=True)
        assert json.loads(scrubbed.stdout)["garbage_bytes"] == 0, scrubbed.stdout


def kill_at(campaign, moments_count):
    if shutil.which("strace") is None:
        raise Skip("strace is not installed")
    moments = {}
    for number in range(moments_count):
        try:
            at = campaign.round()
        except BaseException:
            print(f"moment {number}", flush=True)
            raise
        moments[at or "any"] = moments.get(at or "any", 0) + 1
    campaign.end()
    print("killed at:", ", ".join(f"{name} {times}" for name, times in sorted(moments.items())))


def test_kills(lab):
    moments_count = count(MOMENTS_SAMPLE)
    kill_at(Campaign(lab), moments_count - moments_count // 3)


def test_kills_of_an_encrypted_vault(lab):
    key = lab.dir / "key"
    key.write_bytes(lab.random.randbytes(32))
    key.chmod(0o600)
    os.environ["TOWLINE_KEY_FILE"] = str(key)
    lab.at_end(os.environ.pop, "TOWLINE_KEY_FILE")
    campaign = Campaign(lab, ["--encrypt", "--key-file", key])
    kill_at(campaign, count(MOMENTS_SAMPLE) // 3)


if __name__ == "__main__":
    main(globals())
