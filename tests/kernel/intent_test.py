#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What tracking keeps over a reload, and from one boot to the next where something went wrong in between
that it must not keep quiet about. Clean reboots are in reboots_test.py, crashes in crash_test.py."""

import re
import threading
import time

from rig.changes import MIB, blocks_different, blocks_marked
from rig.disks import format_disk
from rig.machine import expect_crashed
from rig.qemu import Disk
from rig.runner import main
from rig.tracking import TRUST_EXACT, fields, read_epoch

TRUST_SUPERSET, TRUST_UNKNOWN = 2, 3
REASON_FIRST, REASON_MERGED, REASON_RESTORED, REASON_CRASHED, REASON_GAP = 1, 2, 0x20, 0x40, 0x80
REASON_LOG_FAILED = 0x100
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
    # On the console, too: what is kept is lost with a guest that crashes.
    echo "begun $(cat $name.begin)"
    keep $name.begin
}
"""


def begun(boot, name):
    told = fields(boot.read(f"{name}.begin").decode())
    return told["uuid"], int(told["trust"]), int(told["reasons"])


def log_disk(rig, size=1 * MIB, name="log"):
    return rig.disk(name, size)


def test_a_reload_of_the_module(rig):
    """Nothing was written between: all is as it was. Something was, by whatever way: unknown."""
    origin, log = rig.disk("origin", SIZE), log_disk(rig)
    boot = rig.boot(INTENT + """
        begin first /dev/disk/origin /dev/disk/log create region=1M block=4K
        disk write /dev/disk/origin 4M 4K 1
        rmmod towline
        insmod /towline.ko
        begin reloaded /dev/disk/origin /dev/disk/log
        disk write /dev/disk/origin 8M 4K 1
        epoch reloaded $uuid
        track detach $uuid
        disk write /dev/disk/origin 12M 4K 1
        begin written /dev/disk/origin /dev/disk/log
        must_fail intent attach /dev/disk/origin /dev/disk/log
        track detach $uuid
        begin again /dev/disk/origin /dev/disk/log
        track detach $uuid
        keep reloaded.epoch reloaded.map
        rmmod towline
        """, [origin, log])
    uuid = begun(boot, "first")[0]
    assert begun(boot, "reloaded") == (uuid, TRUST_EXACT, REASON_FIRST | REASON_RESTORED)
    told, marked = read_epoch(boot, "reloaded")
    assert told["trust"] == TRUST_EXACT and marked == {4 * 256, 8 * 256}, (told, marked)
    other, trust, reasons = begun(boot, "written")
    assert other != uuid and trust == TRUST_UNKNOWN and reasons & REASON_GAP, begun(boot, "written")
    # What is unknown stays so until somebody has compared and committed.
    assert begun(boot, "again")[:2] == (other, TRUST_UNKNOWN), begun(boot, "again")


def test_what_a_rescue_system_does(rig):
    """It mounts volumes without the module: one after a clean end; another after a crash, read-only,
    which replays its journal. A third it leaves alone."""
    names = ("ended", "crashed", "alone")
    origins, logs = [rig.disk(name, SIZE) for name in names], [log_disk(rig, MIB, f"log-{name}")
                                                              for name in names]
    for origin in origins:
        format_disk(origin.path, "ext4")
    first = rig.boot(INTENT + "modprobe ext4\n" + "".join(f"""
        begin {name} /dev/disk/{name} /dev/disk/log-{name} create region=1M block=4K
        mkdir /tmp/{name}
        mount /dev/disk/{name} /tmp/{name}
        writer /tmp/{name}/file how=buffered count=50 span=2M seed=1
        sync
        """ for name in names) + """
        umount /tmp/ended
        track detach $(sed -n 's/uuid=\\([0-9a-f]*\\) .*/\\1/p' ended.begin)
        sleep 1
        disk crash
        """, [*origins, *logs], unchecked=True)
    expect_crashed(first)
    rig.boot("""
        modprobe ext4
        mount /dev/disk/ended /mnt
        echo rescued >/mnt/file
        umount /mnt
        mount -o ro /dev/disk/crashed /mnt
        umount /mnt
        """, origins, module=False)
    boot = rig.boot(INTENT + "".join(f"begin {name} /dev/disk/{name} /dev/disk/log-{name}\n"
                                     for name in names), [*origins, *logs])
    for name in ("ended", "crashed"):
        _, trust, reasons = begun(boot, name)
        assert trust == TRUST_UNKNOWN and reasons & REASON_GAP, (name, begun(boot, name))
    assert begun(boot, "alone")[1:] == (TRUST_SUPERSET, REASON_CRASHED), begun(boot, "alone")


