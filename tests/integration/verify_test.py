#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A volume is compared with any point of a vault, and neither is changed; a scrub that was cut off goes
on; a vault is not put on what it is to hold."""

import json
import os
import subprocess
import time

from lib.lab import KIB, MIB, binary, wait_for, write_at
from lib.runner import main
from lib.vault import Vault, text_and_noise, towline

SIZE = 3 * MIB + 12345


def verify(lab, source, vault, point, exit=0):
    done = towline("verify", source, f"{vault.url}@{point}", "--json", "--state-dir", lab.state,
                   exit=exit)
    return json.loads(done.stdout)


def test_a_volume_and_points(lab):
    vault = Vault(lab)
    source = text_and_noise(lab, "source", SIZE)
    vault.sync(source)
    before = source.read_bytes()
    write_at(source, MIB, lab.content(100))
    vault.sync(source)
    first, second = vault.points()
    content, stored = source.read_bytes(), vault.bytes()
    assert verify(lab, source, vault, second)["equal"]
    verdict = verify(lab, source, vault, first, exit=6)
    assert verdict["bytes_different"] == 64 * KIB and verdict["bytes_point"] == SIZE, verdict
    # Whatever volume it is.
    copy = lab.image("copy", SIZE, before)
    assert verify(lab, copy, vault, first)["equal"]
    shorter = lab.image("shorter", SIZE - MIB, before[:SIZE - MIB])
    assert not verify(lab, shorter, vault, first, exit=6)["equal"]
    assert source.read_bytes() == content and vault.bytes() == stored
    assert vault.points() == [first, second]
    assert vault.sync(source)["bytes_changed"] == 0
    lab.refused(source, f"{vault.url}@{first}", exit=2)


def test_a_damaged_point_is_not_equal(lab):
    vault = Vault(lab)
    source = text_and_noise(lab, "source", SIZE)
    vault.sync(source)
    segment = max((vault.dir / "segment").rglob("*-*-*"), key=lambda each: each.stat().st_size)
    write_at(segment, 600_000, b"\xff" * 8)
    assert verify(lab, source, vault, "latest", exit=6)["bytes_different"] == 64 * KIB


def scrub(lab, vault, *words, exit=0):
    done = towline("vault", "scrub", vault.dir, "--json", "--state-dir", lab.state, *words, exit=exit)
    return json.loads(done.stdout)


def test_a_scrub_that_was_cut_off_goes_on(lab):
    vault = Vault(lab)
    source = text_and_noise(lab, "source", SIZE)
    vault.sync(source, "--compress", "0")
    for _ in range(6):
        vault.list(source, lab.change(source, 4))
    noted = lab.state / "scrubs"
    # A rate at which it does not come to the end of the first segments by itself.
    run = subprocess.Popen([binary(), "vault", "scrub", str(vault.dir), "--rate", "10", "--quiet",
                            "--state-dir", str(lab.state)])
    lab.at_end(run.kill)
    wait_for(lambda: noted.exists() and any(each.stat().st_size for each in noted.iterdir()), 60)
    run.kill()
    run.wait()
    report = scrub(lab, vault, "--resume")
    assert report["sound"] and 0 < report["bytes_resumed"] < report["bytes"], report
    assert not list(noted.iterdir())
    assert scrub(lab, vault, "--resume")["bytes_resumed"] == 0
    # What is damaged is read again, until it is sound.
    segment = max((vault.dir / "segment").rglob("*-*-*"), key=lambda each: each.stat().st_size)
    write_at(segment, 600_000, b"\xff" * 8)
    assert len(scrub(lab, vault, exit=6)["findings"]) == 1


def test_a_vault_on_its_own_source(lab):
    disk = lab.loop(lab.sparse("disk", 32 * MIB))
    subprocess.run(["mkfs.ext4", "-q", disk], check=True)
    at = lab.mount(disk, lab.dir / "filesystem")
    vault = Vault(lab)
    vault.dir = at / "vault"
    towline("vault", "init", vault.dir)
    url = f"vault:{vault.dir}/disk"
    lab.refused(disk, url, "--snapshot", "none", says="stored on the source")
    lab.refused(lab.dir / "disk", url, "--snapshot", "none", says="stored on the source")
    inside = vault.dir / "image"
    inside.write_bytes(lab.content(MIB))
    lab.refused(inside, url, says="the vault itself")
    server = lab.server(words=["--vault", vault.dir])
    lab.refused(disk, server.url("vault:disk"), "--snapshot", "none", says="stored on the source")
    other = lab.image("other", MIB)
    lab.sync(other, url)
    lab.sync(other, server.url("vault:other"))


if __name__ == "__main__":
    main(globals())
