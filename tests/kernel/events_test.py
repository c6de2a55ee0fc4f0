#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the module tells without being asked: a store that fills, a snapshot that failed, a disk that
went away; and to a reader who was too late, that it was."""

import re

from rig.changes import MIB
from rig.runner import main
from rig.tracking import fields

WATCH = """
watch() {
    track watch >events &
    watcher=$!
    wait_until grep -q watching events
}
"""


def events_of(text):
    return [fields(line) for line in re.findall(r"^event=.*", text, re.MULTILINE)]


def test_a_store_that_fills_is_told_of_before_it_is_full(rig):
    """Steadily, so that the forecast comes true: some seconds of writing fill 16 MiB."""
    boot = rig.boot(WATCH + """
        insmod /towline.ko
        uuid=$(track attach /dev/disk/origin 4K)
        watch
        track snapshot 16M,50,60 64K $uuid >cut
        for at in $(seq 0 5); do
            disk write /dev/disk/origin ${at}M 1M $at
            sleep 0.5
        done
        track snapshot_status $uuid
        disk write /dev/disk/origin 6M 12M 7
        track snapshot_status $uuid
        wait_until grep -q event=failed events
        kill $watcher
        cat events
        track snapshot_delete $uuid
        track status $uuid >status
        cat status /sys/kernel/debug/towline/devices /sys/kernel/debug/towline/latency
        keep status
        track detach $uuid
        rmmod towline
        """, [rig.disk("origin", 24 * MIB)])
    events = events_of(boot.log)
    assert [each["event"] for each in events] == ["forecast", "fill", "failed"], boot.log
    forecast, fill, failed = events
    assert int(forecast["value"]) <= 60 and int(fill["value"]) == 8 * MIB, events
    assert int(failed["error"]) == -28, events
    assert [int(each["sequence"]) for each in events] == [1, 2, 3], events
    before, after = re.findall(r"stored=(\d+) max=256 chunk=65536 forecast=(\S+)", boot.log)
    assert before[0] == "96" and 0 < int(before[1]) < 60 and after[0] == "256", (before, after)
    status = {key: int(value) for key, value in fields(boot.read("status").decode()).items()}
    rig.count(bios_seen=status["writes_seen"])
    assert status["copies"] == status["copies_timed"] == 256, status
    assert status["copy_waits"] <= status["writes_deferred"] == status["held_timed"], status
    assert re.search(r"copy_us( <\d+:\d+)+$", boot.log, re.MULTILINE), boot.log


def test_a_disk_that_goes_away(rig):
    boot = rig.boot(WATCH + """
        insmod /towline.ko
        disk=$(readlink -f /dev/disk/origin)
        uuid=$(track attach $disk)
        dd if=/dev/zero of=/tmp/one bs=1M count=2 2>/dev/null
        modprobe loop
        losetup /dev/loop0 /tmp/one
        loop=$(track attach /dev/loop0)
        watch
        echo 1 >$(readlink -f /sys/block/${disk##*/}/device)/../remove
        wait_until grep -q uuid=$uuid events
        losetup -d /dev/loop0
        must_fail track freeze loose $loop
        must_fail track freeze loose $loop
        wait_until grep -q uuid=$loop events
        kill $watcher
        cat events
        track detach $uuid
        track detach $loop
        rmmod towline
        """, [rig.disk("origin", 8 * MIB)])
    assert [each["event"] for each in events_of(boot.log)] == ["gone", "gone"], boot.log


def test_a_reader_who_is_too_late_is_told(rig):
    """70 snapshots, 140 events, of which 128 are kept."""
    boot = rig.boot("""
        insmod /towline.ko
        uuid=$(track attach /dev/disk/origin)
        track late 70 $uuid /dev/disk/origin >late
        cat late
        track late 3 $uuid /dev/disk/origin >few
        [ $(grep -c event= few) = 6 ]
        ! grep -q lost few
        track detach $uuid
        rmmod towline
        """, [rig.disk("origin", 8 * MIB)])
    events = events_of(boot.log)
    assert events[0]["event"] == "lost" and events[0]["value"] == "12", events[0]
    assert [int(each["sequence"]) for each in events] == list(range(12, 141)), events


main(globals())
