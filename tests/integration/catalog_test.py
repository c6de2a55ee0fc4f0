#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The catalog: block devices before they are imported, imported, changed and gone, and lists of them
that are longer than a page."""

import json
import sqlite3
import subprocess
import threading
from urllib.parse import quote

from lib.daemon import Daemon
from lib.lab import MIB, wait_for
from lib.operator import Operator
from lib.runner import main


def test_before_imported_and_gone(lab):
    daemon = Daemon(lab).start()
    image = lab.filesystem_image("image", 8 * MIB)
    device = str(lab.loop(image))

    def state():
        found = [each for each in daemon.good("GET", "/v1/volumes?limit=500")["volumes"]
                 if each["path"] == device]
        return found[0] if found else None

    volume = state()
    assert volume["state"] == "NotImported" and volume["kind"] == "loop", volume
    assert volume["filesystem"] == "ext4" and volume["size_bytes"] == 8 * MIB, volume
    assert volume["mounts"] == [] and volume["uuid"], volume
    assert daemon.good("POST", "/v1/volumes/import")["imported"] > 0
    assert state()["state"] == "Available"
    lab.mount(device, lab.dir / "a b")
    assert state()["mounts"] == [str(lab.dir / "a b")]
    subprocess.run(["umount", lab.dir / "a b"], check=True)
    subprocess.run(["losetup", "--detach", device], check=True)
    assert state()["state"] == "Deleted"
    gone = daemon.good("GET", "/v1/volumes?state=Deleted&limit=500")["volumes"]
    assert device in [each["path"] for each in gone]
    assert daemon.good("DELETE", "/v1/volumes")["changed"]
    assert not daemon.good("DELETE", "/v1/volumes")["changed"]
    assert state() is None


def test_what_was_imported_and_is_another_has_expired(lab):
    daemon = Daemon(lab).start()
    image = lab.filesystem_image("image", 8 * MIB)
    device = str(lab.loop(image))
    daemon.good("POST", "/v1/volumes/import")

    def found(state):
        return [each for each in daemon.good("GET", f"/v1/volumes?limit=500&state={state}")["volumes"]
                if each["path"] == device]
    assert found("Available") and not found("Expired")
    subprocess.run(["mkfs.ext4", "-qF", device], check=True)
    expired, = found("Expired")
    assert not found("Available") and expired["uuid"], expired
    daemon.good("POST", "/v1/volumes/import")
    assert found("Available") == [{**expired, "state": "Available"}]


def test_a_long_catalog(lab):
    """More than a page may hold: each entry comes once, in order, whoever asks and however."""
    daemon = Daemon(lab).start()
    daemon.good("POST", "/v1/volumes/import")
    daemon.stop()
    gone = [f"/dev/gone{number:04}" for number in range(601)] + ["/dev/gone a&b%2f=?"]
    with sqlite3.connect(daemon.state / "towlined.sqlite") as file:
        file.executemany("INSERT INTO volume VALUES (?, ?)", [(path, json.dumps(
            {"path": path, "kind": "disk", "parent": None, "size_bytes": MIB, "filesystem": None,
             "uuid": None, "label": None, "mounts": []})) for path in gone])
    file.close()
    daemon.start()

    def pages(query):
        found, cursor, sizes = [], "", []
        while cursor is not None:
            page = daemon.good("GET", "/v1/volumes?" + query + cursor)
            found += page["volumes"]
            sizes.append(len(page["volumes"]))
            cursor = page["next"] and "&cursor=" + quote(page["next"], safe="")
        assert sizes[:-1] == [int(query.partition("limit=")[2] or 50)] * (len(sizes) - 1), sizes
        return found

    for query in ["state=Deleted", "state=Deleted&limit=500"]:
        found = pages(query)
        assert [each["path"] for each in found if each["path"] in set(gone)] == sorted(gone), query
        assert {each["state"] for each in found} == {"Deleted"}, query
    every = pages("limit=500")
    paths = [each["path"] for each in every]
    assert paths == sorted(set(paths)) and set(gone) < set(paths), len(paths)
    towline = Operator(daemon)
    assert set(gone) <= {each["path"] for each in towline.json("catalog", "list")["volumes"]}
    listed = towline.says("catalog", "list", "--state", "Deleted")
    assert all(path in listed for path in gone)


def test_an_import_that_goes_on_is_seen(lab):
    daemon = Daemon(lab).start()
    over = threading.Event()

    def work():
        while not over.is_set():
            daemon.good("DELETE", "/v1/volumes")
            daemon.good("POST", "/v1/volumes/import")
    importing = threading.Thread(target=work)
    importing.start()
    try:
        wait_for(lambda: daemon.good("GET", "/v1/volumes?state=Importing")["volumes"], 60,
                 "an import that goes on")
    finally:
        over.set()
        importing.join()
    assert not daemon.good("GET", "/v1/volumes?state=Importing")["volumes"]


main(globals())
