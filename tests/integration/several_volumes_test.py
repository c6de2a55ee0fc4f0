#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Several volumes of one run: one point, one moment, whole or not at all; read back volume by volume
by everything that reads points, and by the reader that has nothing of Towline's."""

import itertools
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

from lib.daemon import Daemon
from lib.lab import KIB, MIB, equal, wait_for, write_at
from lib.mounted import Mounted
from lib.runner import main
from lib.tracked import Tracked
from lib.vault import READER, Vault, text_and_noise, towline

# No multiple of any block size, so that a volume ends within a block before the next one begins.
FIRST, SECOND, THIRD = MIB + 12345, 300_777, 70_001
RUN_FOLDER = "/run/towline"


class Several:
    """Volumes that go into one vault together, and what each point must hold of them."""

    def __init__(self, lab, *volumes, url=None):
        self.lab, self.vault = lab, Vault(lab)
        self.volumes = list(volumes)
        self.url = url or self.vault.url
        self.known = {}

    def words(self, *words):
        first, *others = self.volumes
        return [first, others[0] if others else self.url, *others[1:],
                *([self.url] if others else []), *words]

    def sync(self, *words):
        report = self.lab.sync(*self.words(*words))
        self.known[report["base"]["point"]] = {
            each["name"]: Path(each["path"]).read_bytes() for each in report["volumes"]}
        return report

    def check(self, read=None):
        points = self.vault.points()
        assert set(points) == set(self.known), points
        for point in points:
            for name, data in self.known[point].items():
                assert (read or self.read)(point, name) == data, (point, name)

    def read(self, point, name):
        """By the reader that has nothing of Towline's: a CRC in Python is slow."""
        out = self.lab.dir / "restored"
        subprocess.run([sys.executable, READER, self.vault.dir, self.vault.name, point, out, name],
                       check=True)
        return out.read_bytes()

    def export(self, point, name):
        out = self.lab.dir / "exported"
        out.unlink(missing_ok=True)
        towline("export", f"{self.vault.url}@{point}", out, "--volume", name, "--state-dir",
                self.lab.dir / "exports", "--quiet")
        return out.read_bytes()


def images(lab):
    return text_and_noise(lab, "a.img", FIRST), text_and_noise(lab, "b.img", SECOND)


def test_one_point_has_them_all(lab):
    a, b = images(lab)
    several = Several(lab, a, b)
    report = several.sync()
    assert report["cause"] == "first-copy" and report["bytes_total"] == FIRST + SECOND, report
    assert [each["name"] for each in report["volumes"]] == ["a.img", "b.img"], report
    assert [each["bytes_changed"] for each in report["volumes"]] == [FIRST, SECOND], report
    # Nothing writes to them: they are of one moment as they are.
    assert report["label"] == "crash" and report["group"], report
    lab.change(a, 2)
    write_at(b, SECOND - 5, b"at the end"[:5])
    report = several.sync("--block", "64K", "--verify")
    assert report["attested"] == "reread" and report["mode"] == "scan", report
    assert 0 < report["bytes_changed"] < FIRST // 2, report
    assert several.sync()["bytes_changed"] == 0
    several.check()
    assert several.vault.scrub()["sound"]
    shown = json.loads(towline("point", "show", f"{several.url}@latest", "--json").stdout)
    assert shown["label"] == "crash" and shown["group"], shown
    assert [each["bytes"] for each in shown["volumes"]] == [FIRST, SECOND], shown


def test_names_and_refusals(lab):
    a, b = images(lab)
    vault = Vault(lab)
    report = lab.sync(f"system={a}", f"data={b}", vault.url)
    assert [each["name"] for each in report["volumes"]] == ["system", "data"], report
    lab.refused(a, b, lab.dir / "replica", says="one volume")
    lab.refused(a, a, vault.url, says="same volume", exit=2)
    lab.refused(f"x={a}", f"x={b}", vault.url, says="NAME=PATH", exit=2)
    lab.refused(f"{'n' * 256}={a}", b, vault.url, says="no name", exit=2)
    lab.refused(a, b, vault.url, "--extents", "-", says="one volume", stdin="0 1\n", exit=2)
    lab.refused(a, b, lab.server().url("replica"), says="one volume")
    assert not (lab.root / "replica").exists()


def test_everything_that_reads_points_reads_one_of_them(lab):
    a, b = images(lab)
    several = Several(lab, a, b)
    several.sync()
    lab.change(b, 1)
    several.sync()
    point = f"{several.url}@latest"
    state = ["--state-dir", lab.state]
    outcome = towline("restore", point, lab.dir / "back", *state, exit=3)
    assert "--volume" in outcome.stderr and "b.img" in outcome.stderr, outcome.stderr
    for volume in (a, b):
        back = lab.dir / f"back-{volume.name}"
        towline("restore", point, back, "--volume", volume.name, *state)
        equal(volume, back)
        raw = lab.dir / f"raw-{volume.name}"
        towline("export", point, raw, "--volume", volume.name, *state)
        equal(volume, raw)
        towline("verify", volume, point, "--volume", volume.name, *state)
    towline("verify", a, point, "--volume", "b.img", *state, exit=6)
    qcow2 = lab.dir / "b.qcow2"
    towline("export", point, qcow2, "--volume", "b.img", "--format", "qcow2", *state)
    first, second = several.vault.points()
    pair = [f"{several.url}@{first}", f"{several.url}@{second}"]
    same = json.loads(towline("point", "diff", *pair, "--volume", "a.img", "--json").stdout)
    other = json.loads(towline("point", "diff", *pair, "--volume", "b.img", "--json").stdout)
    assert same["bytes"] == 0 and other["bytes"] > 0, (same, other)
    mounted = Mounted(lab, several.vault, second)
    for volume in (a, b):
        equal(volume, mounted.dir / volume.name)
    mounted.unmount()


