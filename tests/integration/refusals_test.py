#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A run that could destroy something is refused with exit code 3 and a remedy, and a refused run
has changed nothing on the target."""

import os
import subprocess
from contextlib import contextmanager

from lib.lab import MIB, Skip, equal, read_device
from lib.runner import main


@contextmanager
def untouched(path):
    """Bytes, size and time of what must not be changed."""
    def look():
        status = path.stat()
        if path.is_block_device():
            return read_device(path)
        return path.read_bytes(), status.st_size, status.st_mtime_ns, status.st_ino

    before = look()
    yield
    assert look() == before, f"a refused run changed {path}"


def refuse(lab, source, target, *words, says, touches=None):
    with untouched(touches or target):
        return lab.refused(source, target, *words, says=says)


def test_mounted_device(lab):
    device = lab.loop(lab.filesystem_image("filesystem", 16 * MIB))
    folder = lab.mount(device, lab.dir / "mounted")
    (folder / "precious").write_text("x")
    source = lab.image("source", 8 * MIB)
    for words in [(), ("--overwrite",), ("--full", "--overwrite"), ("--scan",)]:
        lab.refused(source, device, *words, says=["mounted", "unmount"])
    assert (folder / "precious").read_text() == "x"


def test_mounted_device_behind_a_server(lab):
    device = lab.loop(lab.filesystem_image("filesystem", 16 * MIB))
    lab.mount(device, lab.dir / "mounted")
    status = os.stat(device)
    os.mknod(lab.root / "disk", 0o600 | 0o060000, status.st_rdev)
    server = lab.server()
    lab.refused(lab.image("source", 8 * MIB), server.url("disk"), "--full", "--overwrite",
                says=["mounted", "unmount"])


def test_image_behind_a_loop_device(lab):
    target = lab.image("target", 4 * MIB)
    lab.loop(target)
    source = lab.image("source", 4 * MIB)
    refuse(lab, source, target, "--full", "--overwrite", says=["loop", "losetup -d"])


def test_source_as_target(lab):
    source = lab.image("source", 4 * MIB)
    os.symlink(source, lab.dir / "symlink")
    os.link(source, lab.dir / "hardlink")
    for name in ["source", "symlink", "hardlink", "../" + lab.dir.name + "/source"]:
        for words in [("--full", "--overwrite"), ("--scan",), ()]:
            refuse(lab, source, lab.dir / name, *words, says=["source", "choose"])


def test_a_target_that_is_refused_makes_no_hook_run(lab):
    source, hooks, done = lab.image("source", 4 * MIB), lab.dir / "hooks", lab.dir / "done"
    os.link(source, lab.dir / "hardlink")
    hooks.mkdir()
    for name in ("pre-snapshot", "post-snapshot"):
        (hooks / name).write_text(f"#!/bin/sh\necho {name} >>{done}\n")
        (hooks / name).chmod(0o755)
    refuse(lab, source, lab.dir / "hardlink", "--full", "--overwrite", "--hooks", hooks,
           says=["source", "choose"])
    assert not done.exists(), "a database was quiesced for a run that nothing came of"


def test_loop_over_the_source_as_target(lab):
    source = lab.image("source", 4 * MIB)
    device = lab.loop(source)
    refuse(lab, source, device, "--full", "--overwrite", says="choose", touches=source)
    refuse(lab, device, source, "--full", "--overwrite", says="choose", touches=source)


def test_source_as_target_behind_a_server(lab):
    """The server on the same host knows the source again, whatever its name."""
    source = lab.image("source", 4 * MIB)
    os.link(source, lab.root / "hardlink")
    loop = lab.loop(source)
    os.mknod(lab.root / "loop", 0o600 | 0o060000, os.stat(loop).st_rdev)
    server = lab.server()
    for name in ["hardlink", "loop"]:
        for words in [("--full", "--overwrite"), ("--scan",), ("--scan", "--dry-run"), ()]:
            refuse(lab, source, server.url(name), *words, says="choose", touches=source)
    refuse(lab, loop, server.url("hardlink"), "--full", "--overwrite", says="choose",
           touches=source)
    other = lab.image("other", 4 * MIB)
    lab.sync(other, server.url("replica"), "--full")
    equal(other, lab.root / "replica")


def test_target_stored_on_the_source_behind_a_server(lab):
    device = lab.loop(lab.filesystem_image("filesystem", 32 * MIB))
    folder = lab.mount(device, lab.dir / "mounted")
    target = folder / "target"
    target.write_bytes(bytes(MIB))
    server = lab.server(root=folder)
    refuse(lab, device, server.url("target"), "--full", "--overwrite", "--snapshot", "none",
           says="another device", touches=target)


def test_source_on_the_target(lab):
    """The image lies on the filesystem of the device that is to be overwritten."""
    device = lab.loop(lab.filesystem_image("filesystem", 32 * MIB))
    folder = lab.mount(device, lab.dir / "mounted")
    source = folder / "image"
    source.write_bytes(lab.content(MIB))
    lab.refused(source, device, "--full", "--overwrite", says="choose")


def test_smaller_device(lab):
    device = lab.loop(lab.sparse("small", 2 * MIB))
    source = lab.image("source", 4 * MIB)
    for words in [(), ("--overwrite",), ("--full", "--overwrite"), ("--scan",)]:
        refuse(lab, source, device, *words, says=["smaller", "at least"])


def test_data_without_overwrite(lab):
    source = lab.image("source", 2 * MIB)
    target = lab.image("target", 2 * MIB)
    for words in [(), ("--full",), ("--resume",)]:
        refuse(lab, source, target, *words, says=["holds data", "--overwrite", "--scan"])
    refuse(lab, source, target, "--extents", os.devnull, says="without --extents")
    server = lab.server(root=lab.dir)
    refuse(lab, source, server.url("target"), "--full", says="--overwrite", touches=target)
    lab.sync(source, target, "--full", "--overwrite")
    equal(source, target)


def test_replica_of_another_source(lab):
    target = lab.dir / "target"
    one, other = lab.image("one", 2 * MIB), lab.image("other", 2 * MIB)
    lab.sync(one, target)
    for words in [(), ("--full",), ("--scan",)]:
        refuse(lab, other, target, *words, says=["another source", "--overwrite"])
    refuse(lab, other, target, "--extents", os.devnull, says="another")
    assert lab.sync(other, target, "--overwrite")["cause"] == "other-source"
    equal(other, target)


def test_scan_onto_unrelated_data(lab):
    """Also where sizes differ: an image is not cut or grown before it is known to be a copy."""
    source = lab.image("source", 2 * MIB)
    for size in [2 * MIB, MIB, 4 * MIB, 2 * MIB + 5]:
        target = lab.image(f"target{size}", size)
        refuse(lab, source, target, "--scan", says=["no older copy", "--overwrite"])
    target = lab.image("old", 2 * MIB, source.read_bytes())
    lab.change(source, 3)
    lab.sync(source, target, "--scan")
    equal(source, target)


def test_scan_of_an_older_copy_of_another_size(lab):
    source = lab.image("source", 2 * MIB)
    for size in [2 * MIB - 5, MIB + 77, 3 * MIB]:
        target = lab.image(f"target{size}", size, (source.read_bytes() + lab.content(MIB))[:size])
        lab.sync(source, target, "--scan")
        equal(source, target)


def test_dry_run_of_a_scan_leaves_another_size_alone(lab):
    source = lab.image("source", 2 * MIB)
    target = lab.image("target", 3 * MIB, source.read_bytes() + lab.content(MIB))
    with untouched(target):
        lab.sync(source, target, "--scan", "--dry-run")


def test_names_of_a_server(lab):
    secret = lab.image("secret", MIB)
    os.symlink(secret, lab.root / "out")
    os.symlink("..", lab.root / "up")
    os.symlink("/dev", lab.root / "dev")
    server = lab.server()
    source = lab.image("source", MIB)
    names = ["../secret", "a/../../secret", "out", "up/secret", "dev/null", "/" + str(secret),
             str(secret), ".towline", ".towline/x", ".TOWLINE/x", "a//b", "a/", ".", "..", "./x",
             "missing/folder", "x" * 300, "x\ny", "proc/self/root/" + str(secret)]
    before = sorted(lab.root.rglob("*"))
    with untouched(secret):
        for name in names:
            outcome = lab.try_sync(source, server.url(name), "--full", "--overwrite")
            assert outcome.exit in (1, 2, 3), f"{name!r}: {outcome}"
            assert outcome.err.count("\n") == 1 and len(outcome.err) > 40, outcome
        for name in ["out", "up/secret", ".towline/x"]:
            lab.refused(source, server.url(name), "--full", "--overwrite")
    made = [each for each in sorted(lab.root.rglob("*")) if each not in before]
    assert all(each.suffix == ".lock" for each in made), made
    assert server.alive()


def test_things_that_are_no_volumes(lab):
    source = lab.image("source", MIB)
    os.mkfifo(lab.root / "fifo")
    (lab.root / "folder").mkdir()
    server = lab.server()
    for name in ["fifo", "folder"]:
        for target in [server.url(name), lab.root / name]:
            outcome = lab.try_sync(source, target, "--full", "--overwrite")
            assert outcome.exit in (1, 2, 3), outcome
    empty = lab.sparse("empty", 0)
    lab.refused(empty, lab.dir / "target", says="empty")
    assert not (lab.dir / "target").exists()
    for name in [lab.dir / "nothing", lab.root / "folder", lab.root / "fifo"]:
        outcome = lab.try_sync(name, lab.dir / "target")
        assert outcome.exit in (1, 2, 3), outcome
    assert not (lab.dir / "target").exists()


def test_swap_device(lab):
    device = lab.loop(lab.sparse("swap", 4 * MIB))
    subprocess.run(["mkswap", str(device)], check=True, capture_output=True)
    if subprocess.run(["swapon", str(device)], capture_output=True).returncode != 0:
        raise Skip("swapon does not work here")
    lab.at_end(subprocess.run, ["swapoff", str(device)])
    lab.refused(lab.image("source", MIB), device, "--full", "--overwrite", says=["swap"])


main(globals())
