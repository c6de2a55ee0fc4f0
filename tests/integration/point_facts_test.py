#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A point says what lay on its volumes: partitions, filesystems, labels, as sfdisk and blkid see them;
what nothing is known of has no facts, and no bytes of a volume keep a point from being sealed."""

import json
import subprocess

from lib.lab import MIB, write_at
from lib.runner import main
from lib.vault import Vault, towline

UUID = "01234567-89ab-4cde-8f01-23456789abcd"


def run(*words, text=None):
    done = subprocess.run([str(word) for word in words], input=text, capture_output=True, text=True)
    assert done.returncode == 0, (words, done)
    return done.stdout


def facts(lab, vault, source):
    """Of a new point of the source, which the independent reader restores and checks, too."""
    vault.name = source.name
    vault.url = f"vault:{vault.dir}/{vault.name}"
    vault.sync(source)
    vault.check()
    (volume,) = json.loads(towline("point", "show", f"{vault.url}@latest", "--json").stdout)["volumes"]
    return volume["facts"]


def shown(vault):
    return towline("point", "show", f"{vault.url}@latest").stdout


def disk(lab, name, table, size=8 * MIB):
    source = lab.sparse(name, size)
    run("sfdisk", "--quiet", source, text=table)
    return source, json.loads(run("sfdisk", "--json", source))["partitiontable"]


def same_places(partitions, expected, sector=512):
    assert [(each["start"], each["bytes"]) for each in partitions] == \
        [(each["start"] * sector, each["size"] * sector) for each in expected], (partitions, expected)


def test_a_gpt(lab):
    vault = Vault(lab)
    source, table = disk(lab, "gpt", 'label: gpt\nstart=2048, size=2048, name="one"\nstart=4096\n')
    last = table["partitions"][1]
    part = lab.sparse("part", last["size"] * 512)
    run("mke2fs", "-q", "-t", "ext4", "-U", UUID, "-L", "dätä", part)
    write_at(source, last["start"] * 512, part.read_bytes())
    found = facts(lab, vault, source)
    assert (found["table"], found["sector_bytes"]) == ("gpt", 512), found
    assert found["table_uuid"] == table["id"].lower() and "filesystem" not in found, found
    first, second = found["partitions"]
    same_places([first, second], table["partitions"])
    assert (first["number"], first["name"]) == (1, "one") and "filesystem" not in first, first
    assert second["uuid"] == last["uuid"].lower() and second["type"] == last["type"].lower(), second
    assert second["filesystem"] == {"type": "ext4", "uuid": UUID, "label": "dätä"}, second
    assert UUID in shown(vault) and "dätä" in shown(vault), shown(vault)


def test_an_mbr_with_logical_partitions(lab):
    text = ("label: dos\nstart=2048, size=2048\nstart=4096, type=5\n"
            "start=6144, size=2048\nstart=10240, size=2048\nstart=14336\n")
    vault = Vault(lab)
    source, table = disk(lab, "mbr", text)
    write_at(source, 10240 * 512 + 1024, b"nothing")
    swap = lab.sparse("swap", 2048 * 512)
    run("mkswap", "--quiet", "-U", UUID, swap)
    write_at(source, 10240 * 512, swap.read_bytes())
    found = facts(lab, vault, source)
    assert found["table"] == "dos" and f"0x{found['table_uuid']}" == table["id"], (found, table)
    partitions = found["partitions"]
    assert [each["number"] for each in partitions] == [1, 2, 5, 6, 7], partitions
    assert [each["type"] for each in partitions] == ["0x83", "0x05", "0x83", "0x83", "0x83"]
    assert [each.get("logical", False) for each in partitions] == [False, False, True, True, True]
    assert partitions[1]["extended"]
    # The kernel, and blkid with it, give an extended one a size of its own.
    same_places(partitions[:1] + partitions[2:], table["partitions"][:1] + table["partitions"][2:])
    assert partitions[3]["filesystem"]["type"] == "swap", partitions
    assert partitions[3]["filesystem"]["uuid"] == UUID, partitions


def test_a_filesystem_alone_and_nothing_known(lab):
    vault = Vault(lab)
    found = facts(lab, vault, lab.filesystem_image("whole", 8 * MIB))
    assert found["filesystem"]["type"] == "ext4" and "table" not in found, found
    assert facts(lab, vault, lab.image("noise", MIB, lab.content(MIB))) == {}
    assert "nothing that is known" in shown(vault)
    assert facts(lab, vault, lab.sparse("zeros", 1000)) == {}


def test_they_are_of_their_moment(lab):
    vault = Vault(lab)
    source = lab.filesystem_image("disk", 8 * MIB)
    before = facts(lab, vault, source)["filesystem"]["uuid"]
    run("mke2fs", "-q", "-F", "-t", "ext4", "-U", UUID, source)
    assert facts(lab, vault, source)["filesystem"]["uuid"] == UUID != before
    points = json.loads(towline("point", "list", vault.url, "--json").stdout)["points"]
    assert [each["volumes"][0]["facts"]["filesystem"]["uuid"] for each in points] == [before, UUID]


def test_a_label_that_is_no_text(lab):
    vault = Vault(lab)
    source = lab.filesystem_image("hostile", 8 * MIB)
    run("tune2fs", "-O", "^metadata_csum", source)  # or the label would have to be under it
    write_at(source, 1024 + 120, b"\x1b[31m\xff\xfe\x07abc\x00")
    label = facts(lab, vault, source)["filesystem"]["label"]
    assert label.startswith("?[31m") and label.endswith("?abc"), label
    assert "\x1b" not in shown(vault)


if __name__ == "__main__":
    main(globals())
