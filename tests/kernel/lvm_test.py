#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`towline sync --snapshot lvm` of mounted logical volumes, thick and thin: each replica is one
moment with its filesystem frozen, what does not fit costs the image and never the origin, and what
a killed run left is removed by the next. `--used-only` of thin ones: what the pool never allocated
is not read, and is zeros in the replica as in the volume."""

import json

from rig import lvm
from rig.changes import MIB
from rig.runner import main, on_one_kernel
from rig.towline import towline_programs

PROGRAMS = ("mkfs.ext4", "e2fsck", "dumpe2fs", "lvm", "thin_dump")
MODULES = ("dm_snapshot", "dm_thin_pool")
VOLUME = 32 * MIB
POOL = 36 * MIB
DEADLINE_SECONDS = 2400  # a busy host: LVM's programs take a second each where nothing else runs

# `bring` takes what is under way, and checks what came of it as it is: nobody replays a journal.
PRELUDE = f"""
for name in lvs lvcreate lvremove lvextend vgcreate; do ln -s lvm /bin/$name; done
for name in dm_mod dm_snapshot dm_thin_pool ext4; do modprobe $name || true; done
mkdir -p /mnt/thick /mnt/thin /tmp/state
vgcreate -q data /dev/disk/pv
lvcreate -q -y -n thick -L {VOLUME}b data
lvcreate -q -y --type thin-pool -n pool -L {POOL}b -Zn data
lvcreate -q -y -n thin -V {VOLUME}b --thinpool data/pool
origin() {{ echo "/dev/mapper/data-$1"; }}
# begin VOLUME MIB: with so much in a file.
begin() {{
    mkfs.ext4 -q -F -b 4096 "$(origin "$1")"
    mount -t ext4 "$(origin "$1")" "/mnt/$1"
    dd if=/dev/urandom of="/mnt/$1/first" bs=1M count="$2" conv=fsync 2>/dev/null
}}
scribble() {{
    local at=0
    rm -f /tmp/enough
    while [ ! -e /tmp/enough ]; do
        dd if=/dev/urandom of="/mnt/$1/file$((at % 5))" bs=64k count=4 2>/dev/null
        at=$((at + 1))
        usleep 400000
    done
}}
words() {{ echo "$(origin "$1") /dev/disk/$1-replica --state-dir /tmp/state --quiet --timeout 600"; }}
sync_of() {{
    local volume=$1
    shift
    towline sync $(words "$volume") "$@"
}}
# bring NAME VOLUME [OPTIONS...]
bring() {{
    local name=$1 volume=$2
    shift 2
    sync_of "$volume" --json "$@" >"$name.json" || {{ cat "$name.json"; return 1; }}
    e2fsck -fn "/dev/disk/$volume-replica" >"$name.fsck" 2>&1 || {{ cat "$name.fsck"; return 1; }}
    dumpe2fs -h "/dev/disk/$volume-replica" 2>/dev/null >"$name.head"
    must_fail grep needs_recovery "$name.head"
    none_left
    keep "$name.json"
}}
images() {{ lvs --noheadings -o lv_attr,lv_name,lv_tags data | grep towline || true; }}
none_left() {{ [ -z "$(images)" ] || {{ images; return 1; }}; }}
being_read() {{ images | grep '^ *.....o'; }}
"""


def boot(rig, script, *names):
    disks = [rig.disk("pv", 200 * MIB), *(rig.disk(f"{name}-replica", VOLUME) for name in names)]
    return rig.boot(PRELUDE + script, disks, files={**towline_programs("towline"), **lvm.FILES},
                    host_programs=PROGRAMS, modules=MODULES, memory_mib=1024, deadline=DEADLINE_SECONDS)


def told(booted, name):
    report = json.loads(booted.read(f"{name}.json"))
    assert report["snapshot"] == "lvm" and report["label"] == "filesystem", report
    assert report["freeze_seconds"] > 0, report
    return report


@on_one_kernel
def test_live_volumes(rig):
    """Thick without a tracker, and unasked for; thin with the module's epochs, and by name alone."""
    booted = boot(rig, """
        insmod /towline.ko
        begin thick 4
        scribble thick &
        writer=$!
        bring first thick --overwrite
        touch /tmp/enough
        wait $writer
        umount /mnt/thick

        begin thin 4
        must_fail sync_of thin --overwrite 2>unnamed
        cat unnamed
        grep "a snapshot in a thin pool has to be asked for: --snapshot lvm" unnamed
        towline track attach "$(origin thin)" --tracker kmod
        scribble thin &
        writer=$!
        bring begun thin --snapshot lvm --overwrite
        bring tracked thin --snapshot lvm
        touch /tmp/enough
        wait $writer
        umount /mnt/thin
        sync_of thin
        cmp "$(origin thin)" /dev/disk/thin-replica
        towline track detach "$(origin thin)"
        rmmod towline

        mount -t ext4 "$(origin thick)" /mnt/thick
        mv /bin/lvm /bin/gone
        must_fail sync_of thick --snapshot lvm 2>without
        grep "install lvm2" without
        """, "thick", "thin")
    told(booted, "first")
    report = told(booted, "tracked")
    assert (report["tracker"], report["cause"]) == ("kmod", "tracked"), report
    assert 0 < report["bytes_changed"] < VOLUME // 2, report


