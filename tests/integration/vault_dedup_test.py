#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A vault that keeps equal blocks once: what two volumes have in common takes room once, and each has
it as long as it has a point, whatever becomes of the other, and whatever goes on beside."""

import json
import os

from lib.lab import KIB, equal, write_at
from lib.runner import main
from lib.vault import Vault, text_and_noise, towline

SIZE = 512 * KIB
BLOCK = 64 * KIB


def rotated(data):
    """The same blocks at other places."""
    return data[5 * BLOCK:] + data[:5 * BLOCK]


class Pair:
    def __init__(self, lab, init=()):
        self.lab = lab
        self.first = Vault(lab, "disk", init=["--dedup", *init])
        # Another name of the same vault.
        self.second = object.__new__(Vault)
        self.second.__dict__.update(self.first.__dict__, name="other", known={},
                                    url=f"vault:{self.first.dir}/other")
        self.source = text_and_noise(lab, "source", SIZE)
        self.other = lab.image("other", SIZE, rotated(self.source.read_bytes()))

    def prune(self, *words, exit=0):
        return json.loads(towline("vault", "prune", self.first.dir, "--json", *words,
                                  exit=exit).stdout)

    def check(self):
        self.first.check()
        self.second.check()
        assert self.first.scrub()["sound"]


def shared_and_outlives(lab, init=()):
    pair = Pair(lab, init)
    pair.first.sync(pair.source)
    alone = pair.first.bytes()
    pair.second.sync(pair.other)
    # Whatever lies beside the blocks: indexes, log, tables.
    assert pair.first.bytes() - alone < 64 * KIB, (alone, pair.first.bytes())
    info = json.loads(towline("vault", "info", pair.first.dir, "--json").stdout)
    assert info["dedup"] and info["shared_bytes"] > alone // 2, info
    assert "kept once" in towline("vault", "info", pair.first.dir).stdout
    pair.check()
    # The one that brought the blocks goes.
    towline("point", "delete", f"{pair.first.url}@latest")
    assert pair.prune()["segments_pinned"] == 0
    assert pair.first.points() == []
    pair.check()
    out = lab.dir / "out"
    towline("restore", f"{pair.second.url}@latest", out, "--state-dir", lab.state)
    equal(pair.other, out)
    towline("point", "delete", f"{pair.second.url}@latest")
    pair.prune()
    left = [each for each in (pair.first.dir / "segment").rglob("*") if each.is_file()]
    assert left == [], left


def test_what_two_volumes_share_outlives_either(lab):
    shared_and_outlives(lab)


def encrypted(lab):
    key = lab.dir / "key"
    key.write_bytes(lab.random.randbytes(32))
    key.chmod(0o600)
    os.environ["TOWLINE_KEY_FILE"] = str(key)
    lab.at_end(os.environ.pop, "TOWLINE_KEY_FILE", None)
    return key


def test_in_an_encrypted_vault_too(lab):
    shared_and_outlives(lab, ["--encrypt", "--key-file", encrypted(lab)])


def test_a_host_that_only_adds_is_refused(lab):
    key = encrypted(lab)
    pair = Pair(lab, ["--encrypt", "--key-file", key])
    del os.environ["TOWLINE_KEY_FILE"]
    keyless = lab.server(words=["--vault", pair.first.dir])
    os.environ["TOWLINE_KEY_FILE"] = str(key)
    lab.refused(pair.source, keyless.url("vault:disk"), "--key-file", key, says="equal blocks")
    keyless.kill()
    # Its daemon has the key: then the two sides are what they always are.
    served = lab.server(words=["--vault", pair.first.dir, "--key-file", key])
    del os.environ["TOWLINE_KEY_FILE"]
    pair.first.sync(pair.source, url=served.url("vault:disk"))
    report = pair.second.sync(pair.other, url=served.url("vault:other"))
    assert report["cause"] == "first-copy", report
    os.environ["TOWLINE_KEY_FILE"] = str(key)
    assert json.loads(towline("vault", "info", pair.first.dir, "--json").stdout)["shared_bytes"] > 0
    pair.check()


def test_a_full_copy_of_the_same_takes_no_room(lab):
    pair = Pair(lab)
    pair.first.sync(pair.source)
    before = pair.first.bytes()
    pair.first.sync(pair.source, "--full", "--compress", "0")
    assert pair.first.bytes() - before < 64 * KIB
    pair.check()


def test_what_is_damaged_comes_back_from_a_newer_run(lab):
    pair = Pair(lab)
    pair.first.sync(pair.source)
    pair.second.sync(pair.other)
    segment = max((pair.first.dir / "segment").rglob("*"), key=lambda each: each.stat().st_size)
    write_at(segment, segment.stat().st_size // 2, lab.random.randbytes(4 * KIB))
    assert not pair.first.scrub(exit=6)["sound"]
    # Nothing that is good is the same.
    towline("vault", "check", pair.first.dir, "--repair", exit=6)
    report = pair.first.sync(pair.source, "--scan")
    assert report["cause"] == "requested-scan", report
    said = towline("vault", "check", pair.first.dir, "--repair").stderr
    assert "again what they were" in said and "for 0 nothing" in said, said
    # Every point of both, the older ones too, as the other reader has them.
    pair.check()


def test_two_writers_and_a_pruning_at_once(lab):
    pair = Pair(lab)
    pair.first.sync(pair.source)
    pair.second.sync(pair.other)
    for _ in range(2):
        # Each takes what the other has had, or is just bringing.
        data = pair.source.read_bytes()
        lab.change(pair.source, 2)
        write_at(pair.other, BLOCK, data[:4 * BLOCK])
        write_at(pair.other, 6 * BLOCK, pair.source.read_bytes()[4 * BLOCK:6 * BLOCK])
        runs = [(pair.first, pair.source, "--full"), (pair.second, pair.other, "--scan")]
        going = [lab.start_sync(source, vault.url, words) for vault, source, words in runs]
        # Nobody is in anybody's way.
        pair.prune("--keep-last", "1")
        for (vault, source, _), run in zip(runs, going):
            outcome = lab.finish(run)
            assert outcome.exit == 0, outcome
            vault.known[outcome.report["base"]["point"]] = source.read_bytes()
    pair.check()
    assert pair.prune("--keep-last", "1")["segments_pinned"] == 0
    assert len(pair.first.points()) == len(pair.second.points()) == 1
    pair.check()
    assert pair.first.scrub()["garbage_bytes"] == 0


if __name__ == "__main__":
    main(globals())
