#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a filesystem says is free may be zeros: with all of it zeroed, its check is clean and every file
is as it was. And whatever could make its word wrong makes all of it used."""

import hashlib
import os
import subprocess

from lib.lab import KIB, MIB, Skip, equal, write_at
from lib.runner import main
from lib.tracked import Tracked
from lib.tracking import BIN

EXT4 = {
    "ext4-4k": ("ext4", ["-b", "4096"]),
    "ext4-1k": ("ext4", ["-b", "1024", "-O", "^64bit,^flex_bg"]),
    "ext4-64bit": ("ext4", ["-b", "4096", "-O", "64bit,flex_bg,meta_bg,^resize_inode"]),
    "ext4-bigalloc": ("ext4", ["-O", "bigalloc", "-C", "65536"]),
    "ext4-old": ("ext4", ["-O", "^metadata_csum,^uninit_bg", "-E", "lazy_itable_init=0"]),
    "ext2": ("ext2", ["-b", "2048"]),
}
XFS = {
    "xfs-4k": ("xfs", ["-b", "size=4096", "-m", "reflink=1,rmapbt=1"]),
    "xfs-1k": ("xfs", ["-b", "size=1024", "-m", "reflink=0,rmapbt=0", "-l", "size=64m"]),
}
BTRFS = {
    "btrfs-single": ("btrfs", ["-m", "single", "-d", "single"]),
    "btrfs-dup": ("btrfs", ["-m", "dup", "-d", "dup"]),
    "btrfs-mixed": ("btrfs", ["--mixed"]),
}
CHECKS = {"ext4": ["e2fsck", "-fn"], "ext2": ["e2fsck", "-fn"], "xfs": ["xfs_repair", "-n"],
          "btrfs": ["btrfs", "check", "--readonly"]}
SIZES = {"ext4": 64 * MIB, "ext2": 64 * MIB, "btrfs": 256 * MIB, "xfs": 320 * MIB}
FILES = 60


def run(*words):
    done = subprocess.run([str(each) for each in words], text=True, capture_output=True)
    assert done.returncode == 0, f"{words}: {done.stdout[-800:]} {done.stderr[-800:]}"
    return done.stdout


def used(path):
    lines = run(BIN / "used_probe", path).splitlines()
    filesystem, _, doubt = lines[0].partition(" ")
    return filesystem, doubt, [tuple(map(int, line.split())) for line in lines[1:]]


def total(extents):
    return sum(length for _, length in extents)


def made(lab, name, kind, options):
    """An image whose free blocks hold what once was there, and the digests of its files. A quarter of
    it does: what is written takes the time of this test."""
    size = SIZES[kind]
    image = lab.sparse(name, size)
    old = lab.content(MIB)
    for offset in range(0, size, 4 * MIB):
        write_at(image, offset, old)
    run(f"mkfs.{kind}", "-q", *(["-F"] if kind.startswith("ext") else ["-f"]),
        *(["-K"] if kind in ("xfs", "btrfs") else ["-E", "nodiscard"]), *options, image)
    where = lab.mount(image, lab.dir / "mounted", "-o", "loop")
    for number in range(FILES):
        folder = where / f"folder{number % 7}"
        folder.mkdir(exist_ok=True)
        (folder / f"file{number}").write_bytes(lab.content(lab.random.choice([900, 5000, 400 * KIB])))
    for number in range(0, FILES, 3):
        (where / f"folder{number % 7}" / f"file{number}").unlink()
    digests = digests_in(where)
    run("umount", where)
    return image, digests


def digests_in(where):
    return {str(path.relative_to(where)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(where.rglob("*")) if path.is_file()}


def check_whole(lab, image, kind, digests):
    run(*CHECKS[kind], image)
    where = lab.mount(image, lab.dir / "replica-mounted", "-o", "loop")
    assert digests_in(where) == digests
    (where / "new").write_bytes(lab.content(8 * MIB))
    run("umount", where)
    run(*CHECKS[kind], image)


def zero_free(image, extents):
    at = 0
    for offset, length in [*extents, (image.stat().st_size, 0)]:
        if offset > at:
            run("fallocate", "-p", "-o", at, "-l", offset - at, image)
        at = offset + length


def each_layout(lab, layouts):
    for name, (kind, options) in layouts.items():
        if kind == "xfs" and not os.path.exists("/sbin/mkfs.xfs"):
            raise Skip("xfsprogs is missing")
        image, digests = made(lab, name, kind, options)
        filesystem, doubt, extents = used(image)
        assert (filesystem, doubt) == ("ext4" if kind == "ext2" else kind, ""), (name, doubt)
        # The log of xfs, the journal and tables of ext4 are used as well.
        assert 2 * MIB < total(extents) < SIZES[kind] * 0.6, f"{name}: {total(extents) // MIB} MiB"
        zero_free(image, extents)
        check_whole(lab, image, kind, digests)
        assert used(image)[1] == "", name
        print(f"     {name}: {total(extents) // MIB} of {SIZES[kind] // MIB} MiB used")
        image.unlink()


def test_ext4(lab):
    each_layout(lab, EXT4)


def test_xfs(lab):
    each_layout(lab, XFS)


def test_btrfs(lab):
    each_layout(lab, BTRFS)


def doubted(image, says=""):
    _, doubt, extents = used(image)
    assert doubt and says in doubt, doubt
    assert extents == [(0, image.stat().st_size)], extents[:4]


def test_a_mounted_or_crashed_one_is_doubted(lab):
    for kind, options in (("ext4", []), ("xfs", []), ("btrfs", [])):
        image, _ = made(lab, kind, kind, options)
        where = lab.mount(image, lab.dir / "live", "-o", "loop")
        with open(where / "synced", "wb") as file:
            file.write(lab.content(MIB))
            file.flush()
            os.fsync(file.fileno())
        copy = lab.dir / "crashed"
        run("cp", "--sparse=always", image, copy)
        run("umount", where)
        doubted(copy, "replayed")
        assert used(image)[1] == "", kind
        image.unlink()


def frozen_xfs(lab):
    """A copy of one while it was frozen, with a file that was deleted while it was open; and the
    digests of its files."""
    image, _ = made(lab, "xfs", "xfs", [])
    where = lab.mount(image, lab.dir / "live", "-o", "loop")
    (where / "new").write_bytes(lab.content(5 * MIB))
    copy = lab.dir / "frozen"
    with open(where / "deleted", "wb") as file:
        file.write(lab.content(MIB))
        (where / "deleted").unlink()
        run("fsfreeze", "--freeze", where)
        try:
            run("cp", "--sparse=always", image, copy)
        finally:
            run("fsfreeze", "--unfreeze", where)
        digests = digests_in(where)
    run("umount", where)
    return copy, digests


def test_a_frozen_xfs(lab):
    """Its log is dirty, but for the superblock alone. With any other word in it, it is doubted."""
    copy, digests = frozen_xfs(lab)
    _, doubt, extents = used(copy)
    assert doubt == "" and total(extents) < SIZES["xfs"] // 2, (doubt, total(extents))
    whole = copy.read_bytes()
    records = [at for at in range(0, len(whole), 512) if whole[at:at + 4] == b"\xfe\xed\xba\xbe"
               and int.from_bytes(whole[at + 12:at + 16], "big")]
    last = max(records, key=lambda at: int.from_bytes(whole[at + 16:at + 24], "big"))
    # Tail, length, number of operations, an operation, what it describes, the data, the checksum.
    for place in (31, 14, 43, 512 + 9, 512 + 48, 512 + 80, 32):
        write_at(copy, last + place, bytes([whole[last + place] ^ 1]))
        doubted(copy, "replayed")
        write_at(copy, last + place, whole[last + place:last + place + 1])
    assert used(copy)[1] == ""
    zero_free(copy, extents)
    where = lab.mount(copy, lab.dir / "replica-mounted", "-o", "loop,nouuid")
    assert digests_in(where) == digests
    (where / "more").write_bytes(lab.content(8 * MIB))
    run("umount", where)
    run(*CHECKS["xfs"], copy)


def test_damage_is_doubted(lab):
    """A byte of each kind of metadata: its checksum does not fit, or its counts."""
    for kind, places in (("ext4", (1024 + 4, 4096 + 3)), ("xfs", (7, 512 + 60, 4096 + 9)),
                         ("btrfs", (64 * KIB + 121,))):
        image, _ = made(lab, kind, kind, ["-b", "4096"] if kind == "ext4" else [])
        assert used(image)[1] == "", used(image)[1]
        whole = image.read_bytes()[:256 * KIB]
        for place in places:
            write_at(image, place, bytes([whole[place] ^ 0x5A]))
            doubted(image)
            write_at(image, place, whole[place:place + 1])
        assert used(image)[1] == "", kind
        image.unlink()


def test_a_copy_of_what_is_used(lab):
    """It reads little more than is used, and its replica is the same filesystem."""
    image, digests = made(lab, "ext4", "ext4", ["-b", "4096"])
    report = lab.sync(image, lab.dir / "replica", "--used-only", "--block", "4K")
    extents = used(image)[2]
    assert report["mode"] == "full" and report["used_only"]["doubt"] == "", report
    assert report["used_only"]["bytes"] == total(extents), report
    assert report["bytes_read"] <= total(extents) * 1.05, (report["bytes_read"], total(extents))
    expected = lab.dir / "expected"
    run("cp", image, expected)
    zero_free(expected, extents)
    equal(expected, lab.dir / "replica")
    again = lab.sync(image, lab.dir / "replica", "--used-only", "--scan", "--block", "4K")
    assert again["bytes_changed"] == 0, again
    run("cp", lab.dir / "replica", lab.dir / "checked")
    check_whole(lab, lab.dir / "checked", "ext4", digests)
    # Without the option a comparison brings what is free after all.
    lab.sync(image, lab.dir / "replica", "--scan", "--block", "4K")
    equal(image, lab.dir / "replica")


def test_a_source_in_use_is_copied_whole(lab):
    image, _ = made(lab, "ext4", "ext4", [])
    lab.mount(image, lab.dir / "in-use", "-o", "loop,ro,noload")
    report = lab.sync(image, lab.dir / "replica", "--used-only", "--snapshot", "none")
    assert "in use" in report["used_only"]["doubt"], report
    equal(image, lab.dir / "replica")


def test_a_live_one_and_its_increments(lab):
    """From images of a tracked mount. What was free and is zeros at the target is no fault of the
    tracker's, also for runs that leave nothing out; a comparison makes the audit good again."""
    image, _ = made(lab, "ext4", "ext4", [])
    device = Tracked(lab, image, run_folder="/run/towline").loop()
    live = lab.mount(device, lab.dir / "live")
    target = lab.dir / "replica"
    first = lab.sync(device, target, "--used-only")
    assert (first["label"], first["used_only"]["doubt"]) == ("filesystem", ""), first
    assert first["bytes_read"] < SIZES["ext4"] // 2, first
    for number, words in ((1, ["--used-only"]), (2, []), (4, ["--used-only"])):
        # Over old content, in files that were free, and gone, and only reserved.
        (live / f"new{number}").write_bytes(lab.content(3 * MIB))
        run("fallocate", "-l", 2 * MIB, live / f"reserved{number}")
        (live / f"folder{number}" / f"file{number}").unlink()
        report = lab.sync(device, target, *words)
        assert (report["cause"], report["audited_blocks"]) == ("tracked", 0), report
        copy = lab.dir / "copy"
        run("cp", target, copy)
        run("e2fsck", "-fn", copy)
        where = lab.mount(copy, lab.dir / "copy-mounted", "-o", "loop")
        assert digests_in(where) == digests_in(live), f"run {number}"
        run("umount", where)
    assert lab.sync(device, target, "--scan")["audited_blocks"] == 0
    run("umount", live)
    report = lab.sync(device, target)
    assert report["audited_blocks"] > 0, report
    equal(target, image)


def test_a_first_copy_of_a_live_xfs(lab):
    image, digests = made(lab, "xfs", "xfs", [])
    device = Tracked(lab, image, run_folder="/run/towline").loop()
    live = lab.mount(device, lab.dir / "live")
    (live / "new").write_bytes(lab.content(5 * MIB))
    digests = digests_in(live)
    replica = lab.dir / "replica"
    report = lab.sync(device, replica, "--used-only", "--block", "4K")
    assert (report["label"], report["used_only"]["doubt"]) == ("filesystem", ""), report
    assert report["bytes_read"] <= report["used_only"]["bytes"] * 1.05 < SIZES["xfs"] // 2, report
    run("umount", live)
    where = lab.mount(replica, lab.dir / "replica-mounted", "-o", "loop,nouuid")
    assert digests_in(where) == digests
    run("umount", where)
    run(*CHECKS["xfs"], replica)


def test_what_is_no_filesystem_is_used(lab):
    image = lab.image("random", 8 * MIB)
    assert used(image) == ("", "it holds no filesystem whose free blocks are known here",
                           [(0, 8 * MIB)])


main(globals())