# A run that stands still in the middle of its image, as on a slow link: $run. What comes of it once
# it goes on hangs on no clock.
HELD = """
hold() {
    towline sync $(words $1) --overwrite --full --rate 2 --snapshot lvm --store 4M 2>why &
    run=$!
    wait_until being_read
    kill -STOP $run
}
overwrite() {
    local volume=$1
    shift
    dd if=/dev/urandom of=/mnt/$volume/first bs=64k conv=notrunc,fsync "$@" 2>/dev/null
}
# given_up CAUSE
given_up() {
    must_fail wait $run
    cat why
    grep "given up while it was read ($1" why
    none_left
}
"""


@on_one_kernel
def test_a_store_that_fills_up(rig):
    """The kernel drops the image. What a killed run left goes with the next."""
    boot(rig, HELD + """
        begin thick 20
        hold thick
        overwrite thick count=120
        kill -CONT $run
        given_up "its store is full); run again, with more room for it (--store)"

        hold thick
        kill -9 $run
        wait $run || true
        must_fail none_left
        bring healed thick --overwrite
        umount /mnt/thick
        e2fsck -fn "$(origin thick)"
        """, "thick")


@on_one_kernel
def test_a_pool_that_fills_up(rig):
    """A thin image is given up before its pool is full. Where the pool was faster, the origin's
    writes wait until the image is gone, which is at once, whatever the run does; and none fails."""
    boot(rig, HELD + """
        # How long the kernel lets a write wait is a matter of the host's load.
        echo 1800 >/sys/module/dm_thin_pool/parameters/no_space_timeout
        echo 1800 >/proc/sys/kernel/hung_task_timeout_secs
        pool() { dmsetup status data-pool-tpool; }
        used() { pool | sed 's,.* \\([0-9]*\\)/576 .*,\\1,'; }
        full() { pool | grep out_of_data_space; }
        cause='its thin pool data/pool was nearly full); run again, with more room for it (lvextend data/pool)'

        begin thin 20
        hold thin
        before=$(used)
        overwrite thin count=100
        at=100
        until [ $(used) -ge 549 ]; do
            overwrite thin seek=$at count=4
            at=$((at + 4))
        done
        kill -CONT $run
        given_up "$cause"
        must_fail full
        [ $(used) -le $((before + 20)) ]
        dmesg >said
        must_fail grep out-of-data-space said

        hold thin
        overwrite thin count=320 &
        writer=$!
        wait_until full
        kill -CONT $run
        wait $writer
        given_up "$cause"
        dmesg | grep "out-of-data-space (queue IO)"
        umount /mnt/thin
        e2fsck -fn "$(origin thin)"
        """, "thin")


