#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A point that is served over NBD is its moment to every client, by any way of reading; what a client
writes is the overlay's alone; the point stays while it is served; and nothing is left behind, whoever
ends."""

import json
import os
import pty
import select
import shutil
import signal
import socket
from pathlib import Path

from lib.lab import KIB, MIB, binary, equal, write_at
from lib.runner import main
from lib.served import Served, ask
from lib.vault import TWO_POINTS_BYTES, Vault, text_and_noise, towline, two_points

SIZE = TWO_POINTS_BYTES


def objects(vault):
    return {path: path.read_bytes() for path in vault.dir.rglob("*")
            if path.is_file() and "locks" not in path.parts}


def test_each_point_is_its_moment(lab):
    vault, _ = two_points(lab)
    for point in vault.points():
        served = Served(lab, vault, point)
        known = vault.known[point]
        served.copy_to(lab.dir / "copy", "--connections=4", "--requests=16")
        assert (lab.dir / "copy").read_bytes() == known
        (lab.dir / "known").write_bytes(known)
        ask("qemu-img", "compare", "-f", "raw", "-F", "raw", lab.dir / "known", served.uri)
        info = served.info()
        assert info["export-size"] == SIZE and info["is_read_only"], info
        assert info["can_multi_conn"] and info["contexts"] == ["base:allocation"], info
        assert info["block_size_preferred"] == 64 * KIB, info
        assert served.end() == 0 and not served.socket.exists()
        (lab.dir / "copy").unlink()


def test_holes_are_told(lab):
    vault, source = two_points(lab)
    contents = source.read_bytes()
    served = Served(lab, vault, "latest")
    at = zeros = 0
    for each in served.map():
        assert each["offset"] == at, each
        at += each["length"]
        assert each["type"] in (0, 3), each
        if each["type"] == 3:
            zeros += each["length"]
            assert not any(contents[each["offset"]:at]), each
    assert at == SIZE and 256 * KIB <= zeros <= 512 * KIB, (at, zeros)
    copy = served.copy_to(lab.dir / "copy")
    equal(copy, source)
    assert copy.stat().st_blocks * 512 < SIZE - 256 * KIB


def test_nobody_writes(lab):
    vault, source = two_points(lab)
    before = objects(vault)
    served = Served(lab, vault, "latest")
    ask("qemu-io", "-f", "raw", "-c", "write 0 4k", served.uri, exit=1)
    ask("nbdcopy", source, served.uri, exit=1)
    assert objects(vault) == before
    equal(served.copy_to(lab.dir / "copy"), source)


def test_an_overlay_is_written_to_and_the_vault_is_not(lab):
    vault, source = two_points(lab)
    before = objects(vault)
    served = Served(lab, vault, "latest", "--overlay", "--scratch", lab.dir)
    assert served.report["overlay"] and not served.info()["is_read_only"]
    expected = bytearray(source.read_bytes())

    def put(command, offset, length, byte):
        expected[offset:offset + length] = bytes([byte]) * length
        return command.format(offset=offset, length=length, byte=byte)

    commands = []
    for _ in range(60):
        offset = lab.random.randrange(SIZE)
        length = lab.random.randrange(1, min(100_000, SIZE - offset) + 1)
        how, byte = lab.random.choice([("write -P {byte} {offset} {length}", 1 + offset % 255),
                                       ("write -f -P {byte} {offset} {length}", 1 + offset % 255),
                                       ("write -z {offset} {length}", 0),
                                       ("write -z -u {offset} {length}", 0)])
        commands.append(put(how, offset, length, byte))
    commands.append(put("write -z -u {offset} {length}", 2 * MIB, MIB // 2, 0))
    served.io(*commands, "flush")
    # Of another connection, and of one that skips what is told to be a hole.
    assert served.copy_to(lab.dir / "copy").read_bytes() == bytes(expected)
    at = 0
    for each in served.map():
        assert each["offset"] == at and each["type"] in (0, 3), each
        at += each["length"]
        if each["type"] == 3:
            assert not any(expected[each["offset"]:at]), each
        freed = 2 * MIB <= each["offset"] and at <= 2 * MIB + MIB // 2
        assert not freed or each["type"] == 3, each
    assert at == SIZE
    assert objects(vault) == before
    assert served.end(signal.SIGINT) == 0
    served.start()
    equal(served.copy_to(lab.dir / "copy"), source)


def test_what_is_read_is_not_pruned(lab):
    vault, source = two_points(lab)
    first = vault.points()[0]
    served = Served(lab, vault, first)
    for _ in range(3):
        vault.list(source, lab.change(source, 20))
    towline("vault", "prune", vault.dir, "--keep-last", 1)
    assert first in vault.points() and len(vault.points()) == 2
    assert served.copy_to(lab.dir / "copy").read_bytes() == vault.known[first]
    towline("point", "delete", f"{vault.url}@{first}", exit=7)
    # Killed, it holds nothing any more.
    assert served.end(signal.SIGKILL) == -signal.SIGKILL
    towline("vault", "prune", vault.dir, "--keep-last", 1)
    assert len(vault.points()) == 1


def test_whoever_ends_leaves_nothing(lab):
    vault, source = two_points(lab)
    served = Served(lab, vault, "latest")
    # nbdkit dies: that is said, and the socket goes.
    assert served.end(signal.SIGKILL, served.server()) == 1
    assert "signal 9" in served.log.read_text() and not served.socket.exists()
    # We die: nbdkit goes, and the next one takes the place of the socket that nobody removed.
    served.start()
    assert served.end(signal.SIGKILL) == -signal.SIGKILL
    assert served.socket.exists()
    served.start()
    equal(served.copy_to(lab.dir / "copy"), source)
    # Not that of one who serves; and it is its owner's alone.
    assert served.socket.stat().st_mode & 0o077 == 0
    again = ask(*served.command(), exit=7)
    assert "serves" in again.stderr, again
    # A client that stays is no reason to stay.
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(served.socket))
        assert client.recv(8) == b"NBDMAGIC"
        assert served.end() == 0 and not served.socket.exists()


def test_a_damaged_block_is_never_served(lab):
    vault, source = two_points(lab)
    segment = max((vault.dir / "segment").rglob("*-*-*"), key=lambda each: each.stat().st_size)
    write_at(segment, 600_000, b"\xff" * 8)
    hit = vault.scrub(exit=6)["findings"][0]["points"][0]
    point, bad = hit["point"].split("@")[1], hit["bytes"][0]
    served = Served(lab, vault, point)
    (lab.dir / "known").write_bytes(vault.known[point])
    # A client that is told so goes away in the middle, and takes nobody with it.
    for _ in range(5):
        ask("nbdcopy", "--requests=32", served.uri, lab.dir / "copy", exit=1)
    ask("qemu-io", "-r", "-f", "raw", "-c", f"read {bad['offset']} 4k", served.uri, exit=1)
    assert "damaged" in served.log.read_text()
    # The blocks beside it are.
    ask("qemu-io", "-r", "-f", "raw", "-c", f"read {bad['offset'] + 64 * KIB} 64k", served.uri)
    before = vault.known[point][bad["offset"] - 1]
    ask("qemu-io", "-r", "-f", "raw", "-c", f"read -P {before} {bad['offset'] - 1} 1", served.uri)


def test_several_volumes_are_exports(lab):
    vault = Vault(lab)
    sizes = {"one": MIB + 512, "two": MIB // 2}
    for name, size in sizes.items():
        lab.image(name, size, lab.content(size))
    towline("sync", *(lab.dir / name for name in sizes), vault.url, "--state-dir", lab.state)
    served = Served(lab, vault, "latest")
    assert [each["name"] for each in served.report["volumes"]] == list(sizes), served.report
    for each in served.report["volumes"]:
        assert each["bytes"] == sizes[each["name"]], each
        ask("nbdcopy", each["uri"], lab.dir / "copy")
        equal(lab.dir / "copy", lab.dir / each["name"])
        (lab.dir / "copy").unlink()
    listed = ask("nbdinfo", "--list", "--json", served.uri.replace("/one?", "/?")).stdout
    assert {each["export-name"] for each in json.loads(listed)["exports"]} == set(sizes)
    ask("nbdinfo", served.uri.replace("/one?", "/?"), exit=1)  # which one?
    assert served.end() == 0
    served = Served(lab, vault, "latest", "--volume", "two")
    equal(served.copy_to(lab.dir / "copy"), lab.dir / "two")


def secret_file(lab, name, contents):
    path = lab.dir / name
    path.write_bytes(contents)
    path.chmod(0o600)
    return path


def test_an_encrypted_vault(lab):
    for each in ("TOWLINE_KEY_FILE", "TOWLINE_PASSPHRASE_FILE"):
        if each in os.environ:
            lab.at_end(os.environ.__setitem__, each, os.environ.pop(each))
    key = secret_file(lab, "key", lab.random.randbytes(32))
    words = secret_file(lab, "words", b"open barley\n")
    vault = Vault(lab, init=["--encrypt", "--key-file", key])
    towline("vault", "key", "add", vault.dir, "--key-file", key, "--new-passphrase-file", words)
    source = text_and_noise(lab, "source", SIZE)
    vault.sync(source, "--key-file", key)
    served = Served(lab, vault, "latest", "--key-file", key)
    equal(served.copy_to(lab.dir / "copy"), source)
    secret = key.read_bytes()
    for pid in (served.run.pid, served.server()):
        for each in ("cmdline", "environ"):
            shown = Path(f"/proc/{pid}/{each}").read_bytes()
            assert shown and secret not in shown and secret.hex().encode() not in shown
    assert served.end() == 0
    (lab.dir / "copy").unlink()
    refused = ask(*served.command()[:-3], f"{vault.url}@latest", exit=3)
    assert "--key-file" in refused.stderr and not served.socket.exists(), refused
    from_a_person(lab, vault, served, source)


def from_a_person(lab, vault, served, source):
    """The passphrase is typed once, and shown nowhere."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(binary(), [binary(), "point", "serve", "--nbd", f"unix:{served.socket}",
                            f"{vault.url}@latest"])
    lab.at_end(os.close, terminal)

    def read_until(end):
        text = b""
        while end not in text:
            assert select.select([terminal], [], [], 120)[0], text
            text += os.read(terminal, 1000)
        return text

    read_until(b": ")
    os.write(terminal, b"open barley\r")
    shown = read_until(b"socket=")
    assert b"barley" not in shown, shown
    equal(served.copy_to(lab.dir / "copy"), source)
    os.write(terminal, b"\x03")  # the terminal's SIGINT, to both
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not served.socket.exists()


def test_refusals(lab):
    vault, _ = two_points(lab)
    place = lab.dir / "socket"

    def refused(says, *words, exit=3, point="latest"):
        done = ask(binary(), "point", "serve", *words, f"{vault.url}@{point}", exit=exit)
        assert says in done.stderr, done.stderr
        assert not place.exists()

    here = ("--nbd", f"unix:{place}")
    refused("towline point list", *here, point="ffff")
    refused("Unix socket", "--nbd", "tcp://127.0.0.1:1", exit=2)
    refused("it has disk", *here, "--volume", "other")
    refused("--scratch", *here, "--overlay", "--scratch", lab.dir / "nowhere", exit=1)
    refused("no socket", "--nbd", f"unix:{vault.dir / 'config'}")
    # A build without the plugin.
    alone = lab.dir / "bin" / "towline"
    alone.parent.mkdir()
    shutil.copy(binary(), alone)
    done = ask(alone, "point", "serve", *here, f"{vault.url}@latest", exit=9)
    assert "nbdkit-plugin-dev" in done.stderr, done.stderr


if __name__ == "__main__":
    main(globals())