def test_a_volume_is_added_and_taken_out(lab):
    a, b = images(lab)
    several = Several(lab, a, b)
    several.sync()
    third = text_and_noise(lab, "c.img", THIRD)
    several.volumes.append(third)
    report = several.sync()
    assert report["cause"] == "volumes-changed" and report["mode"] == "scan", report
    # The new one as a whole, and nothing of the others.
    assert [each["bytes_changed"] for each in report["volumes"]] == [0, 0, THIRD], report
    several.volumes.remove(b)
    report = several.sync()
    assert report["cause"] == "volumes-changed" and report["bytes_changed"] == 0, report
    assert [each["name"] for each in report["volumes"]] == ["a.img", "c.img"], report
    several.volumes = [a]
    assert several.sync()["cause"] == "volumes-changed"
    several.known[several.vault.points()[-1]] = {several.vault.name: a.read_bytes()}
    several.check()
    towline("vault", "prune", several.vault.dir, "--keep-last", "1")
    several.known = {several.vault.points()[-1]: {several.vault.name: a.read_bytes()}}
    several.check()
    assert several.vault.scrub()["sound"]
    assert several.vault.bytes() < FIRST + MIB // 4


def test_damage_names_the_volume(lab):
    a, b = images(lab)
    several = Several(lab, a, b)
    several.sync()
    # The second volume's blocks are in the last segment that was begun.
    segments = sorted((several.vault.dir / "segment").rglob("*-*-*"),
                      key=lambda path: path.name.split("-")[1])
    write_at(segments[-1], 70, b"\xff\x00\xff\x00")
    findings = several.vault.scrub(exit=6)["findings"]
    hits = [hit for each in findings for hit in each["points"]]
    assert {hit["volume"] for hit in hits} == {"b.img"}, findings


def segment_bytes(vault):
    return sum(path.stat().st_size for path in (vault.dir / "segment").rglob("*-*-*")
               if path.is_file())


def test_a_run_cut_off_in_the_second_volume_goes_on_there(lab):
    a, b = lab.image("a.img", 4 * MIB, lab.content(4 * MIB)), lab.image("b.img", 8 * MIB,
                                                                       lab.content(8 * MIB))
    several = Several(lab, a, b)
    server = lab.server(words=["--vault", several.vault.dir])
    several.url = server.url(f"vault:{several.vault.name}")
    slowly = ["--rate", 24, "--compress", 0]
    run = lab.start_sync(*several.words(*slowly))
    # So much is durable that some of the second one is.
    wait_for(lambda: segment_bytes(several.vault) > 5 * MIB or run.poll() is not None, 60)
    assert run.poll() is None, lab.finish(run)
    run.send_signal(signal.SIGKILL)
    lab.finish(run)
    have = segment_bytes(several.vault)
    assert not several.vault.points()
    report = several.sync("--resume", "--compress", 0)
    assert report["resumed"] and report["cause"] == "resumed", report
    assert report["bytes_sent"] <= 12 * MIB - have + MIB, (report, have)
    several.check(several.export)
    # So does one whose volumes are others meanwhile: as a new run, of those.
    lab.change(a, 30)
    run = lab.start_sync(*several.words("--full", "--rate", 16, "--compress", 0))
    before = segment_bytes(several.vault)
    wait_for(lambda: segment_bytes(several.vault) > before + MIB or run.poll() is not None, 60)
    run.send_signal(signal.SIGKILL)
    lab.finish(run)
    several.volumes.append(text_and_noise(lab, "c.img", THIRD))
    report = several.sync("--resume")
    assert not report["resumed"] and report["cause"] == "volumes-changed", report
    several.check(several.export)


