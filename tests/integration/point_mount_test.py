#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A point of a vault that is mounted is its moment, byte for byte, however it is read; nothing of the
vault goes away beneath a reader, and no mount stays behind, however its daemon ends."""

import ctypes
import errno
import json
import mmap
import os
import signal
import subprocess

from lib.lab import KIB, MIB, equal, unmount, wait_for, write_at
from lib.mounted import Mounted, mounts
from lib.runner import main
from lib.tracked import alive
from lib.vault import TWO_POINTS_BYTES, Vault, towline, two_points

SIZE = TWO_POINTS_BYTES


def test_each_point_is_its_moment(lab):
    vault, _ = two_points(lab)
    for point in vault.points():
        mounted = Mounted(lab, vault, point)
        assert os.listdir(mounted.dir) == ["disk"]
        assert mounted.file.stat().st_size == SIZE
        assert mounted.file.read_bytes() == vault.known[point]


def test_any_range_by_any_way(lab):
    vault, source = two_points(lab)
    mounted = Mounted(lab, vault, "latest", "--cache", "1M")
    expected = source.read_bytes()
    with open(mounted.file, "rb", buffering=0) as file:
        for _ in range(300):
            offset = lab.random.randrange(SIZE)
            length = lab.random.randrange(1, 200 * KIB)
            assert os.pread(file.fileno(), length, offset) == expected[offset:offset + length]
        assert os.pread(file.fileno(), 10, SIZE) == b""
        with mmap.mmap(file.fileno(), SIZE, prot=mmap.PROT_READ) as mapped:
            assert mapped[:] == expected
    direct = os.open(mounted.file, os.O_RDONLY | os.O_DIRECT)
    lab.at_end(os.close, direct)
    memory = mmap.mmap(-1, MIB)
    assert os.preadv(direct, [memory], MIB - 4096) == MIB
    assert memory[:] == expected[MIB - 4096:2 * MIB - 4096]


def test_holes_are_told(lab):
    vault, _ = two_points(lab)
    mounted = Mounted(lab, vault, "latest")
    with open(mounted.file, "rb", buffering=0) as file:
        hole = os.lseek(file.fileno(), MIB - 64 * KIB, os.SEEK_HOLE)
        data = os.lseek(file.fileno(), hole, os.SEEK_DATA)
        assert MIB <= hole < data <= SIZE, (hole, data)
        assert not any(os.pread(file.fileno(), data - hole, hole))
    copy = lab.dir / "copy"
    subprocess.run(["cp", "--sparse=auto", mounted.file, copy], check=True)
    equal(copy, mounted.file)
    assert copy.stat().st_blocks * 512 < SIZE - 256 * KIB


def test_nobody_writes(lab):
    vault, source = two_points(lab)
    mounted = Mounted(lab, vault, "latest")
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
        try:
            os.close(os.open(mounted.file, flags))
            raise AssertionError(f"opened with {flags}")
        except OSError as error:
            assert error.errno == 30, error  # EROFS
    equal(mounted.file, source)


def test_a_filesystem_in_it(lab):
    image = lab.filesystem_image("ext4", 16 * MIB)
    vault = Vault(lab)
    vault.sync(image)
    mounted = Mounted(lab, vault, "latest")
    loop = lab.loop(mounted.file, 512, "--read-only")
    subprocess.run(["e2fsck", "-fn", loop], check=True, capture_output=True)
    at = lab.mount(loop, lab.dir / "files", "-o", "ro,noload")
    for each in (lab.dir / "ext4.files").iterdir():
        assert (at / each.name).read_text() == each.read_text()


def files_of(folder):
    return {each: each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def test_an_overlay_is_written_to_and_the_vault_is_not(lab):
    vault, source = two_points(lab)
    before = {name: text for name, text in files_of(vault.dir).items() if "locks" not in str(name)}
    mounted = Mounted(lab, vault, "latest", "--overlay", "--scratch", lab.dir)
    expected = bytearray(source.read_bytes())
    with open(mounted.file, "r+b", buffering=0) as file:
        for _ in range(150):
            offset = lab.random.randrange(SIZE)
            data = lab.content(lab.random.randrange(1, min(60_000, SIZE - offset) + 1))
            if lab.random.random() < 0.3:
                punch(file.fileno(), offset, len(data))
                data = bytes(len(data))
            else:
                assert os.pwrite(file.fileno(), data, offset) == len(data)
            expected[offset:offset + len(data)] = data
            at = lab.random.randrange(SIZE)
            assert os.pread(file.fileno(), 9000, at) == expected[at:at + 9000]
        os.fsync(file.fileno())
        for words in ((b"x", SIZE), (b"xx", SIZE - 1)):
            try:
                os.pwrite(file.fileno(), *words)
                raise AssertionError("written behind the end")
            except OSError as error:
                assert error.errno == errno.EFBIG, error
    assert mounted.file.read_bytes() == bytes(expected)
    after = {name: text for name, text in files_of(vault.dir).items() if "locks" not in str(name)}
    assert before == after
    mounted.unmount()
    mounted.mount()
    equal(mounted.file, source)


def punch(fd, offset, length):
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.fallocate(fd, 3, ctypes.c_long(offset), ctypes.c_long(length)) == 0, \
        os.strerror(ctypes.get_errno())


def test_a_filesystem_is_written_to_on_an_overlay(lab):
    image = lab.filesystem_image("ext4", 16 * MIB)
    vault = Vault(lab)
    vault.sync(image)
    mounted = Mounted(lab, vault, "latest", "--overlay", "--scratch", lab.dir)
    loop = lab.loop(mounted.file, 512, "--direct-io=on")
    at = lab.mount(loop, lab.dir / "files", "-o", "discard")
    (at / "new").write_bytes(lab.content(3 * MIB))
    (at / "file0").unlink()
    unmount(at)
    subprocess.run(["e2fsck", "-fn", loop], check=True, capture_output=True)
    subprocess.run(["losetup", "-d", loop], check=True)
    mounted.unmount()
    vault.check()


def test_what_is_read_is_not_pruned(lab):
    vault, source = two_points(lab)
    first = vault.points()[0]
    mounted = Mounted(lab, vault, first)
    opened = open(mounted.file, "rb")
    opened.read(100)
    for _ in range(3):
        vault.list(source, lab.change(source, 20))
    towline("vault", "prune", vault.dir, "--keep-last", 1)
    assert first in vault.points() and len(vault.points()) == 2
    assert mounted.file.read_bytes() == vault.known[first]
    towline("point", "delete", f"{vault.url}@{first}", exit=7)
    opened.close()
    mounted.unmount()
    towline("vault", "prune", vault.dir, "--keep-last", 1)
    assert len(vault.points()) == 1


def test_no_mount_stays_behind(lab):
    vault, source = two_points(lab)
    mounted = Mounted(lab, vault, "latest")
    mounted.end(signal.SIGKILL)
    assert str(mounted.dir) not in mounts() and os.listdir(mounted.dir) == []
    mounted.mount()
    mounted.end(signal.SIGTERM)
    assert str(mounted.dir) not in mounts()
    # Who uses it when it is told to end is served to the end.
    mounted.mount()
    with open(mounted.file, "rb") as file:
        os.kill(mounted.pid, signal.SIGTERM)
        wait_for(lambda: str(mounted.dir) not in mounts())
        assert file.read() == source.read_bytes()
        assert alive(mounted.pid)
    wait_for(lambda: not alive(mounted.pid), 60)
    # In the foreground, whose parent is this one.
    run = subprocess.Popen(mounted.command("--foreground"), stdout=subprocess.PIPE, text=True)
    lab.at_end(run.kill)
    wait_for(lambda: str(mounted.dir) in mounts(), 60)
    run.kill()
    run.wait()
    wait_for(lambda: str(mounted.dir) not in mounts(), 60)


def test_a_damaged_block_is_never_shown(lab):
    vault, source = two_points(lab)
    segment = max((vault.dir / "segment").rglob("*-*-*"), key=lambda each: each.stat().st_size)
    write_at(segment, 600_000, b"\xff" * 8)
    found = json.loads(towline("vault", "scrub", vault.dir, "--json", exit=6).stdout)["findings"]
    hit = found[0]["points"][0]
    bad = hit["bytes"][0]
    mounted = Mounted(lab, vault, hit["point"].split("@")[1])
    expected = vault.known[hit["point"].split("@")[1]]
    lost = []
    with open(mounted.file, "rb", buffering=0) as file:
        for offset in range(0, SIZE, 64 * KIB):
            try:
                piece = os.pread(file.fileno(), 64 * KIB, offset)
                assert piece == expected[offset:offset + 64 * KIB], offset
            except OSError as error:
                assert error.errno == 5, error  # EIO
                lost.append(offset)
    assert lost == [bad["offset"]], (lost, bad)


def test_refusals(lab):
    vault, _ = two_points(lab)
    place = lab.dir / "place"

    def refused(point, says, exit=3):
        words = [f"{vault.url}@{point}" if point else vault.url, place]
        done = towline("point", "mount", *words, exit=exit)
        assert says in done.stderr, done.stderr
        assert str(place) not in mounts()

    refused("latest", "mkdir")
    place.mkdir()
    refused("ffff", "towline point list")
    refused("", "NAME@ID", 2)
    (place / "file").touch()
    refused("latest", "not empty")


if __name__ == "__main__":
    main(globals())