def killed_later(rig, log, origin):
    """Kills QEMU at some moment after the guest has attached, and then written."""
    def kill(qemu):
        while not re.search(r"begun .*\n", log.read_text(errors="replace")) and qemu.poll() is None:
            time.sleep(0.1)
        attached = time.time()
        while origin.path.stat().st_mtime < attached and qemu.poll() is None:
            time.sleep(0.1)
        time.sleep(0.5 + 4 * rig.random.random())
        qemu.kill()
    return lambda qemu: threading.Thread(target=kill, args=[qemu]).start()


def test_the_guest_dies(rig):
    """By sysrq b, and with QEMU, its volume mounted and written to; what is hot is marked, and no
    more."""
    for how, act in (("crashed", "sleep 2; disk crash"), ("killed", "sleep 600")):
        origin, log = rig.disk("origin", SIZE), log_disk(rig)
        format_disk(origin.path, "ext4")
        before = rig.copy(origin)
        serial = rig.dir / f"boot-{rig.boots + 1}/serial.log"
        first = rig.boot(INTENT + f"""
            modprobe ext4
            begin first /dev/disk/origin /dev/disk/log create region=1M block=4K
            mount /dev/disk/origin /mnt
            for how in direct buffered; do
                writer /mnt/$how how=$how seconds=600 span=1M seed=1 pause_us=2000 &
            done
            {act}
            """, [origin, log], unchecked=True,
            on_start=killed_later(rig, serial, origin) if how == "killed" else None)
        if how == "crashed":
            expect_crashed(first)
        changed = blocks_different(before, origin.path, BLOCK)
        boot = rig.boot(INTENT + """
            begin after /dev/disk/origin /dev/disk/log
            epoch after $uuid
            keep after.epoch after.map
            """, [origin, log])
        uuid = fields(re.search(r"begun (.*)", first.log).group(1))["uuid"]
        told, marked = read_epoch(boot, "after")
        if how == "killed" and told["trust"] == TRUST_UNKNOWN:
            # Just after the mount, before it was noted: a gap, and said to be one.
            assert told["reasons"] & REASON_GAP, told
            marked = changed
        else:
            assert told["uuid"] == uuid and told["trust"] == TRUST_SUPERSET, told
            assert told["reasons"] == REASON_CRASHED, told
            assert len(marked) < SIZE // BLOCK, "everything is hot"
        lost = changed - marked
        rig.count(crash_points=1, crash_points_lost=int(bool(lost)))
        assert changed and not lost, f"{how}: {len(lost)} blocks changed and are not marked"


def test_regions_cool(rig):
    """A first write to a clean region is one write of the log; none follows until it has cooled.
    What a consumer has pending stays hot."""
    origin, log = rig.disk("origin", SIZE), log_disk(rig)
    boot = rig.boot(INTENT + """
        begin first /dev/disk/origin /dev/disk/log create region=1M block=4K
        look() { intent status $uuid | grep -E "regions_hot|blocks_written" | tr '\n' ' '; echo; }
        look
        disk write /dev/disk/origin 4M 4K 1
        look
        for at in 4096K 4500K 5116K; do disk write /dev/disk/origin $at 4K 2; done
        look
        disk write /dev/disk/origin 9M 4K 1
        look
        track freeze loose $uuid
        disk write /dev/disk/origin 9M 4K 2
        track commit $uuid 1
        sleep 1
        look
        track freeze loose $uuid
        track commit $uuid 2 9
        sleep 1
        look
        disk write /dev/disk/origin 9M 4K 3
        disk write /dev/disk/origin 4M 4K 3
        look
        track freeze loose $uuid
        track commit $uuid 3
        sleep 1
        look
        """, [origin, log])
    looks = [fields(line) for line in boot.log.splitlines() if line.startswith("regions_hot=")]
    hot = [int(look["regions_hot"]) for look in looks]
    written = [int(look["blocks_written"]) for look in looks]
    assert hot == [0, 1, 1, 2, 1, 1, 2, 0], hot
    grew = [after - before for before, after in zip(written, written[1:])]
    # A write for each new region; cooling writes what was committed, and then the block.
    assert grew == [1, 0, 1, 2, 0, 1, 2], grew


