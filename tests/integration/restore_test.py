#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A point goes back onto a volume, or into a file: byte for byte, writing what differs alone, going
on after a cut; and never over what nobody said may go."""

import json
import shutil
import subprocess

from lib.lab import KIB, MIB, Skip, binary, equal, read_device, wait_for, write_at
from lib.runner import main
from lib.vault import Vault, text_and_noise, towline

SIZE = 5 * MIB + 1024


def restore(lab, vault, point, target, *words, exit=0):
    done = towline("restore", f"{vault.url}@{point}", target, "--json", "--state-dir", lab.state,
                   *words, exit=exit)
    return json.loads(done.stdout) if exit == 0 else done.stderr


def export(lab, vault, point, file, *words, exit=0):
    done = towline("export", f"{vault.url}@{point}", file, "--json", "--state-dir", lab.state,
                   *words, exit=exit)
    return json.loads(done.stdout) if exit == 0 else done.stderr


def two_points(lab, *words):
    vault = Vault(lab)
    source = text_and_noise(lab, "source", SIZE)
    write_at(source, MIB, bytes(MIB))
    vault.sync(source, *words)
    vault.list(source, lab.change(source, 4))
    return vault, source


def test_into_a_new_image(lab):
    vault, _ = two_points(lab)
    for number, point in enumerate(vault.points()):
        target = lab.dir / f"restored-{number}"
        report = restore(lab, vault, point, target)
        assert report["cause"] == "first-copy" and report["attested"] == "reread", report
        assert target.read_bytes() == vault.known[point]
    assert (lab.dir / "restored-0").stat().st_blocks * 512 < SIZE - MIB // 2


def test_only_what_differs_is_written(lab):
    vault, source = two_points(lab)
    first, second = vault.points()
    target = lab.image("target", SIZE, source.read_bytes())
    assert "--overwrite" in restore(lab, vault, first, target, exit=3)
    equal(target, source)
    report = restore(lab, vault, first, target, "--overwrite")
    assert report["mode"] == "scan" and 0 < report["bytes_changed"] < MIB, report
    assert target.read_bytes() == vault.known[first]
    report = restore(lab, vault, first, target)  # it is known by now
    assert report["bytes_changed"] == 0, report
    report = restore(lab, vault, second, target, "--overwrite")
    assert target.read_bytes() == vault.known[second]
    # Zeros are written where there was something.
    noise = lab.image("noise", SIZE, lab.content(SIZE))
    restore(lab, vault, first, noise, "--overwrite")
    assert noise.read_bytes() == vault.known[first]


def test_other_block_sizes(lab):
    for block in ("4K", "1M"):
        vault = Vault(lab, f"disk{block}")
        source = text_and_noise(lab, f"source{block}", SIZE)
        vault.sync(source, "--block", block)
        target = lab.dir / f"target{block}"
        restore(lab, vault, "latest", target)
        equal(source, target)
        shutil.rmtree(vault.dir)


def test_onto_a_device(lab):
    vault, source = two_points(lab)
    device = lab.loop(lab.image("disk", SIZE + MIB, lab.content(SIZE + MIB)))
    rest = read_device(device)[SIZE:]
    assert "--overwrite" in restore(lab, vault, "latest", device, exit=3)
    restore(lab, vault, "latest", device, "--overwrite")
    content = read_device(device)
    assert content[:SIZE] == source.read_bytes() and content[SIZE:] == rest
    small = lab.loop(lab.image("small", SIZE - 64 * KIB, bytes(SIZE - 64 * KIB)))
    assert "small" in restore(lab, vault, "latest", small, "--overwrite", exit=3)
    subprocess.run(["mkfs.ext4", "-q", "-F", device], check=True)
    lab.mount(device, lab.dir / "mounted")
    assert "mounted" in restore(lab, vault, "latest", device, "--overwrite", exit=3)


def test_a_cut_restore_goes_on(lab):
    vault, source = two_points(lab)
    target = lab.dir / "target"
    words = ["restore", f"{vault.url}@latest", target, "--state-dir", lab.state]
    run = subprocess.Popen([binary(), *map(str, words), "--rate", "8"], stderr=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL)
    lab.at_end(run.kill)
    wait_for(lambda: target.exists() and target.stat().st_blocks * 512 > MIB, 60)
    run.kill()
    run.wait()
    assert target.read_bytes() != source.read_bytes()
    report = restore(lab, vault, "latest", target)
    equal(source, target)
    assert report["bytes_changed"] <= SIZE, report


def test_what_is_restored_is_not_pruned(lab):
    vault, source = two_points(lab)
    first = vault.points()[0]
    target = lab.dir / "target"
    run = subprocess.Popen([binary(), "restore", f"{vault.url}@{first}", str(target), "--state-dir",
                            str(lab.state), "--rate", "20", "--quiet"])
    lab.at_end(run.kill)
    wait_for(target.exists, 60)
    for _ in range(2):
        vault.list(source, lab.change(source, 20))
    towline("vault", "prune", vault.dir, "--keep-last", 1)
    assert run.wait(120) == 0
    assert target.read_bytes() == vault.known[first]


def test_a_damaged_point_says_where(lab):
    vault, source = two_points(lab)
    segment = max((vault.dir / "segment").rglob("*-*-*"), key=lambda each: each.stat().st_size)
    write_at(segment, 600_000, b"\xff" * 8)
    first = vault.points()[0]
    said = restore(lab, vault, first, lab.dir / "target", exit=6)
    assert "bytes " in said and "of disk cannot be read" in said and "damaged" in said, said
    said = export(lab, vault, first, lab.dir / "image.qcow2", "--format", "qcow2", exit=6)
    assert "damaged" in said, said
    assert not (lab.dir / "image.qcow2").exists()


def test_exports(lab):
    vault, source = two_points(lab)
    raw = lab.dir / "image.raw"
    report = export(lab, vault, "latest", raw)
    equal(source, raw)
    assert report["volume_bytes"] == SIZE and raw.stat().st_blocks * 512 < SIZE - MIB // 2
    for format in ("raw", "qcow2"):
        assert "there already" in export(lab, vault, "latest", raw, "--format", format, exit=3)
    equal(source, raw)
    qcow2 = lab.dir / "image.qcow2"
    report = export(lab, vault, vault.points()[0], qcow2, "--format", "qcow2")
    assert report["file_bytes"] == qcow2.stat().st_size < SIZE - MIB // 2, report
    assert "vault itself" in export(lab, vault, "latest", vault.dir / "new", exit=3)
    assert not list(lab.dir.glob("*.part"))
    foreign = lab.image("third.part", MIB)
    kept = foreign.read_bytes()
    said = export(lab, vault, "latest", lab.dir / "third", exit=3)
    assert "remove it" in said and "--overwrite" not in said, said
    assert foreign.read_bytes() == kept and not (lab.dir / "third").exists()
    before = lab.image("before", SIZE, vault.known[vault.points()[0]])
    same_to_qemu(qcow2, before)


def same_to_qemu(qcow2, raw):
    if not shutil.which("qemu-img"):
        raise Skip("no qemu-img; install qemu-utils")
    subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", qcow2], check=True)
    subprocess.run(["qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", qcow2, raw],
                   check=True)


def test_a_large_sparse_image_as_qcow2(lab):
    """Several tables of each kind; a length that is no multiple of anything."""
    size = 1100 * MIB + 512
    source = lab.sparse("source", size)
    for offset in (0, 511 * MIB + 70_000, 512 * MIB - 1000, 800 * MIB, size - 700):
        write_at(source, offset, lab.content(700))
    vault = Vault(lab)
    lab.sync(source, vault.url)
    qcow2 = lab.dir / "image.qcow2"
    export(lab, vault, "latest", qcow2, "--format", "qcow2")
    assert qcow2.stat().st_size < MIB
    same_to_qemu(qcow2, source)


if __name__ == "__main__":
    main(globals())