# take NAME VOLUME [OPTIONS...]: nobody looks at what is in it.
TAKEN = """
take() {
    local name=$1 volume=$2
    shift 2
    sync_of "$volume" --json --used-only --block 64K "$@" >"$name.json" || { cat "$name.json"; return 1; }
    must_fail held
    keep "$name.json"
}
same() { cmp "$(origin "$1")" "/dev/disk/$1-replica"; }
pool() { dmsetup status data-pool-tpool; }
held() { pool | sed 's,.*[0-9]*/576 ,,' | grep -v '^-'; }
message() { dmsetup message data-pool-tpool 0 "$1"; }
# put CHUNK...: chunks of the pool's are 64 KiB.
put() {
    local chunk
    for chunk in "$@"; do
        dd if=/dev/urandom of="$(origin thin)" bs=64k count=1 seek="$chunk" conv=notrunc 2>/dev/null
    done
}
"""
CHUNK = 64 * 1024


@on_one_kernel
def test_what_a_pool_never_allocated(rig):
    """Of a volume that nothing uses, and of an image; whoever has a metadata snapshot keeps it, but
    for a dead run's; and an origin outside of the pool is read."""
    booted = boot(rig, TAKEN + """
        put 0 1 7 100 511
        take raw thin --overwrite --full
        same thin
        put 8 300
        blkdiscard -o 65536 -l 65536 "$(origin thin)"
        take again thin
        same thin

        message reserve_metadata_snap
        sync_of thin --json --used-only --full >foreign.json
        keep foreign.json
        held
        message release_metadata_snap

        mv /bin/thin_dump /bin/dump
        printf '#!/bin/sh\necho $$ >/tmp/dumping\nexec sleep 10000\n' >/bin/thin_dump
        chmod +x /bin/thin_dump
        towline sync $(words thin) --used-only --full &
        run=$!
        wait_until [ -s /tmp/dumping ]
        kill -9 $run
        wait $run || true
        kill $(cat /tmp/dumping)
        held
        mv /bin/dump /bin/thin_dump
        take healed thin --full
        same thin

        message "create_thin 77"
        dmsetup create outside --table "0 65536 thin /dev/mapper/data-pool-tpool 77 $(origin thick)"
        dmsetup mknodes outside
        towline sync /dev/mapper/outside /dev/disk/thick-replica --state-dir /tmp/state --quiet \
            --json --used-only --overwrite >outside.json
        same thick
        keep outside.json
        dmsetup remove outside
        message "delete 77"

        begin thin 3
        scribble thin &
        writer=$!
        bring live thin --snapshot lvm --used-only --full --block 4K
        touch /tmp/enough
        wait $writer
        """, "thick", "thin")

    def used(name):
        report = json.loads(booted.read(f"{name}.json"))
        return report, report["used_only"]
    for name, chunks in (("raw", 5), ("again", 6), ("healed", 6)):
        report, told_of = used(name)
        assert told_of["pool_bytes"] == told_of["bytes"] == chunks * CHUNK, (name, told_of)
        assert report["bytes_read"] <= told_of["bytes"] * 1.05 or name == "again", report
    report, told_of = used("foreign")
    assert "release_metadata_snap" in told_of["doubt"] and "pool_bytes" not in told_of, told_of
    assert report["bytes_read"] == VOLUME, report
    report, told_of = used("outside")
    assert "read from another volume" in told_of["doubt"] and "pool_bytes" not in told_of, told_of
    report, told_of = used("live")
    assert told_of["doubt"] == "" and told_of["filesystem"] == "ext4", told_of
    assert 3 * MIB < told_of["bytes"] <= told_of["pool_bytes"] < VOLUME // 2, told_of
    assert report["bytes_read"] <= told_of["bytes"] * 1.05, report


main(globals())