def test_a_log_on_the_volume_itself(rig):
    """Its ranges are no change of the volume, and the image is zero there."""
    origin = rig.disk("origin", SIZE)
    format_disk(origin.path, "ext4")
    boot = rig.boot(INTENT + """
        modprobe ext4
        mount /dev/disk/origin /mnt
        intent make /mnt/log /dev/disk/origin region=1M
        begin first /dev/disk/origin /mnt/log create region=1M block=4K
        intent extents /mnt/log >extents
        must_fail sh -c 'echo x >/mnt/log'
        must_fail unlink /mnt/log
        writer /mnt/file how=buffered count=50 span=4M seed=1
        sync
        intent status $uuid >status
        track freeze loose $uuid >frozen
        track map $uuid 1 6144 marked.map
        track commit $uuid 1
        echo more >/mnt/more
        track snapshot 4M 64K $uuid >snapshot
        image=$(sed -n 's/.*image=\\([^ ]*\\) .*/\\1/p' snapshot)
        dd if=$image of=image bs=1M
        track snapshot_delete $uuid
        umount /mnt
        keep extents status frozen marked.map image
        """, [origin])
    assert begun(boot, "first")[1] == TRUST_EXACT
    status = fields(boot.read("status").decode())
    assert status["ranges"] == boot.read("extents").decode().strip(), status
    ranges = [tuple(map(int, each.split("+"))) for each in status["ranges"].split(",")]
    image = boot.read("image")
    marked = blocks_marked(boot.read("marked.map"), SIZE // BLOCK)
    assert len(image) == SIZE and marked
    for first, sectors in ranges:
        assert not image[first * 512:(first + sectors) * 512].strip(b"\0"), "the log in the image"
        own = set(range(-(-first // 8), (first + sectors) // 8))
        assert not marked & own, sorted(marked & own)


DAMAGES = {
    "garbage": lambda data, random: random.randbytes(len(data)),
    "zeros": lambda data, _: bytes(len(data)),
    "no_tracker": lambda data, _: data[:60] + bytes(40) + data[100:],
    "half_a_header": lambda data, random: data[:256] + random.randbytes(256) + data[512:],
}


def test_a_damaged_log(rig):
    """Nothing is made of a log that is not one, and nothing is written over it; then a new one can
    be made. A spoilt sector of the regions costs a rescan of what it stands for."""
    origin, log = rig.disk("origin", SIZE), log_disk(rig)
    expect_crashed(rig.boot(INTENT + """
        begin first /dev/disk/origin /dev/disk/log create region=1M block=4K no_gap
        disk write /dev/disk/origin 4M 4K 1
        disk crash
        """, [origin, log], unchecked=True))
    good = log.path.read_bytes()
    damaged = []
    for name, damage in DAMAGES.items():
        disk = Disk(name, rig.dir / f"{name}.raw")
        disk.path.write_bytes(damage(good, rig.random))
        damaged.append((disk, disk.path.read_bytes()))
    spoilt = Disk("spoilt", rig.dir / "spoilt.raw")
    spoilt.path.write_bytes(good[:4096 + 60] + b"\xff" + good[4096 + 61:])
    boot = rig.boot(INTENT + "".join(f"""
        must_fail intent attach /dev/disk/origin /dev/disk/{disk.name} no_gap
        """ for disk, _ in damaged) + """
        begin spoilt /dev/disk/origin /dev/disk/spoilt no_gap
        disk write /dev/disk/origin 4M 4K 2
        epoch spoilt $uuid
        track status $uuid >status
        track detach $uuid
        begin anew /dev/disk/origin /dev/disk/garbage create region=1M
        track detach $uuid
        keep spoilt.epoch spoilt.map status
        """, [origin, spoilt, *(disk for disk, _ in damaged)])
    for disk, was in damaged[1:]:
        assert disk.path.read_bytes() == was, f"{disk.name} was written to"
    told, marked = read_epoch(boot, "spoilt")
    assert told["trust"] == TRUST_SUPERSET and len(marked) == SIZE // BLOCK, told
    assert begun(boot, "anew")[1:] == (TRUST_EXACT, REASON_FIRST)


def test_another_volumes_log(rig):
    origin, other, log = rig.disk("origin", SIZE), rig.disk("other", SIZE), log_disk(rig)
    boot = rig.boot(INTENT + """
        begin first /dev/disk/origin /dev/disk/log create region=1M identity=serial-1
        must_fail intent attach /dev/disk/other /dev/disk/log
        must_fail intent attach /dev/disk/other /dev/disk/log create
        track detach $uuid
        must_fail intent attach /dev/disk/other /dev/disk/log identity=serial-2
        begin first /dev/disk/origin /dev/disk/log identity=serial-1
        track detach $uuid
        """, [origin, other, log])
    assert begun(boot, "first")[1:] == (TRUST_EXACT, REASON_FIRST | REASON_RESTORED)


# Logs whose disks can be made to fail, and to work again.
FAILING = """
modprobe dm_mod
table() {
    echo "0 2048 $2" | dmsetup load $1
    dmsetup suspend --noudevsync --nolockfs $1
    dmsetup resume --noudevsync $1
}
"""
FAILURES = {
    # The log can be written again before the crash: it says that it is not to be believed.
    "healed": ("", 'table healed "linear /dev/disk/log-healed 0"'),
    # It never can: its witness says so.
    "dead": ("witness=/dev/disk/witness", ":"),
    # A clean end makes it good again.
    "ended": ("", 'table ended "linear /dev/disk/log-ended 0"'),
}


def test_a_log_that_fails(rig):
    """The origin's writes go on, and nothing is believed of the log after a crash."""
    origins = [rig.disk(name, SIZE) for name in FAILURES]
    logs = [*(log_disk(rig, MIB, f"log-{name}") for name in FAILURES), log_disk(rig, MIB, "witness")]
    first = rig.boot(INTENT + FAILING + "".join(f"""
        echo "0 2048 linear /dev/disk/log-{name} 0" | dmsetup create --noudevsync {name}
        dmsetup mknodes {name}
        begin {name} /dev/disk/{name} /dev/mapper/{name} create region=1M block=4K no_gap {witness}
        table {name} error
        disk write /dev/disk/{name} 4M 4K 1
        disk write /dev/disk/{name} 8M 4K 1
        track status $uuid >status
        grep -q 'flags=12' status
        intent status $uuid | grep -q error=-5
        {heal}
        """ for name, (witness, heal) in FAILURES.items()) + """
        sleep 6
        track detach $uuid
        disk crash
        """, [*origins, *logs], unchecked=True)
    expect_crashed(first)
    boot = rig.boot(INTENT + "".join(f"""
        begin {name} /dev/disk/{name} /dev/disk/log-{name} no_gap {witness}
        epoch {name} $uuid
        keep {name}.epoch {name}.map
        """ for name, (witness, _) in FAILURES.items()), [*origins, *logs])
    for name in ("healed", "dead"):
        told, _ = read_epoch(boot, name)
        assert told["trust"] == TRUST_UNKNOWN and told["reasons"] & REASON_LOG_FAILED, (name, told)
    told, marked = read_epoch(boot, "ended")
    assert told["trust"] == TRUST_EXACT and marked == {4 * 256, 8 * 256}, (told, marked)


def test_other_filesystems(rig):
    """A log in a file of xfs, a volume of btrfs, and files that a log can't be in. After a crash both
    volumes are vouched for by their superblocks."""
    one, other = rig.disk("one", 320 * MIB), rig.disk("other", 128 * MIB)
    log = log_disk(rig)
    format_disk(one.path, "xfs")
    format_disk(other.path, "btrfs")
    first = rig.boot(INTENT + """
        modprobe xfs
        modprobe btrfs
        mkdir /tmp/one /tmp/other
        mount /dev/disk/one /tmp/one
        intent make /tmp/one/log /dev/disk/one
        refused() { must_fail intent attach /dev/disk/one "$1" create 2>&1; }
        dd if=/dev/zero of=/tmp/one/changeable bs=1M count=1
        refused /tmp/one/changeable | grep -q "not permitted"
        dd if=/dev/zero of=/tmp/one/hole bs=1M count=0 seek=1
        fallocate -l 1048576 /tmp/one/unwritten
        for file in hole unwritten; do
            intent immutable /tmp/one/$file on
            refused /tmp/one/$file | grep -q "not supported"
        done
        begin one /dev/disk/one /tmp/one/log create
        echo "extents $(intent extents /tmp/one/log)"
        begin other /dev/disk/other /dev/disk/log create region=1M
        mount /dev/disk/other /tmp/other
        intent make /tmp/other/log /dev/disk/one
        must_fail intent extents /tmp/other/log 2>&1 | grep -q "not supported"
        for volume in one other; do
            writer /tmp/$volume/file how=buffered count=60 span=2M seed=1
        done
        sync
        sleep 2
        disk crash
        """, [one, other, log], unchecked=True, modules=("xfs", "btrfs"))
    expect_crashed(first)
    extents = re.search(r"extents (\S+)", first.log).group(1)
    uuids = re.findall(r"begun uuid=(\S+)", first.log)
    boot = rig.boot(INTENT + f"""
        begin one /dev/disk/one /dev/disk/one extents={extents}
        begin other /dev/disk/other /dev/disk/log
        """, [one, other, log], modules=("xfs", "btrfs"))
    for name, uuid in zip(("one", "other"), uuids):
        assert begun(boot, name) == (uuid, TRUST_SUPERSET, REASON_CRASHED), (name, begun(boot, name))


main(globals())
