#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Points in a vault: each is its moment, wherever it came from; it is restored byte for byte by a
reader that has nothing of Towline's; what is pruned is given back, what is damaged is found."""

import json
import os
import time

from lib.lab import KIB, MIB, equal, write_at
from lib.runner import main
from lib.vault import Vault, damaged_and_repaired, text_and_noise, towline

SIZE = 2 * MIB + 12345


def test_every_point_is_its_moment(lab):
    vault = Vault(lab)
    source = text_and_noise(lab, "source", SIZE)
    report = vault.sync(source)
    assert report["cause"] == "first-copy", report
    for _ in range(3):
        changes = lab.change(source, 3)
        report = vault.list(source, changes)
        assert report["cause"] == "change-list", report
    lab.change(source, 2)
    report = vault.sync(source)
    assert report["mode"] == "scan", report
    assert 0 < report["bytes_changed"] < SIZE / 2, report
    lab.change(source, 1)
    assert vault.sync(source, "--scan", "--verify")["attested"] == "reread"
    assert vault.sync(source, "--full")["mode"] == "full"
    assert len(vault.points()) == 7
    vault.check()
    assert vault.scrub()["sound"]


def test_sizes_change(lab):
    vault = Vault(lab)
    source = text_and_noise(lab, "source", SIZE)
    vault.sync(source)
    for size in (SIZE - MIB - 5000, SIZE + MIB, 700_001):
        os.truncate(source, size)
        write_at(source, size - 100, lab.content(100))
        vault.sync(source)
    vault.check()
    assert vault.scrub()["sound"]


def test_zeros_and_compression(lab):
    vault = Vault(lab)
    source = text_and_noise(lab, "source", SIZE)
    vault.sync(source, "--compress", "5", "--codec", "deflate")
    write_at(source, 512 * KIB, bytes(256 * KIB))
    vault.list(source, [(512 * KIB, 256 * KIB)])
    write_at(source, 600 * KIB, b"again")
    vault.sync(source, "--compress", "9", "--codec", "zstd")
    vault.check()


def test_auto_packs_what_is_kept(lab):
    """No link is slow here, and what a vault stores it keeps: through a daemon as well."""
    vault = Vault(lab)
    source = text_and_noise(lab, "source", SIZE)
    server = lab.server(words=["--vault", vault.dir])
    for url in (vault.url, server.url("vault:other")):
        raw = vault.sync(source, "--compress", "0", url=url)["bytes_sent"]
        packed = vault.sync(source, "--full", "--compress", "auto", url=url)["bytes_sent"]
        assert packed < 0.8 * raw, (packed, raw)


def test_through_a_daemon(lab):
    vault = Vault(lab, "hosts/one")
    vault.name = "hosts/one"
    source = text_and_noise(lab, "source", SIZE)
    server = lab.server(words=["--vault", vault.dir])
    url = server.url("vault:hosts/one")
    vault.sync(source, url=url)
    vault.list(source, lab.change(source, 3), url)
    vault.check()
    lab.refused(source, server.url("vault:../x"), says="..", exit=2)
    lab.sync(source, server.url("plain"))
    equal(source, lab.root / "plain")


def test_a_run_that_was_cut_off_goes_on(lab):
    vault = Vault(lab)
    source = text_and_noise(lab, "source", SIZE)
    vault.sync(source)
    for each in range(0, SIZE - 64 * KIB, 64 * KIB):
        write_at(source, each + 10, lab.content(50))
    run = lab.start_sync(source, vault.url, "--full", "--rate", 8, "--compress", 0)
    time.sleep(1.6)
    run.kill()
    lab.finish(run)
    assert len(vault.points()) == 1
    vault.check()
    garbage = vault.scrub()
    assert garbage["sound"]
    report = vault.sync(source, "--resume", "--verify")
    assert report["resumed"], report
    assert report["bytes_sent"] < SIZE, report
    vault.check()
    towline("vault", "prune", vault.dir)
    assert vault.scrub()["garbage_bytes"] == 0
    vault.check()


def test_what_is_as_before_a_cut_off_run_replaces_what_that_brought(lab):
    """Equal to the base, which the comparison used to look at alone, and not to what is in the point."""
    vault = Vault(lab)
    source = text_and_noise(lab, "source", SIZE)
    vault.sync(source)
    before = source.read_bytes()
    for each in range(0, SIZE - 64 * KIB, 64 * KIB):
        write_at(source, each + 10, lab.content(50))
    run = lab.start_sync(source, vault.url, "--scan", "--rate", 8, "--compress", 0)
    time.sleep(1.6)
    run.kill()
    lab.finish(run)
    write_at(source, 0, before)
    report = vault.sync(source, "--resume")
    assert report["resumed"] and report["bytes_changed"] > 0, report
    vault.check()


