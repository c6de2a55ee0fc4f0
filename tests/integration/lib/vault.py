# SPDX-License-Identifier: Apache-2.0
"""A vault, what its points must hold, and the reader that has nothing of Towline's."""

import json
import subprocess
import sys
from pathlib import Path

from .lab import KIB, MIB, binary, write_at

READER = Path(__file__).resolve().parent.parent / "read_vault.py"


def towline(*words, exit=0):
    done = subprocess.run([binary(), *map(str, words)], text=True, capture_output=True,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == exit, (words, done.returncode, done.stdout, done.stderr)
    return done


class Vault:
    def __init__(self, lab, name="disk", init=()):
        self.lab = lab
        self.dir = lab.dir / "vault"
        self.name = name
        self.url = f"vault:{self.dir}/{name}"
        self.known = {}
        towline("vault", "init", self.dir, *init)

    def points(self):
        listed = json.loads(towline("point", "list", self.url, "--json").stdout)["points"]
        return [each["id"] for each in listed]

    def sync(self, source, *words, url=None):
        report = self.lab.sync(source, url or self.url, *words)
        self.known[report["base"]["point"]] = Path(source).read_bytes()
        return report

    def list(self, source, changes, url=None):
        report = self.lab.extents(source, url or self.url, changes)
        self.known[report["base"]["point"]] = Path(source).read_bytes()
        return report

    def read_back(self, point):
        out = self.lab.dir / "restored"
        subprocess.run([sys.executable, READER, self.dir, self.name, point, out], check=True)
        return out.read_bytes()

    def check(self, points=None):
        for point in points or self.points():
            assert self.read_back(point) == self.known[point], point

    def bytes(self):
        return sum(each.stat().st_size for each in self.dir.rglob("*") if each.is_file())

    def scrub(self, exit=0):
        return json.loads(towline("vault", "scrub", self.dir, "--json", exit=exit).stdout)


def text_and_noise(lab, name, size):
    """Some of it compresses, some does not."""
    half = (b"some words of a file, again and again; " * 40_000)[:size // 2]
    return lab.image(name, size, half + lab.random.randbytes(size - len(half)))


def damaged_and_repaired(lab, vault, places):
    """What is overwritten at these places of a vault's one segment comes back with the next run,
    although that packs it otherwise."""
    source = text_and_noise(lab, "source", 2 * MIB + 12345)
    vault.sync(source)
    segment = max((vault.dir / "segment").rglob("*-*-*"), key=lambda each: each.stat().st_size)
    for at, length in places(segment.stat().st_size):
        write_at(segment, at, lab.random.randbytes(length))
    (finding,) = vault.scrub(exit=6)["findings"]
    assert sum(each["length"] for each in finding["points"][0]["bytes"]) >= 4 * 64 * KIB, finding
    # Nothing that is good is the same.
    said = towline("vault", "check", vault.dir, "--repair", exit=6).stderr
    assert "0 damaged blocks are again" in said, said
    report = vault.sync(source, "--scan", "--compress", "9", "--codec", "deflate")
    assert report["cause"] == "requested-scan", report
    said = towline("vault", "check", vault.dir, "--repair").stderr
    assert "again what they were" in said and "for 0 nothing" in said, said
    assert vault.scrub()["sound"]
    # The older point too, as the other reader has it.
    assert len(vault.points()) == 2
    vault.check()
    # And when there is a next generation.
    vault.list(source, lab.change(source, 6))
    towline("vault", "prune", vault.dir, "--keep-last", 1)
    vault.check()
    assert vault.scrub()["sound"]


TWO_POINTS_BYTES = 3 * MIB + 12345


def two_points(lab, vault=None):
    """A vault with the points before and after a change, and the source, which has a stretch of zeros."""
    vault = vault or Vault(lab)
    source = text_and_noise(lab, "source", TWO_POINTS_BYTES)
    write_at(source, MIB, bytes(512 * KIB))
    vault.sync(source)
    vault.list(source, lab.change(source, 4))
    return vault, source
