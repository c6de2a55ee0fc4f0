#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills towlined, the server that it replicates to, or both, while a run is in a stage: Preparing,
Snapshot, Transfer, Verify or Seal. It is held in that stage until the kill (by a hook, or by a frame
that does not arrive), so that each kill is where it is said to be. The run goes on under its id or
fails clean; states agree with the truth; what was acknowledged is not sent again; the next run brings
what has changed since and nothing else.

TOWLINE_COUNT / 4 kills at each stage for each of the three (one for each stage when it is not set),
drawn from TOWLINE_SEED."""

import collections
import random
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from lib import wire
from lib.daemon import Daemon
from lib.lab import KIB, MIB, equal, wait_for, write_at
from lib.proxy import DOWN, UP, Last, Proxy
from lib.runner import count, main, seed
from lib.tracked import Tracked

STAGES = ["Preparing", "Snapshot", "Transfer", "Verify", "Seal"]
WHOM = ["source", "target", "both"]
BLOCK = 64 * KIB
BLOCKS = 48
SIZE = BLOCKS * BLOCK
RATE = 8  # Mbit/s in Transfer: a checkpoint, and most is still to come
FRAMES = 16 * 1024  # what is on the wire beside blocks
STAGE_SECONDS_MAX = 60
# Which frames a run waits for in a stage. Held back on its way up, the target has not heard that the
# source is done; held back on its way down, it has sealed and the source does not know.
HELD = {"Preparing": [(DOWN, wire.OPENED), (DOWN, wire.BEGUN)],
        "Verify": [(UP, wire.END), (DOWN, wire.SEALED)],
        "Seal": [(UP, wire.END), (DOWN, wire.SEALED)]}


class Gate:
    """Holds the first frame of a kind, once armed, and drops its connection when it is opened again."""

    def __init__(self):
        self._lock = threading.Lock()
        self._held = None
        self.open = threading.Event()
        self.open.set()
        self.reached = threading.Event()
        self._streams = {UP: bytearray(), DOWN: bytearray()}
        self._passed = {UP: 0, DOWN: 0}

    def arm(self, direction, kind):
        with self._lock:
            self._held = (direction, kind)
            self.open.clear()
            self.reached.clear()

    def release(self):
        with self._lock:
            self._held = None
            self.open.set()

    def harm(self, direction, at, data):
        with self._lock:
            if at == 0:
                self._streams[direction], self._passed[direction] = bytearray(), 0
            stream = self._streams[direction]
            stream.extend(data)
            begin, held = self._passed[direction], self._held
            self._passed[direction] = len(stream)
            if held is None or held[0] != direction:
                return bytes(stream[begin:])
            starts = [start for start, header in wire.frames(stream)
                      if header.kind == held[1] and start + header.frame_bytes > begin]
        if not starts:
            return bytes(stream[begin:])
        self.reached.set()
        self.open.wait()
        return Last(stream[begin:max(begin, starts[0])])


class Campaign:
    def __init__(self, lab):
        self.lab, self.random = lab, lab.random
        self.image = lab.image("image", SIZE)
        self.tracked = Tracked(lab, self.image, "--block", BLOCK, run_folder=lab.dir / "run")
        self.volume = self.tracked.volume
        self.server = lab.server()
        self.gate = Gate()
        self.proxy = Proxy(self.server.port, self.gate.harm)
        lab.at_end(self.proxy.close)
        lab.at_end(self.gate.release)
        self.hooks = lab.dir / "hooks"
        (self.hooks / "db").mkdir(parents=True)
        config = lab.dir / "towlined.toml"
        config.write_text(f'[daemon]\nhooks_dir = "{self.hooks}"\nrun_dir = "{lab.dir / "run"}"\n')
        self.daemon = Daemon(lab, ["--config", config]).start()
        self.kills = collections.Counter()
        self.outcomes = collections.Counter()
        self.cut_off = 0
        self.number = 0

    # --- one kill

    def kill_at(self, stage, whom):
        self.number += 1
        self.replica = self.lab.root / f"r{self.number}"
        first = self.random.random() < 0.5
        self.daemon.put("db", self.volume, self.proxy.url(self.replica.name), {"manual": True},
                        tracker="fuse", snapshot="fuse", compression=0, verify=stage == "Verify",
                        rate_mbit=0)
        changed = BLOCKS
        if not first:
            self.daemon.completed(self.daemon.start_run("db")["id"])
            changed = self.change(BLOCKS * 3 // 4)
        if stage == "Transfer":
            self.daemon.good("PATCH", "/v1/jobs/db", {"rate_mbit": RATE})
        seen = self.hold(stage)
        self.kill(whom)
        self.kills[stage, whom] += 1
        self.daemon.good("PATCH", "/v1/jobs/db", {"rate_mbit": 0})
        self.goes_on_or_fails_clean(seen, whom, changed * BLOCK if not first else SIZE)
        self.next_is_incremental()
        self.daemon.good("DELETE", "/v1/jobs/db")
        self.replica.unlink()

    def change(self, blocks):
        """So many whole blocks, through the tracker."""
        for block in self.random.sample(range(BLOCKS), blocks):
            write_at(self.volume, block * BLOCK, self.lab.content(BLOCK))
        return blocks

    def hold(self, stage):
        """A run that is in that stage, and stays there; as the daemon shows it."""
        self.released = self.lab.dir / f"released-{self.number}"
        self.sealed = False
        if stage == "Snapshot":
            hook = self.hooks / "db" / self.random.choice(["pre-snapshot", "post-snapshot"])
            hook.write_text(f"#!/bin/sh\nwhile [ ! -e {self.released} ]; do sleep 0.02; done\n")
            hook.chmod(0o755)
        elif stage in HELD:
            held = self.random.choice(HELD[stage])
            self.sealed = held[1] == wire.SEALED
            self.gate.arm(*held)
        run = self.daemon.start_run("db")["id"]
        if stage in HELD:
            assert self.gate.reached.wait(STAGE_SECONDS_MAX), f"no such frame in {stage}"
        return self.daemon.wait_run(run, lambda each: each["stage"] == stage and (
            stage != "Transfer" or each.get("bytes_durable", 0) > 0), STAGE_SECONDS_MAX)

    def kill(self, whom):
        # Who goes first when both go is drawn: neither may depend on it.
        victims = {"source": ["daemon"], "target": ["server"], "both": ["daemon", "server"]}[whom]
        self.random.shuffle(victims)
        for victim in victims:
            getattr(self, victim).kill()
        if whom != "target":
            self.daemon.check_what_it_left()
        self.gate.release()
        self.released.touch()
        for hook in (self.hooks / "db").iterdir():
            hook.unlink()
        if whom != "source":
            self.server.start()
        if whom != "target":
            self.daemon.start()

    # --- what must hold

    def goes_on_or_fails_clean(self, seen, whom, total):
        ended = self.daemon.ended(seen["id"])
        sent = ended["bytes_sent"]
        if ended["state"] == "Failed":
            # Its server died under it: clean, and said.
            assert whom != "source", ended
            assert ended["error"]["code"] in ("disconnected", "io", "timeout"), ended
            assert ended["error"]["retriable"], ended
            again = self.daemon.completed(self.daemon.start_run("db")["id"])
            assert again["id"] != ended["id"], again
            sent = again["bytes_sent"]
        else:
            assert ended["state"] == "Completed", ended
            assert (ended["continued"] > 0) == (whom != "target"), ended
        self.outcomes["failed" if ended["state"] == "Failed" else "went on"] += 1
        job = self.daemon.job("db")
        assert job["active_run"] is None and job["point"], job
        assert self.daemon.runs("db")[0]["state"] == "Completed"
        equal(self.volume, self.replica)
        # What the target had sealed is as good as acknowledged: it only could not say so.
        durable = total if self.sealed else seen.get("bytes_durable", 0)
        if durable:
            self.cut_off += 1
            again = sent - (total - durable)
            assert again <= 0.01 * durable + FRAMES, (seen, ended, sent, total)

    def next_is_incremental(self):
        changed = self.change(self.random.randrange(1, 4))
        after = self.daemon.completed(self.daemon.start_run("db")["id"])
        assert after["mode"] == "extents" and after["cause"] == "tracked", after
        assert after["bytes_changed"] == changed * BLOCK, (changed, after)
        equal(self.volume, self.replica)


def test_kill_at_each_stage(lab):
    lab.random = random.Random(seed() + 3)
    each = count(0) // 4
    plan = [(stage, whom) for stage in STAGES for whom in WHOM] * each or [
        (stage, lab.random.choice(WHOM)) for stage in STAGES]
    lab.random.shuffle(plan)
    campaign = Campaign(lab)
    for number, (stage, whom) in enumerate(plan):
        try:
            campaign.kill_at(stage, whom)
        except BaseException:
            print(f"at kill {number} of seed {seed()}: {whom} in {stage}")
            raise
    wait_for(lambda: not campaign.daemon.good("GET", "/v1/jobs")["jobs"], 60, "the last job's end")
    for stage in STAGES:
        print(f"{stage}: " + ", ".join(f"{whom} {campaign.kills[stage, whom]}" for whom in WHOM))
    print(f"{len(plan)} kills, runs {dict(campaign.outcomes)}; {campaign.cut_off} behind an "
          "acknowledgement")
    assert sum(campaign.kills.values()) == len(plan)
    assert campaign.cut_off > 0, "no run was cut off behind an acknowledgement"


main(globals())
