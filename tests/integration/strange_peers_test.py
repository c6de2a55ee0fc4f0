#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A peer that is no Towline, a broken one, or one that says nothing: it gets an error or nothing,
others are served meanwhile, and the target stays as it was."""

import itertools
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from lib import wire
from lib.lab import MIB, equal, wait_for
from lib.proxy import UP, silent_after
from lib.runner import main

SOURCE, RUN = b"s" * 16, b"r" * 16
NUMBERS = itertools.count()


def connect(server):
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    return wire.Talk(sock)


def greeted(server):
    talk = connect(server)
    talk.send(wire.HELLO, wire.hello())
    assert talk.receive()[0] == wire.HELLO
    return talk


def opened(server, size=MIB):
    """Each under a name of its own: a session that is on its way out would be waited for."""
    name = f"replica{next(NUMBERS)}"
    talk = greeted(server)
    talk.send(wire.OPEN, wire.open_message(name, SOURCE, size))
    return talk


def begun(server, **words):
    talk = opened(server)
    assert talk.receive()[0] == wire.OPENED
    talk.send(wire.BEGIN, wire.begin(SOURCE, RUN, **words))
    return talk


def hears_an_error(talk):
    """An error message, then the end of the connection; or the end at once."""
    heard = talk.receive()
    while heard is not None and heard[0] not in (wire.ERROR, wire.SEALED):
        heard = talk.receive()
    return heard is None or heard[0] == wire.ERROR


def still_serves(lab, server):
    source = lab.image("still", MIB)
    lab.sync(source, server.url("still"), "--overwrite")
    equal(source, lab.root / "still")


def test_garbage_at_the_door(lab):
    server = lab.server("tcp://127.0.0.1:0")
    good = wire.frame(wire.HELLO, wire.hello())
    garbage = [lab.content(4096), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(100), bytes(4096),
               b"\xff" * 4096, wire.frame(wire.HELLO, wire.hello(), magic=0x12345678),
               wire.frame(wire.PING) + bytes(100), wire.frame(wire.DATA, b"x" * 28, b"y" * 500),
               good[:40] + lab.content(28), good[:-1], good[:1], b"",
               wire.frame(99, wire.hello()), wire.frame(wire.HELLO, wire.hello(), flags=0x8000),
               wire.frame(wire.HELLO, wire.hello(token=b"t" * 16))]
    for data in garbage:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
            try:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(4096):
                    pass
            except OSError:
                pass  # it hung up first
    assert server.alive()
    still_serves(lab, server)
    assert sorted(each.name for each in lab.root.iterdir()) == [".towline", "still"]


def test_other_versions(lab):
    server = lab.server()
    for low, high in [(2, 9), (0, 0)]:
        talk = connect(server)
        talk.send(wire.HELLO, wire.hello(low, high))
        kind, head = talk.receive()
        assert kind == wire.ERROR and b"upgrade" in head, head
    talk = connect(server)
    talk.send(wire.HELLO, wire.hello(0, 9))
    assert talk.receive()[0] == wire.HELLO


def test_wrong_messages_are_answered_by_an_error(lab):
    """Each at a moment at which it does not belong, or of a form that cannot be."""
    server = lab.server()
    base = wire.base(SOURCE, sequence=1, point=b"p" * 16)
    steps = {
        "open twice": lambda: twice(opened(server), wire.OPEN,
                                    wire.open_message("replica", SOURCE, MIB)),
        "stands on itself": lambda: twice(greeted(server), wire.OPEN, wire.open_message(
            "replica", SOURCE, MIB, stands_on=wire.standing(0, 1))),
        "stands on a circle": lambda: twice(greeted(server), wire.OPEN, wire.open_message(
            "replica", SOURCE, MIB, stands_on=wire.standing(0, 2, 1))),
        "stands on too much": lambda: twice(greeted(server), wire.OPEN, wire.open_message(
            "replica", SOURCE, MIB, stands_on=wire.standing(*[0] * 513))),
        "end before begin": lambda: twice(opened(server), wire.END, bytes(24)),
        "zeros before begin": lambda: twice(opened(server), wire.ZERO, bytes(16)),
        "out of sequence": lambda: twice(opened(server), wire.PING, sequence=17),
        "of another run": lambda: twice(opened(server), wire.END, bytes(24), run=5),
        "short": lambda: twice(opened(server), wire.BEGIN, b"x"),
        "long": lambda: twice(opened(server), wire.BEGIN, wire.begin(SOURCE, RUN) + b"x"),
        "block size": lambda: begun(server, block_bytes=65537),
        "block size 0": lambda: begun(server, block_bytes=0),
        "block size 2G": lambda: begun(server, block_bytes=1 << 31),
        "no run": lambda: twice(opened(server), wire.BEGIN, wire.begin(SOURCE, bytes(16))),
        "in another's name": lambda: begun(server, following=wire.base(b"z" * 16, sequence=1)),
        "another state": lambda: begun(server, state=2, expected=base),
        "resume of nothing": lambda: begun(server, resume=True),
        "list on nothing": lambda: begun(server, mode=wire.EXTENTS),
        "mode 9": lambda: begun(server, mode=9),
        "compare nothing": lambda: begun(server, mode=wire.SCAN, dry_run=True),
    }

    def take(item):
        name, step = item
        talk = step()
        assert hears_an_error(talk), name
        talk.sock.close()

    # At once: a peer that does not hang up is waited for a few seconds.
    with ThreadPoolExecutor(len(steps)) as pool:
        list(pool.map(take, steps.items()))
    still_serves(lab, server)
    assert not list(lab.root.glob("replica*")), "a refused begin made the target"


def twice(talk, kind, head=b"", **words):
    talk.send(kind, head, **words)
    return talk


def test_wrong_blocks_are_answered_by_an_error(lab):
    """After a good begin; the image is there, but never counts as a replica."""
    server = lab.server()
    run = int.from_bytes(RUN[:8], "little")
    table = wire.table((0, 1))
    raw = wire.struct.pack("<II", 65536, 0)
    bad = {
        "zeros past the end": (wire.ZERO, wire.struct.pack("<QQ", 0, 2 * MIB), b""),
        "zeros that wrap": (wire.ZERO, wire.struct.pack("<QQ", 65536, 2**64 - 65536), b""),
        "no zeros": (wire.ZERO, wire.struct.pack("<QQ", 0, 0), b""),
        "half a block of zeros": (wire.ZERO, wire.struct.pack("<QQ", 0, 100), b""),
        "wrong block crc": (wire.DATA, table + raw, lab.content(65536)),
        "table too long": (wire.DATA, table + raw * 2, lab.content(65536)),
        "table too short": (wire.DATA, table, lab.content(65536)),
        "unknown kind": (wire.DATA, table + wire.struct.pack("<II", 9 << 24 | 65536, 0),
                         lab.content(65536)),
        "no deflate": (wire.DATA, table + wire.struct.pack("<II", 1 << 24 | 1000, 0),
                       lab.content(1000)),
        "no zstd": (wire.DATA, table + wire.struct.pack("<II", 2 << 24 | 1000, 0),
                    lab.content(1000)),
        "past the end": (wire.DATA, wire.table((MIB, 1)) + raw, lab.content(65536)),
        "the second past the end": (wire.DATA, wire.table((0, 1), (MIB, 1)) + raw * 2,
                                    lab.content(131072)),
        "extents out of order": (wire.DATA, wire.table((131072, 1), (0, 1)) + raw * 2,
                                 lab.content(131072)),
        "a block twice": (wire.DATA, wire.table((0, 1), (0, 1)) + raw * 2, lab.content(131072)),
        "no extents": (wire.DATA, wire.table() + raw, lab.content(65536)),
        "end of what never came": (wire.END, wire.struct.pack("<QQQ", 1, 2, 0), b""),
    }
    for name, (kind, head, payload) in bad.items():
        talk = begun(server, overwrite=True)
        assert talk.receive()[0] == wire.BEGUN, name
        talk.run = run
        talk.send(kind, head, payload)
        assert hears_an_error(talk), name
        talk.sock.close()
    still_serves(lab, server)


def test_a_silent_connection_blocks_nobody(lab):
    server = lab.server(words=["--timeout", 2])
    silent = [connect(server) for _ in range(3)]
    half = connect(server)
    half.sock.sendall(wire.frame(wire.HELLO, wire.hello())[:30])
    idle = opened(server)
    began = time.monotonic()
    still_serves(lab, server)
    assert time.monotonic() - began < 3
    # One that said hello and then nothing is given up within its time.
    assert hears_an_error(idle)
    assert 1.5 < time.monotonic() - began < 8
    for talk in silent + [half]:
        talk.sock.close()


def test_hundreds_of_half_open_connections(lab):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    server = lab.server()
    socks = []
    for number in range(400):
        sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        if number % 3 == 1:
            sock.sendall(wire.frame(wire.HELLO, wire.hello())[:number % 68])
        socks.append(sock)
    assert server.alive()
    for sock in socks:
        sock.close()
    wait_for(lambda: served_again(lab, server), 15, "a session after the crowd had left")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def served_again(lab, server):
    source = lab.dir / "crowd"
    if not source.exists():
        lab.image("crowd", MIB)
    return lab.try_sync(source, server.url("crowd")).exit == 0


def test_a_target_that_stays_silent(lab):
    """A listener that never answers, and a link that dies in the middle: exit 4, in time."""
    listener = socket.create_server(("127.0.0.1", 0))
    lab.at_end(listener.close)
    source = lab.image("source", 8 * MIB, lab.content(8 * MIB))
    began = time.monotonic()
    ended = lab.try_sync(source, f"tcp://127.0.0.1:{listener.getsockname()[1]}/x", "--timeout", 2)
    assert ended.exit == 4 and "silent" in ended.err, ended
    server = lab.server(words=["--timeout", 2])
    proxy = lab.proxy(server, silent_after(UP, 3 * MIB))
    ended = lab.try_sync(source, proxy.url("replica"), "--timeout", 2)
    assert ended.exit == 4, ended
    assert time.monotonic() - began < 15
    assert lab.sync(source, server.url("replica"), "--resume")["mode"] in ("full", "scan")
    equal(source, lab.root / "replica")


def test_nobody_there(lab):
    source = lab.image("source", MIB)
    ended = lab.try_sync(source, "tcp://127.0.0.1:1/x")
    assert ended.exit == 4 and "towline serve" in ended.err, ended
    ended = lab.try_sync(source, f"unix:{lab.dir}/nothing:/x")
    assert ended.exit == 4 and "towline serve" in ended.err, ended


def test_a_made_up_server(lab):
    """Whatever it answers, the source does not call it a success."""
    replies = [lab.content(200), b"", wire.frame(wire.HELLO, wire.hello(2, 3)),
               wire.frame(wire.HELLO, wire.hello()) + wire.frame(wire.SEALED, bytes(200),
                                                                  sequence=1),
               wire.frame(wire.HELLO, wire.hello()) + wire.frame(wire.OPENED, b"", sequence=1),
               wire.frame(wire.HELLO, wire.hello()) + wire.frame(wire.DATA, b"h" * 24, b"x" * 100,
                                                                  sequence=1),
               wire.frame(wire.HELLO, wire.hello()) + wire.frame(
                   wire.ERROR, wire.error(7, "no such luck"), sequence=1),
               wire.frame(wire.HELLO, wire.hello()) + wire.frame(
                   wire.ERROR, wire.error(77, "no such code"), sequence=1)]
    source = lab.image("source", MIB)
    for reply in replies:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=answer, args=(listener, reply))
            thread.start()
            url = f"tcp://127.0.0.1:{listener.getsockname()[1]}/x"
            ended = lab.try_sync(source, url, "--timeout", 2)
            thread.join()
        assert ended.exit in (3, 4, 6, 8, 9), ended
        assert ended.err.startswith("towline sync: "), ended


def answer(listener, reply):
    sock, _ = listener.accept()
    with sock:
        sock.settimeout(3)
        try:
            sock.sendall(reply)
            while sock.recv(65536):
                pass
        except OSError:
            pass


main(globals())
