#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A target or a state folder that is full: exit 5 and a clear word, nothing is called done, and
once there is room --resume goes on."""

import os

from lib.lab import KIB, MIB, equal, lines
from lib.runner import main

SIZE = 8 * MIB


def small(lab, name, megabytes):
    return lab.mount("tmpfs", lab.dir / name, "-t", "tmpfs", "-o", f"size={megabytes}m")


def full(ended):
    assert ended.exit == 5, ended
    assert "space" in ended.err.lower(), ended


def fill(folder):
    """Every byte that is left but a page or so, and gone again with the file."""
    path = folder / "filler"
    with open(path, "wb", buffering=0) as file:
        try:
            while file.write(bytes(64 * KIB)):
                pass
        except OSError:
            pass
    return path


def test_target_at_a_server(lab):
    root = small(lab, "small", 5)
    server = lab.server(root=root)
    source = lab.image("source", SIZE, lab.content(SIZE))
    full(lab.try_sync(source, server.url("replica"), "--compress", 0))
    assert server.alive()
    full(lab.try_sync(source, server.url("replica"), "--resume"))
    assert os.system(f"mount -o remount,size=20m {root}") == 0
    lab.sync(source, server.url("replica"), "--resume")
    equal(source, root / "replica")


def test_target_on_a_path(lab):
    folder = small(lab, "small", 5)
    source = lab.image("source", SIZE, lab.content(SIZE))
    full(lab.try_sync(source, folder / "replica"))
    assert os.system(f"mount -o remount,size=20m {folder}") == 0
    lab.sync(source, folder / "replica", "--resume")
    equal(source, folder / "replica")


def test_a_list_whose_holes_need_room(lab):
    """The replica is sparse; what the list brings does not fit. The list is not lost."""
    root = small(lab, "small", 3)
    server = lab.server(root=root)
    source = lab.sparse("source", SIZE)
    lab.sync(source, server.url("replica"))
    changes = [(0, 4 * MIB)]
    with open(source, "r+b") as file:
        file.write(lab.content(4 * MIB))
    full(lab.try_sync(source, server.url("replica"), "--extents", "-", stdin=lines(changes)))
    full(lab.try_sync(source, server.url("replica"), "--extents", "-", stdin=lines([])))
    assert os.system(f"mount -o remount,size=20m {root}") == 0
    report = lab.extents(source, server.url("replica"), [])
    assert report["cause"] == "change-list" and report["bytes_changed"] == 4 * MIB, report
    equal(source, root / "replica")


def test_state_folder_of_the_source(lab):
    state = small(lab, "state", 1)
    source, server = lab.image("source", SIZE), lab.server()
    filler = fill(state)
    full(lab.try_sync(source, server.url("replica"), state=state))
    assert not (lab.root / "replica").exists()
    filler.unlink()
    lab.sync(source, server.url("replica"), state=state)
    # With a base on both sides a run takes no more room than its states have already; another
    # target's states do.
    filler = fill(state)
    lab.extents(source, server.url("replica"), lab.change(source, 3), state=state)
    equal(source, lab.root / "replica")
    full(lab.try_sync(source, server.url("new"), state=state))
    filler.unlink()
    lab.sync(source, server.url("new"), state=state)
    equal(source, lab.root / "new")
    lab.extents(source, server.url("replica"), lab.change(source, 3), state=state)
    equal(source, lab.root / "replica")


def test_state_folder_of_the_server(lab):
    state = small(lab, "state", 1)
    source = lab.image("source", SIZE)
    server = lab.server(words=["--state-dir", state])
    lab.sync(source, server.url("replica"))
    filler = fill(state)
    # There is no room to stage it, and the record alone needs none.
    old, changes = (lab.root / "replica").read_bytes(), lab.change(source, 3)
    full(lab.try_sync(source, server.url("replica"), "--extents", "-", stdin=lines(changes)))
    assert (lab.root / "replica").read_bytes() == old
    lab.extents(source, server.url("replica"), changes, "--direct")
    equal(source, lab.root / "replica")
    full(lab.try_sync(source, server.url("new")))
    filler.unlink()
    resize = os.system(f"mount -o remount,size=40m {state}")
    assert resize == 0
    lab.extents(source, server.url("replica"), lab.change(source, 3))
    equal(source, lab.root / "replica")
    lab.sync(source, server.url("new"))
    equal(source, lab.root / "new")


main(globals())
