#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What tracking keeps from one boot to the next where nothing went wrong in between, and where
something did that it must not keep quiet about. Crashes are in crash_test.py."""

import re

from rig.changes import MIB
from rig.disks import format_disk
from rig.machine import Disk
from rig.runner import main
from rig.tracking import TRUST_EXACT, fields, read_epoch

TRUST_SUPERSET, TRUST_UNKNOWN = 2, 3
REASON_FIRST, REASON_MERGED, REASON_RESTORED, REASON_CRASHED, REASON_GAP = 1, 2, 0x20, 0x40, 0x80
BLOCK = 4096
SIZE = 24 * MIB

INTENT = """
insmod /towline.ko
# begin NAME DEVICE LOG OPTION...: sets uuid, and keeps what attaching said.
begin() {
    local name=$1
    shift
    intent attach "$@" >$name.begin
    uuid=$(sed -n 's/uuid=\\([0-9a-f]*\\) .*/\\1/p' $name.begin)
    keep $name.begin
}
"""


def begun(boot, name):
    told = fields(boot.read(f"{name}.begin").decode())
    return told["uuid"], int(told["trust"]), int(told["reasons"])


def log_disk(rig, size=1 * MIB, name="log"):
    return rig.disk(name, size)


def test_a_clean_reboot_loses_nothing(rig):
    """Both maps come back to the block, the frozen one as frozen, by the shutdown alone: nobody
    detached. And again."""
    origin, log = rig.disk("origin", SIZE), log_disk(rig)
    format_disk(origin.path, "ext4")
    first = rig.boot(INTENT + """
        begin first /dev/disk/origin /dev/disk/log create region=1M block=4K
        disk write /dev/disk/origin 4M 4K 1
        epoch committed $uuid
        disk write /dev/disk/origin 8M 8K 2
        disk write /dev/disk/origin 20M 4K 3
        track freeze loose $uuid >frozen
        disk write /dev/disk/origin 12M 4K 4
        intent status $uuid >status
        keep committed.epoch committed.map frozen status
        """, [origin, log])
    assert begun(first, "first")[1:] == (TRUST_EXACT, REASON_FIRST), begun(first, "first")
    assert fields(first.read("status").decode())["regions_hot"] == "3", first.read("status")
    frozen = fields(first.read("frozen").decode())

    second = rig.boot(INTENT + f"""
        begin second /dev/disk/origin /dev/disk/log
        track map $uuid {frozen["sequence"]} {frozen["blocks"]} frozen.map
        track commit $uuid {frozen["sequence"]}
        disk write /dev/disk/origin 13M 4K 5
        keep frozen.map
        """, [origin, log])
    assert begun(second, "second")[0] == begun(first, "first")[0]
    assert begun(second, "second")[1:] == (TRUST_EXACT, REASON_RESTORED), begun(second, "second")
    third = rig.boot(INTENT + """
        begin third /dev/disk/origin /dev/disk/log
        epoch last $uuid
        keep last.epoch last.map
        track detach $uuid
        rmmod towline
        """, [origin, log])
    told, marked = read_epoch(third, "last")
    assert told["trust"] == TRUST_EXACT and told["uuid"] == begun(first, "first")[0], told
    assert marked == {12 * 256, 13 * 256}, sorted(marked)


main(globals())
