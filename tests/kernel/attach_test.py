#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Coming and going: the module loads and unloads, attaches to mounted volumes under load and lets go
of them with writes in flight; nobody who writes notices, no write after an attach is missed, and
nothing is left behind."""

from rig.changes import MIB, Finding
from rig.disks import format_disk
from rig.runner import count, main
from rig.trace import blocks_of
from rig.tracking import fields, read_epoch

ROUNDS = 6  # of attach, detach and unload under load; TOWLINE_COUNT asks for more
BLOCK = 4096

# What a module leaves behind is seen where the kernel keeps account of it.
ACCOUNT = """
account() {
    [ -z "$(grep towline /proc/vmallocinfo)" ]
    [ -z "$(grep towline /proc/slabinfo)" ]
    [ ! -e /dev/towline-control ]
    [ ! -e /sys/module/towline ]
}
"""


def test_load_and_unload(rig):
    boot = rig.boot(ACCOUNT + """
        for round in 1 2 3; do
            insmod /towline.ko
            track version
            [ -z "$(track list)" ]
            rmmod towline
            account
        done
        """)
    assert "api=1" in boot.log, boot.log


def test_refusals(rig):
    """What cannot be tracked is refused, and what is done twice or out of order."""
    origin = rig.disk("origin", 8 * MIB)
    rig.boot("""
        insmod /towline.ko
        uuid=$(track attach /dev/disk/origin)
        must_fail track attach /dev/disk/origin
        must_fail track attach /dev/null
        must_fail track attach /dev/disk/results 5000
        must_fail track attach /dev/disk/results 2M
        must_fail track attach /dev/disk/results 2K
        must_fail track detach 00112233445566778899aabbccddeeff
        must_fail track commit $uuid 1
        must_fail track give_back $uuid 1
        must_fail track map $uuid 1 16 /tmp/map
        [ "$(track list)" = $uuid ]
        epoch first $uuid
        sequence=$(sed -n 's/.* sequence=\\([0-9]*\\) .*/\\1/p' first.epoch)
        track commit $uuid $sequence
        must_fail track map $uuid $sequence 16 /tmp/map
        must_fail track give_back $uuid $sequence
        must_fail track commit $uuid $((sequence + 1))
        must_fail track commit $uuid 0
        track detach $uuid
        must_fail track detach $uuid
        must_fail track status $uuid
        [ -z "$(track list)" ]
        rmmod towline
        """, [origin])


def test_attach_to_a_mounted_filesystem_under_load(rig):
    """Writes from the attach's return on are in the map, whatever was in flight then."""
    origin = rig.disk("origin", 48 * MIB, "throttling.iops-write=400")
    format_disk(origin.path, "ext4")
    boot = rig.boot(f"""
        modprobe ext4
        insmod /towline.ko
        mount /dev/disk/origin /mnt
        writers=''
        for how in direct buffered uring; do
            writer /mnt/$how how=$how seed={rig.random.randrange(1 << 30)} seconds=600 span=4M max=64K &
            writers="$writers $!"
        done
        sleep 2
        mark 1
        uuid=$(track attach /dev/disk/origin {BLOCK})
        mark 2
        sleep 3
        kill -TERM $writers
        for writer in $writers; do wait $writer; done
        umount /mnt
        mark 3
        epoch all $uuid
        track status $uuid >status
        keep all.epoch all.map status
        track detach $uuid
        rmmod towline
        """, [origin])
    told, marked = read_epoch(boot, "all")
    trace = boot.trace
    after = blocks_of(trace.writes("origin", 2, 3), BLOCK)
    finding = Finding(after, marked)
    rig.count(blocks_missed=len(finding.missed),
              bios_seen=int(fields(boot.read("status").decode())["writes_seen"]))
    assert len(after) > 50 and not finding.missed, f"{told}: {finding}"
    around = blocks_of(trace.writes("origin", 1, 3), BLOCK)
    assert marked <= around, f"never written: {sorted(marked - around)[:10]}"


def test_a_write_that_waits_for_its_queue(rig):
    """It came before there was a hook, and has no hold of its queue yet, as somebody else has that frozen:
    the attach waits for it, too."""
    origin = rig.disk("origin", 8 * MIB, "throttling.iops-write=1")
    boot = rig.boot(f"""
        insmod /towline.ko
        name=$(basename $(readlink -f /dev/disk/origin))
        for at in 1 2 3 4; do
            disk write /dev/disk/origin $((at * 65536)) {BLOCK} $at &
        done
        sleep 0.5
        echo 32 >/sys/block/$name/queue/nr_requests &
        sleep 0.5
        disk write /dev/disk/origin {MIB} {BLOCK} 5 &
        late=$!
        sleep 0.5
        kill -0 $late
        uuid=$(track attach /dev/disk/origin {BLOCK})
        sleep 0.3
        ended=1
        kill -0 $late 2>/dev/null && ended=0
        echo ended=$ended >state
        wait
        epoch all $uuid
        keep all.epoch all.map state
        track detach $uuid
        rmmod towline
        """, [origin])
    _, marked = read_epoch(boot, "all")
    ended = fields(boot.read("state").decode())["ended"] == "1"
    assert ended or MIB // BLOCK in marked, "a write landed after the attach, and is not in the map"


def come_and_go(rig, device, setup, teardown, origin):
    """Half of the rounds end by a detach, half by unloading with devices attached, if it lets one. The
    writers go on until they are told to stop, however slow the machine is."""
    rig.boot(ACCOUNT + f"""
        {setup}
        writers=''
        start=0
        for how in direct buffered uring aio; do
            writer {device} how=$how seed={rig.random.randrange(1 << 30)} seconds=100000 max=64K \\
                depth=6 start=${{start}}M span=6M pause_us=4000 &
            writers="$writers $!"
            start=$((start + 6))
        done
        for round in $(seq {count(ROUNDS)}); do
            insmod /towline.ko
            uuid=$(track attach {device})
            usleep $((round * 30000 % 200000))
            track freeze $([ $((round % 4)) -lt 2 ] && echo loose || echo drain) $uuid >/dev/null
            usleep $((round * 7000 % 50000))
            if [ $((round % 2)) = 0 ]; then
                track detach $uuid
                rmmod towline
            else
                rmmod towline || {{ track detach $uuid && rmmod towline; }}
            fi
            account
        done
        kill -TERM $writers
        for writer in $writers; do wait $writer; done
        {teardown}
        """, [origin], deadline=300 + 10 * count(ROUNDS))


def test_come_and_go_under_load(rig):
    come_and_go(rig, "/dev/disk/origin", ":", ":", rig.disk("origin", 24 * MIB))


def test_come_and_go_with_writes_in_flight(rig):
    """Every write takes 60 ms: some outlive the attachment, or the module, that saw them begin."""
    origin = rig.disk("origin", 24 * MIB)
    setup = """modprobe dm_mod
        modprobe dm_delay
        echo "0 49152 delay /dev/disk/origin 0 0 /dev/disk/origin 0 60" |
            dmsetup create --noudevsync slow
        dmsetup mknodes slow"""
    come_and_go(rig, "/dev/mapper/slow", setup, "dmsetup remove --noudevsync slow", origin)


main(globals())