class Stamper:
    """Writes n to the first volume, durably, and then n to the second: whoever sees n in the second
    sees it in the first."""

    def __init__(self, first, second):
        self.number = 0
        self._files = [open(each, "r+b", buffering=0) for each in (first, second)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        for file in self._files:
            file.close()

    def _write(self):
        for number in itertools.count(1):
            if self._stop.is_set():
                return
            for file in self._files:
                file.seek(0)
                file.write(stamp(number))
            self.number = number


def stamp(number):
    return f"{number:012}\n".encode() * 4 * KIB


def stamped(data):
    data = data[:len(stamp(0))]
    assert len(set(data.split(b"\n")[:-1])) == 1, "a write was torn"
    return int(data.split(b"\n")[0])


def test_the_cut_is_one_moment(lab):
    first = Tracked(lab, lab.image("first", MIB), run_folder=RUN_FOLDER)
    second = Tracked(lab, lab.image("second", MIB // 2), run_folder=RUN_FOLDER)
    several = Several(lab, first.volume, second.volume)
    vault = several.vault
    words = [first.volume, f"second={second.volume}", vault.url, "--snapshot", "fuse"]
    words[0] = f"first={words[0]}"
    for tracked in (first, second):
        write_at(tracked.volume, 0, stamp(0))
    with Stamper(first.volume, second.volume) as stamper:
        for number in range(6):
            begun = stamper.number
            wait_for(lambda: stamper.number > begun + 3, 60)
            report = lab.sync(*words)
            assert (report["tracker"], report["snapshot"]) == ("fuse", "fuse"), report
            assert report["group"] and report["label"] == "crash", report
            assert report["cause"] == ("tracked" if number else "first-copy"), report
    seen = []
    for point in vault.points():
        pair = [stamped(several.export(point, name)) for name in ("first", "second")]
        assert pair[0] - pair[1] in (0, 1), pair
        seen.append(pair[0])
    assert len(seen) == 6 and seen == sorted(seen) and seen[-1] > seen[0] > 0, seen
    # What each of them saw of the tracker is noted for both kinds of runs: alone and together.
    alone = Vault.__new__(Vault)
    alone.lab, alone.dir, alone.name, alone.known = lab, vault.dir, "alone", {}
    alone.url = f"vault:{vault.dir}/alone"
    assert lab.sync(second.volume, alone.url)["cause"] == "first-copy"
    for _ in range(2):
        write_at(second.volume, 100_000, lab.content(5000))
        assert lab.sync(*words[:3])["cause"] == "tracked"
        write_at(second.volume, 300_000, lab.content(5000))
        assert lab.sync(second.volume, alone.url)["cause"] == "tracked"
        assert alone.read_back(alone.points()[-1]) == second.image.read_bytes()
    report = lab.sync(*words[:3])
    assert report["cause"] == "tracked" and report["bytes_changed"] <= 128 * KIB, report
    assert several.export(vault.points()[-1], "second") == second.image.read_bytes()


def test_two_live_filesystems(lab):
    size = 16 * MIB
    tracked = [Tracked(lab, lab.filesystem_image(name, size), run_folder=RUN_FOLDER)
               for name in ("one", "two")]
    devices = [each.loop() for each in tracked]
    folders = [lab.mount(device, lab.dir / f"live{i}") for i, device in enumerate(devices)]
    vault = Vault(lab)
    words = [f"one={devices[0]}", f"two={devices[1]}", vault.url]
    for number in range(2):
        for folder in folders:
            (folder / f"new{number}").write_bytes(lab.content(100_000))
        report = lab.sync(*words)
        assert report["label"] == "filesystem" and report["group"], report
        assert report["freeze_seconds"] > 0, report
    shown = json.loads(towline("point", "show", f"{vault.url}@latest", "--json").stdout)
    assert shown["label"] == "filesystem" and shown["frozen_us"] > 0, shown
    for name in ("one", "two"):
        out = lab.dir / f"back-{name}"
        towline("restore", f"{vault.url}@latest", out, "--volume", name, "--state-dir", lab.state)
        done = subprocess.run(["e2fsck", "-fn", out], text=True, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
    # One that cannot be had in the moment of the other: no run, and no label that is not true.
    plain = lab.loop(lab.filesystem_image("three", size))
    lab.mount(plain, lab.dir / "live3")
    lab.refused(f"one={devices[0]}", f"three={plain}", vault.url, says="no moment")
    fuzzy = lab.sync(f"one={devices[0]}", f"three={plain}", f"vault:{vault.dir}/fuzzy",
                     "--snapshot", "none")
    assert fuzzy["label"] == "fuzzy" and not fuzzy["group"], fuzzy


def test_a_job_has_several(lab):
    a, b = images(lab)
    vault = Vault(lab)
    daemon = Daemon(lab).start()
    body = {"volumes": [str(a), str(b)], "target": vault.url, "schedule": {"manual": True}}
    daemon.good("PUT", "/v1/jobs/both", body)
    checked = daemon.good("POST", "/v1/jobs/both/preflight")
    assert any("2 volumes" in each["message"] for each in checked["findings"]), checked
    run = daemon.completed(daemon.start_run("both")["id"])
    assert run["bytes_total"] == FIRST + SECOND, run
    shown = json.loads(towline("point", "show", f"{vault.url}@latest", "--json").stdout)
    assert [each["name"] for each in shown["volumes"]] == ["a.img", "b.img"], shown
    wrong = {**body, "target": str(lab.dir / "replica")}
    daemon.refused("INVALID_REQUEST", "PUT", "/v1/jobs/both", wrong, field="volumes")
    twin = lab.dir / "other"
    twin.mkdir()
    wrong = {**body, "volumes": [str(a), str(twin / "a.img")]}
    daemon.refused("INVALID_REQUEST", "PUT", "/v1/jobs/both", wrong, field="volumes")


if __name__ == "__main__":
    main(globals())
