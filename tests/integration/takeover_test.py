#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ends in order on both sides, and who may take over a target from a session that is still there."""

import signal
import subprocess
import time
from pathlib import Path

from lib.cutting import acknowledged, cut_off, goes_on, start_slowly
from lib.lab import MIB, Skip, equal, wait_for
from lib.proxy import DOWN, UP, silent_after
from lib.runner import main

SIZE = 16 * MIB


def test_interrupted_by_a_signal(lab):
    source, server = lab.image("source", SIZE), lab.server()
    for number in [signal.SIGINT, signal.SIGTERM]:
        url = server.url(f"replica{number}")
        ended, have = cut_off(lab, source, url, end=number)
        assert ended.exit == 10 and "--resume" in ended.err, ended
        assert ended.report["error"]["exit"] == 10, ended
        goes_on(lab, source, url, have, SIZE)
        equal(source, lab.root / f"replica{number}")


def test_the_server_ends_in_order_and_is_there_again_at_once(lab):
    source, server = lab.image("source", SIZE), lab.server()
    run = start_slowly(lab, source, server.url("replica"))
    assert server.stop() == 0
    ended = lab.finish(run)
    assert ended.exit in (4, 10), ended
    server.start()
    goes_on(lab, source, server.url("replica"), acknowledged(lab), SIZE)
    equal(source, lab.root / "replica")


def test_a_dead_session_of_the_same_source_is_fenced(lab):
    """The first client lives on behind a link that went silent; the second one takes over at once,
    and whatever the first still sends is not written."""
    source, server = lab.image("source", SIZE), lab.server()
    proxy = lab.proxy(server, silent_after(UP, 4 * MIB))
    first = lab.start_sync(source, proxy.url("replica"), "--rate", 64)
    wait_for(lambda: len(proxy.recorded[UP]) > 5 * MIB)
    began = time.monotonic()
    report = lab.sync(source, server.url("replica"), "--resume")
    assert time.monotonic() - began < 5, "the dead session was waited for"
    assert report["resumed"], report
    equal(source, lab.root / "replica")
    ended = lab.finish(first)
    assert ended.exit != 0, ended
    equal(source, lab.root / "replica")


def test_a_stopped_client_is_fenced(lab):
    source, server = lab.image("source", SIZE), lab.server()
    first = start_slowly(lab, source, server.url("replica"))
    first.send_signal(signal.SIGSTOP)
    # The source's own lock holds for the same words ...
    busy = lab.try_sync(source, server.url("replica"), "--resume")
    assert busy.exit == 7, busy
    # ... and by another name of the same server the target's session is taken over.
    other = server.url("replica").replace("127.0.0.1", "localhost")
    lab.sync(source, other, "--resume")
    equal(source, lab.root / "replica")
    first.send_signal(signal.SIGCONT)
    assert lab.finish(first).exit != 0
    equal(source, lab.root / "replica")
    lab.change(source, 3)
    lab.sync(source, server.url("replica"))
    equal(source, lab.root / "replica")


def writes_wait(server):
    """Some thread of the server sleeps where nothing wakes it."""
    states = []
    for task in Path(f"/proc/{server.process.pid}/task").iterdir():
        try:
            states.append((task / "stat").read_text().rpartition(")")[2].split()[0])
        except OSError:  # it has ended
            pass
    return "D" in states


def kept_alive(lab, server, source, patience=2):
    """A session that the server has told for three times its patience that it lives. Where the machine let
    it wait for a sign that was given in time, there is none this time."""
    heard = [time.monotonic()]

    def note(direction, _, data):
        if direction == DOWN:
            heard.append(time.monotonic())
        return data
    second = lab.start_sync(source, lab.proxy(server, note).url("replica"), "--resume",
                            "--timeout", patience)
    while second.poll() is None and heard[-1] - heard[0] < 3 * patience:
        time.sleep(0.05)
    if second.poll() is None:
        return second
    ended, now = lab.finish(second), time.monotonic()
    gap = max(later - earlier for earlier, later in zip(heard, heard[1:] + [now]))
    assert gap > patience / 2, ended
    return None


def test_a_session_that_ends_late_is_waited_for(lab):
    """Its writes hang in a frozen filesystem. Whoever takes over is kept alive meanwhile, however
    short its own patience with a silent target is."""
    disk = lab.sparse("disk", 4 * SIZE)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", disk], check=True)
    root = lab.mount(lab.loop(disk), lab.dir / "mounted")
    source, server = lab.image("source", SIZE), lab.server(root=root, words=["--state-dir", lab.root])
    first = lab.start_sync(source, server.url("replica"), "--rate", 64, "--compress", 0)
    wait_for(lambda: sum(each.stat().st_size for each in lab.root.glob("*.acknowledged")))
    freeze = lambda how: subprocess.run(["fsfreeze", how, root], check=False, capture_output=True)
    lab.at_end(freeze, "--unfreeze")
    if freeze("--freeze").returncode != 0:
        raise Skip("no filesystem can be frozen here")
    wait_for(lambda: writes_wait(server), 30, "a write that waits")
    first.send_signal(signal.SIGSTOP)
    second = wait_for(lambda: kept_alive(lab, server, source), 60, "a session that is kept alive")
    freeze("--unfreeze")
    ended = lab.finish(second)
    assert ended.exit == 0, ended
    equal(source, root / "replica")
    first.send_signal(signal.SIGCONT)
    assert lab.finish(first).exit != 0


def test_another_source_does_not_fence(lab):
    source, server = lab.image("source", SIZE), lab.server()
    first = start_slowly(lab, source, server.url("replica"))
    other = lab.image("other", MIB)
    busy = lab.try_sync(other, server.url("replica"), "--full", "--overwrite", state=lab.dir / "o")
    assert busy.exit == 7 and "another run" in busy.err, busy
    assert lab.finish(first).exit == 0
    equal(source, lab.root / "replica")


main(globals())
