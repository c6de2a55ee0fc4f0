#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills towlined, the server that it replicates to, or both, at random moments of a run's life and of
requests: whatever was answered holds, the run goes on under its id or fails clean, no run is there
twice, and the replica is equal in the end.

TOWLINE_COUNT moments (a sample of 5 when it is not set), drawn from TOWLINE_SEED."""

import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from lib.daemon import Daemon
from lib.lab import MIB, equal
from lib.runner import count, main, seed

MOMENTS_SAMPLE = 5
SIZE = 6 * MIB + 4711
RATE = 48  # Mbit/s: a full copy takes a second
LIFE_SECONDS = 1.6
FRAMES = 16 * 1024  # what is on the wire beside blocks


class Campaign:
    def __init__(self, lab):
        self.lab = lab
        self.random = lab.random
        self.source = lab.image("source", SIZE)
        self.server = lab.server()
        self.daemon = Daemon(lab).start()
        self.continued = 0
        self.number = 0

    def order(self, target):
        """Every other job goes to a path: both sides die with the daemon."""
        compression = self.random.choice([0, 1, "auto"])
        self.daemon.put("db", self.source, target, {"manual": True}, rate_mbit=RATE,
                        compression=compression, verify=self.random.random() < 0.3)

    def moment(self):
        self.number += 1
        local = self.random.random() < 0.4
        replica = self.lab.dir / f"local{self.number}" if local else self.lab.root / f"r{self.number}"
        target = replica if local else self.server.url(replica.name)
        self.order(target)
        for _ in range(self.random.choice([1, 1, 2])):  # a first copy, then a comparison
            self.one_run(local)
            equal(self.source, replica)
            self.lab.change(self.source, self.random.randrange(1, 40))
        self.daemon.good("DELETE", "/v1/jobs/db")
        replica.unlink()

    def one_run(self, local):
        key = {"Idempotency-Key": f"{self.number}-{self.random.random()}"}
        run = self.daemon.good("POST", "/v1/jobs/db/runs", None, key)
        for _ in range(self.random.choice([1, 1, 1, 2, 3])):
            time.sleep(self.random.uniform(0, LIFE_SECONDS))
            whom = "daemon" if local else self.random.choice(["daemon", "daemon", "both", "server"])
            if whom != "server":
                self.daemon.kill()
                self.daemon.check_what_it_left()
            if whom != "daemon":
                self.server.kill()
                self.server.start()
            if whom != "server":
                self.daemon.start()
        # The answer that was given before the kill is given again: no second run.
        assert self.daemon.good("POST", "/v1/jobs/db/runs", None, key)["id"] == run["id"]
        ended = self.daemon.ended(run["id"])
        self.continued += ended["continued"]
        if ended["state"] == "Failed":
            # Its server died under it: clean, and said.
            assert ended["error"]["code"] in ("disconnected", "io", "timeout"), ended
            again = self.daemon.start_run("db")
            assert again["id"] != run["id"]
            ended = self.daemon.completed(again["id"])
        assert ended["state"] == "Completed", ended
        assert self.daemon.job("db")["active_run"] is None


def test_kill_at_random_moments(lab):
    moments = count(MOMENTS_SAMPLE)
    lab.random = random.Random(seed())
    campaign = Campaign(lab)
    for number in range(moments):
        try:
            campaign.moment()
        except BaseException:
            print(f"at moment {number} of seed {seed()}")
            raise
    print(f"{moments} moments, runs went on {campaign.continued} times")
    assert campaign.continued > 0, "no run ever went on after a kill"


def test_what_was_acknowledged_is_not_sent_again(lab):
    """However far the run was, and whoever died: 99 of 100 acknowledged bytes stay where they are."""
    lab.random = random.Random(seed() + 2)
    source, server = lab.image("source", SIZE, lab.content(SIZE)), lab.server()
    daemon = Daemon(lab).start()
    cut_off, wanted = 0, max(1, count(MOMENTS_SAMPLE) // 4)
    for moment in range(10 * wanted):
        if cut_off == wanted:
            break
        replica = lab.root / f"r{moment}"
        daemon.put("db", source, server.url(replica.name), {"manual": True}, rate_mbit=RATE / 4,
                   compression=0)
        number = daemon.start_run("db")["id"]
        daemon.wait_run(number, lambda run: run.get("bytes_durable", 0) > 0
                        or run["state"] != "Active", 60)
        time.sleep(lab.random.uniform(0, 1.5))
        seen = daemon.run(number)
        daemon.kill()
        if lab.random.random() < 0.5:
            server.kill()
            server.start()
        daemon.start()
        ended = daemon.completed(number)
        equal(source, replica)
        # One that had ended, or was about to, says nothing.
        if ended["continued"] and seen.get("bytes_durable"):
            cut_off += 1
            again = ended["bytes_sent"] - (SIZE - seen["bytes_durable"])
            assert again <= 0.01 * seen["bytes_durable"] + FRAMES, (moment, seen, ended)
        daemon.good("DELETE", "/v1/jobs/db")
    print(f"{cut_off} runs cut off behind an acknowledgement")
    assert cut_off == wanted, cut_off


def test_kill_among_requests(lab):
    """What was answered before the kill is there after it, with the revision that was said."""
    lab.random = random.Random(seed() + 1)
    daemon, source = Daemon(lab).start(), lab.image("source", MIB)
    said = {}
    for moment in range(max(3, count(MOMENTS_SAMPLE) // 4)):
        until = time.monotonic() + lab.random.uniform(0.05, 0.3)
        while time.monotonic() < until:
            name = f"job{lab.random.randrange(30)}"
            if said.get(name) and lab.random.random() < 0.2:
                daemon.good("DELETE", f"/v1/jobs/{name}")
                said[name] = None
                continue
            text = str(lab.random.random())
            job = daemon.put(name, source, lab.dir / name, {"manual": True}, description=text)
            said[name] = (text, job["job"]["revision"])
        daemon.kill()
        daemon.start()
        for name, what in said.items():
            answer = daemon.send("GET", f"/v1/jobs/{name}")
            found = (answer.json["description"], answer.json["revision"]) \
                if answer.status == 200 else None
            assert found == what, f"moment {moment}, {name}: {found}, not {what}"


main(globals())