def test_pruned_space_is_given_back(lab):
    vault = Vault(lab)
    source = text_and_noise(lab, "source", SIZE)
    vault.sync(source)
    one = vault.bytes()
    for _ in range(12):
        vault.list(source, lab.change(source, 6))
    before = vault.bytes()
    kept = vault.points()[-2:]
    dry = json.loads(towline("vault", "prune", vault.dir, "--keep-last", 2, "--dry-run",
                             "--json").stdout)
    assert len(dry["names"][0]["deleted"]) == 11 and len(vault.points()) == 13
    report = json.loads(towline("vault", "prune", vault.dir, "--keep-last", 2, "--json").stdout)
    assert vault.points() == kept
    assert vault.bytes() < before - (before - one) / 2, (one, before, vault.bytes())
    assert report["bytes_freed"] > 0
    vault.check()
    assert vault.scrub()["garbage_bytes"] == 0


def test_damage_is_found_named_and_healed(lab):
    vault = Vault(lab)
    source = text_and_noise(lab, "source", SIZE)
    vault.sync(source)
    vault.list(source, lab.change(source, 2))
    first, second = vault.points()
    segment = max((vault.dir / "segment").rglob("*-*-*"), key=lambda each: each.stat().st_size)
    write_at(segment, 600_000, b"\xff" * 8)
    found = vault.scrub(exit=6)["findings"]
    hit = {each["point"] for each in found[0]["points"]}
    # The second may have got another block in its place.
    assert len(found) == 1 and {f"disk@{first}"} <= hit <= {f"disk@{first}",
                                                            f"disk@{second}"}, found
    assert all(each["bytes"] == [{"offset": each["bytes"][0]["offset"], "length": 64 * KIB}]
               for each in found[0]["points"]), found
    vault.sync(source, "--scan")
    vault.check([vault.points()[-1]])


def test_what_is_damaged_comes_back_from_a_newer_run(lab):
    # A text that was packed, and noise that was not: three that follow each other, and one apart.
    damaged_and_repaired(lab, Vault(lab), lambda size: [
        (200, 8), (size // 2, 130 * KIB), (size - 80 * KIB, 1)])


def test_refusals(lab):
    source = lab.image("source", MIB)
    lab.refused(source, f"vault:{lab.dir}/nowhere/disk", says="towline vault init")
    vault = Vault(lab)
    towline("vault", "init", vault.dir, exit=3)
    lab.refused(source, f"vault:{vault.dir}", exit=2)
    towline("point", "list", f"vault:{vault.dir}/disk")
    vault.sync(source)
    lab.refused(source, vault.url, "--block", "4K", says="--block")
    other = lab.image("other", MIB)
    lab.refused(other, vault.url, says="another source")
    towline("point", "show", f"{vault.url}@ffff", exit=3)
    towline("point", "delete", f"{vault.url}@{vault.points()[0]}")
    assert vault.points() == []
    vault.sync(source, "--full")
    vault.check()


def test_two_writers(lab):
    vault = Vault(lab)
    source = text_and_noise(lab, "source", SIZE)
    run = lab.start_sync(source, vault.url, "--rate", 8, "--compress", 0)
    time.sleep(0.7)
    state = lab.dir / "another-state"
    outcome = lab.try_sync(source, vault.url, state=state)
    assert outcome.exit == 7, outcome
    assert lab.finish(run).exit == 0
    vault.known[vault.points()[0]] = source.read_bytes()
    vault.check()


def test_a_full_disk_costs_no_point(lab):
    disk = lab.dir / "disk"
    lab.mount("tmpfs", disk, "-t", "tmpfs", "-o", "size=5m")
    vault = Vault(lab)
    vault.dir = disk / "vault"
    vault.url = f"vault:{vault.dir}/disk"
    towline("vault", "init", vault.dir)
    source = lab.image("source", SIZE, lab.content(SIZE))
    vault.sync(source)
    for _ in range(2):
        source.write_bytes(lab.content(SIZE))
        outcome = lab.try_sync(source, vault.url)
        if outcome.exit == 0:
            vault.known[vault.points()[-1]] = source.read_bytes()
    assert outcome.exit == 5, outcome
    vault.check()
    towline("vault", "prune", vault.dir, "--keep-last", 1)
    assert len(vault.points()) == 1
    vault.check()
    vault.sync(source, "--full")
    vault.check()


if __name__ == "__main__":
    main(globals())
