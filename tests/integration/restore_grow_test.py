#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A point that is restored to a larger device with --grow has its last partition and its filesystem up
to the device's end, with all that was in them; what cannot be grown is refused before anything is
written."""

import contextlib
import json
import os
import subprocess

from lib.keyed import encrypted, key_file, without_key
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


@contextlib.contextmanager
def looped(image, start=0, size=None, sector_bytes=512):
    """A loop device over a part of the image. Its number is anybody's again behind it."""
    words = ["--offset", start] + (["--sizelimit", size] if size else [])
    device = run("losetup", "--find", "--show", "--sector-size", sector_bytes, *words,
                 image).strip()
    try:
        yield device
    finally:
        run("losetup", "--detach", device)


def partitioned(lab, table, size, kind):
    """A small partition, and behind it the one with the filesystem."""
    image = lab.sparse("source", size)
    run("sfdisk", "--quiet", image,
        text=f"label: {table}\nstart=2048, size=4096\nstart={START // 512}\n")
    entry = json.loads(run("sfdisk", "--json", image))["partitiontable"]["partitions"][1]
    with looped(image, START, entry["size"] * 512) as device:
        return image, filled(lab, device, kind)


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
    # There is room for what would not have fitted.
    with open(at / "new", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, bytes_min // 2)
    unmount(at)
    run(*CHECK[kind], device)


def grows(lab, table, kind, size, target_size, vault=None, url=None):
    need_root()
    if table:
        source, files = partitioned(lab, table, size, kind)
    else:
        source = lab.sparse("source", size)
        with looped(source) as device:
            files = filled(lab, device, kind)
    vault = vault or Vault(lab)
    lab.sync(source, vault.url)
    vault.url = url or vault.url
    image = lab.sparse("target", target_size)
    with looped(image) as target:
        growth = restore(lab, vault, target)["growth"]
    assert growth["filesystem"] == kind and growth["bytes_before"] < growth["bytes_after"], growth
    start = START if table else 0
    if table:
        assert growth["partition"] == 2, growth
        check_table(image, table, growth["bytes_after"])
    with looped(image, start, growth["bytes_after"]) as device:
        verify(lab, device, kind, files, (target_size - start) * 8 // 10)


def check_table(image, table, last_bytes):
    size = image.stat().st_size
    first, last = json.loads(run("sfdisk", "--json", image))["partitiontable"]["partitions"]
    assert (first["start"], first["size"], last["start"]) == (2048, 4096, START // 512), (first, last)
    assert last["size"] * 512 == last_bytes, last
    assert size - (last["start"] + last["size"]) * 512 < 2 * MIB, last
    assert "No errors" in run("sfdisk", "--verify", image)
    # The second copy of a GPT is where the device ends.
    with open(image, "rb") as file:
        file.seek(size - 512)
        assert (file.read(8) == b"EFI PART") == (table == "gpt")


def test_ext4_on_gpt(lab):
    grows(lab, "gpt", "ext4", 48 * MIB, 96 * MIB)


def test_xfs_on_mbr(lab):
    grows(lab, "dos", "xfs", 330 * MIB, 700 * MIB)


def test_btrfs_on_gpt(lab):
    grows(lab, "gpt", "btrfs", 140 * MIB, 300 * MIB)


def test_ext4_without_a_table(lab):
    grows(lab, "", "ext4", 32 * MIB, 80 * MIB + 512)


def test_of_an_encrypted_vault(lab):
    vault = encrypted(lab, key_file(lab))
    url = without_key(lab.server, words=["--vault", vault.dir]).url("vault:disk")
    grows(lab, "dos", "ext4", 32 * MIB, 80 * MIB, vault, url)


def test_sectors_of_4096_bytes(lab):
    need_root()
    source, sector = lab.sparse("source", 48 * MIB), 4096
    with looped(source, sector_bytes=sector) as device:
        run("sfdisk", "--quiet", device,
            text=f"label: gpt\nstart=256, size=512\nstart={START // sector}\n")
        size = json.loads(run("sfdisk", "--json", device))["partitiontable"]["partitions"][1]["size"]
    with looped(source, START, size * sector, sector) as device:
        files = filled(lab, device, "ext4")
    vault = Vault(lab)
    lab.sync(source, vault.url)
    image = lab.sparse("target", 96 * MIB)
    with looped(image) as target:
        assert "sectors of 4096" in restore(lab, vault, target, exit=3)
        assert not read_device(target).strip(b"\0")
    with looped(image, sector_bytes=sector) as target:
        growth = restore(lab, vault, target)["growth"]
        assert growth["partition"] == 2 and growth["bytes_before"] == size * sector, growth
        first, last = json.loads(run("sfdisk", "--json", target))["partitiontable"]["partitions"]
        assert (first["start"], first["size"], last["start"]) == (256, 512, START // sector)
        assert last["size"] * sector == growth["bytes_after"] > 86 * MIB, last
        assert "No errors" in run("sfdisk", "--verify", target)
    with looped(image, START, growth["bytes_after"], sector) as device:
        verify(lab, device, "ext4", files, 70 * MIB)


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
    with looped(file, START, found["size"] * 512) as device:
        verify(lab, device, "ext4", files, 70 * MIB)
    assert not list(lab.dir.glob("*.part"))


def test_a_dry_run_grows_nothing(lab):
    need_root()
    source, _ = partitioned(lab, "gpt", 48 * MIB, "ext4")
    vault = Vault(lab)
    lab.sync(source, vault.url)
    with looped(lab.sparse("target", 96 * MIB)) as target:
        assert "growth" not in restore(lab, vault, target, "--dry-run")
        assert not read_device(target).strip(b"\0")


def test_what_cannot_be_grown_is_refused(lab):
    need_root()
    vault = Vault(lab)
    with looped(lab.sparse("target", 32 * MIB)) as target:
        for source, to, *says in unfit(lab):
            vault.url = f"vault:{vault.dir}/{source.name}"
            lab.sync(source, vault.url)
            said = restore(lab, vault, to or target, exit=3)
            assert all(text in said for text in says), said
        assert not read_device(target).strip(b"\0")


def unfit(lab):
    """Sources, where they are to go (None: the device), and what is said of it."""
    def table(name, text, last=b""):
        source = lab.sparse(name, 4 * MIB)
        run("sfdisk", "--quiet", source, text=text)
        with open(source, "r+b") as file:
            file.seek(3 * MIB)
            file.write(last)
        return source

    gpt = f"label: gpt\nstart=2048, size=2048\nstart={3 * 2048}\n"
    noise = lab.image("noise", MIB, lab.random.randbytes(MIB))
    yield noise, None, "no filesystem that is known"
    yield table("empty", gpt), None, "last partition (2)", "no filesystem that is known"
    yield table("luks", gpt, b"LUKS\xba\xbe\x00\x01"), None, "crypto_LUKS", "cryptsetup open"
    extended = "label: dos\nstart=2048, size=2048\nstart=4096, type=5\nstart=6144\n"
    yield table("extended", extended), None, "extended", "resizepart"
    yield lab.filesystem_image("large", 32 * MIB), None, "no larger", "without --grow"
    small = lab.filesystem_image("small", 4 * MIB)
    yield small, lab.image("file", MIB), "export --grow SIZE"
    yield small, "tcp://127.0.0.1:9/x", "a device of this host"
    swap = lab.sparse("swap-alone", MIB // 2)
    run("mkswap", "--quiet", swap)
    yield table("swap", gpt, swap.read_bytes()), None, "swap", "without --grow"


if __name__ == "__main__":
    main(globals())
