#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A point that is restored to a larger device with --grow has its last partition and its filesystem up
to the device's end, with all that was in them; what cannot be grown is refused before anything is
written."""

import json
import os
import subprocess

from lib.lab import MIB, Skip, read_device, unmount
from lib.runner import main
from lib.vault import Vault, towline

MAKE = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"],
        "btrfs": ["mkfs.btrfs", "-q", "-f"]}
CHECK = {"ext4": ["e2fsck", "-fn"], "xfs": ["xfs_repair", "-n"], "btrfs": ["btrfs", "check", "--readonly"]}
START = 8 * MIB


def run(*words, text=None):
    done = subprocess.run([str(word) for word in words], input=text, capture_output=True, text=True)
    assert done.returncode == 0, (words, done)
    return done.stdout


def need_root():
    if os.geteuid() != 0:
        raise Skip("needs root, for loop devices and mounts")


def filled(lab, device, kind):
    """A filesystem with files, as it is after a clean unmount."""
    run(*MAKE[kind], device)
    at = lab.mount(device, lab.dir / "made")
    for number in range(10):
        (at / f"file{number}").write_bytes(lab.random.randbytes(70_000))
    files = {each.name: each.read_bytes() for each in at.iterdir() if each.is_file()}
    unmount(at)
    return files


def part(lab, image, start, size=None):
    words = ["--offset", start] + (["--sizelimit", size] if size else [])
    return lab.loop(image, 512, *map(str, words))


def partitioned(lab, table, size, kind):
    """A small partition, and behind it the one with the filesystem."""
    image = lab.sparse("source", size)
    run("sfdisk", "--quiet", image,
        text=f"label: {table}\nstart=2048, size=4096\nstart={START // 512}\n")
    entry = json.loads(run("sfdisk", "--json", image))["partitiontable"]["partitions"][1]
    device = part(lab, image, START, entry["size"] * 512)
    files = filled(lab, device, kind)
    run("losetup", "--detach", device)
    return image, files


def larger_device(lab, size):
    image = lab.sparse("target", size)
    return image, lab.loop(image)


def restore(lab, vault, target, *words, exit=0):
    done = towline("restore", f"{vault.url}@latest", target, "--json", "--state-dir", lab.state,
                   "--grow", *words, exit=exit)
    return json.loads(done.stdout) if exit == 0 else done.stderr


def verify(lab, device, kind, files, bytes_min):
    run(*CHECK[kind], device)
    at = lab.mount(device, lab.dir / "grown", "-o", "nouuid" if kind == "xfs" else "defaults")
    assert {each.name: each.read_bytes() for each in at.iterdir() if each.is_file()} == files
    status = os.statvfs(at)
    assert status.f_blocks * status.f_frsize >= bytes_min, (status, bytes_min)
    (at / "new").write_bytes(bytes(bytes_min // 2))
    unmount(at)
    run(*CHECK[kind], device)


def grows(lab, table, kind, size, target_size):
    need_root()
    if table:
        source, files = partitioned(lab, table, size, kind)
    else:
        source = lab.sparse("source", size)
        device = lab.loop(source)
        files = filled(lab, device, kind)
        run("losetup", "--detach", device)
    vault = Vault(lab)
    lab.sync(source, vault.url)
    image, target = larger_device(lab, target_size)
    report = restore(lab, vault, target)
    growth = report["growth"]
    assert growth["filesystem"] == kind and growth["bytes_before"] < growth["bytes_after"], growth
    run("losetup", "--detach", target)
    start = 0
    if table:
        assert growth["partition"] == 2, growth
        found = json.loads(run("sfdisk", "--json", image))["partitiontable"]
        first, last = found["partitions"]
        assert (first["start"], first["size"], last["start"]) == (2048, 4096, START // 512), found
        assert last["size"] * 512 == growth["bytes_after"], found
        assert target_size - (last["start"] + last["size"]) * 512 < 2 * MIB, found
        said = subprocess.run(["sfdisk", "--verify", image], capture_output=True, text=True)
        assert said.returncode == 0 and "No errors" in said.stdout, said
        start = START
        # The second copy of a GPT is where the device ends.
        with open(image, "rb") as file:
            file.seek(target_size - 512)
            assert (file.read(8) == b"EFI PART") == (table == "gpt")
    verify(lab, part(lab, image, start, growth["bytes_after"]), kind, files,
           (target_size - start) * 8 // 10)


def test_ext4_on_gpt(lab):
    grows(lab, "gpt", "ext4", 48 * MIB, 96 * MIB)


def test_xfs_on_mbr(lab):
    grows(lab, "dos", "xfs", 330 * MIB, 700 * MIB)


def test_btrfs_on_gpt(lab):
    grows(lab, "gpt", "btrfs", 140 * MIB, 300 * MIB)


def test_ext4_without_a_table(lab):
    grows(lab, "", "ext4", 32 * MIB, 80 * MIB + 512)


def test_an_export_is_grown(lab):
    need_root()
    source, files = partitioned(lab, "gpt", 48 * MIB, "ext4")
    vault = Vault(lab)
    lab.sync(source, vault.url)
    file = lab.dir / "grown.raw"
    words = ["export", f"{vault.url}@latest", file, "--json", "--state-dir", lab.state, "--grow"]
    assert "no larger" in towline(*words, "48M", exit=3).stderr
    assert "qemu-img convert" in towline(*words, "96M", "--format", "qcow2", exit=3).stderr
    report = json.loads(towline(*words, "96M").stdout)
    assert report["volume_bytes"] == file.stat().st_size == 96 * MIB
    assert file.stat().st_blocks * 512 < 48 * MIB
    found = json.loads(run("sfdisk", "--json", file))["partitiontable"]["partitions"][1]
    verify(lab, part(lab, file, START, found["size"] * 512), "ext4", files, 70 * MIB)
    assert not list(lab.dir.glob("*.part"))


def test_a_dry_run_grows_nothing(lab):
    need_root()
    source, _ = partitioned(lab, "gpt", 48 * MIB, "ext4")
    vault = Vault(lab)
    lab.sync(source, vault.url)
    _, target = larger_device(lab, 96 * MIB)
    assert "growth" not in restore(lab, vault, target, "--dry-run")
    assert not read_device(target).strip(b"\0")


def test_what_cannot_be_grown_is_refused(lab):
    need_root()
    vault = Vault(lab)
    _, target = larger_device(lab, 32 * MIB)

    def refused(source, says, to=target, exit=3):
        vault.url = f"vault:{vault.dir}/{source.name}"
        lab.sync(source, vault.url)
        said = restore(lab, vault, to, exit=exit)
        assert all(text in said for text in says), said
        assert not read_device(target).strip(b"\0")

    def table(name, text, last=b"", at=3 * MIB):
        source = lab.sparse(name, 4 * MIB)
        run("sfdisk", "--quiet", source, text=text)
        with open(source, "r+b") as file:
            file.seek(at)
            file.write(last)
        return source

    gpt = f"label: gpt\nstart=2048, size=2048\nstart={3 * 2048}\n"
    refused(lab.image("noise", MIB, lab.random.randbytes(MIB)), ["no filesystem that is known"])
    refused(table("empty", gpt), ["last partition (2)", "no filesystem that is known"])
    refused(table("luks", gpt, b"LUKS\xba\xbe\x00\x01"), ["crypto_LUKS", "cryptsetup open"])
    extended = "label: dos\nstart=2048, size=2048\nstart=4096, type=5\nstart=6144\n"
    refused(table("extended", extended), ["extended", "resizepart"])
    small = lab.filesystem_image("ext4", 32 * MIB)
    refused(small, ["no larger", "without --grow"])
    refused(lab.filesystem_image("ext4-4", 4 * MIB), ["export --grow SIZE"], lab.image("file", MIB))
    refused(lab.filesystem_image("ext4-5", 5 * MIB), ["a device of this host"], "tcp://127.0.0.1:9/x")
    swap = table("swap", gpt)
    loop = part(lab, swap, 3 * MIB)
    run("mkswap", loop)
    run("losetup", "--detach", loop)
    refused(swap, ["swap", "without --grow"])


if __name__ == "__main__":
    main(globals())
