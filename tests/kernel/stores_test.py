#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Snapshots whose store is a file or a device: the image stays the moment while readers race with
copies, while the store grows, and on the origin itself; and whatever becomes of the store, a write
of the origin neither fails nor waits for it for long."""

import re

from rig.builds import run
from rig.changes import KIB, MIB, blocks_different
from rig.qemu import Disk
from rig.runner import count, main
from rig.tracking import fields

SIZE = 16 * MIB
ROUNDS = 4  # of moments; TOWLINE_COUNT asks for more

# cut STORE: takes a snapshot of $uuid and sets $image.
CUT = """
insmod /towline.ko
cut() {
    track snapshot $1 64K $uuid >cut
    image=$(sed -n 's/.* image=\\([^ ]*\\) .*/\\1/p' cut)
}
"""


def plain(rig, name, size):
    """Of zeroes: what is there does not matter."""
    path = rig.dir / f"{name}.raw"
    with open(path, "wb") as file:
        file.truncate(size)
    return Disk(name, path)


def replica_of(rig, disk):
    copy = Disk("replica", rig.dir / "replica.raw")
    copy.path.write_bytes(disk.path.read_bytes())
    return copy


def loads(rig, path, span):
    """Three ways of writing side by side until they are told to stop."""
    text = "writers=''\n"
    for number, how in enumerate(("direct", "uring", "buffered")):
        text += f"""writer {path}{number if path.startswith('/mnt') else ''} how={how} seconds=600 \\
            seed={rig.random.randrange(1 << 30)} max=64K depth=6 span={span} pause_us=3000 \\
            start={0 if path.startswith('/mnt') else number * span} &
        writers="$writers $!"
        """
    return text


STOP = """
kill -TERM $writers
for writer in $writers; do wait $writer; done
sync
"""


def test_moments_from_a_device(rig):
    origin = rig.disk("origin", SIZE)
    copy = replica_of(rig, origin)
    boot = rig.boot(f"""
        insmod /towline.ko
        uuid=$(track attach /dev/disk/origin 4K)
        {loads(rig, '/dev/disk/origin', 5 * MIB)}
        replicate /dev/disk/origin /dev/disk/replica $uuid rounds={count(ROUNDS)} verify=1 \\
            seed={rig.random.randrange(1 << 30)} snapshot=/dev/disk/store chunk=64K unsettled=6
        {STOP}
        replicate /dev/disk/origin /dev/disk/replica $uuid rounds=1 snapshot=/dev/disk/store chunk=64K
        track status $uuid >status
        keep status
        track detach $uuid
        rmmod towline
        """, [origin, copy, plain(rig, "store", 20 * MIB)], deadline=300 + 3 * count(ROUNDS))
    missed = blocks_different(origin.path, copy.path, 4096)
    rig.count(blocks_missed=len(missed),
              bios_seen=int(fields(boot.read("status").decode())["writes_seen"]))
    assert not missed, f"{len(missed)} blocks of the replica differ: {sorted(missed)[:10]}"


def test_moments_from_a_file_on_the_origin(rig):
    """Its blocks read as zero in the image, are no change while it is a store, and are one when it
    becomes a file again: at the end the replica is the origin, the store's blocks among them."""
    origin = rig.disk("origin", 40 * MIB)
    run(["mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "nodiscard,lazy_itable_init=0", origin.path])
    copy = replica_of(rig, origin)
    boot = rig.boot(f"""
        modprobe ext4
        insmod /towline.ko
        uuid=$(track attach /dev/disk/origin 4K)
        mount /dev/disk/origin /mnt
        dd if=/dev/zero of=/mnt/store bs=1M count=14 conv=fsync 2>/dev/null
        dd if=/dev/zero of=/mnt/more bs=1M count=1 conv=fsync 2>/dev/null
        {loads(rig, '/mnt/file', 3 * MIB)}
        replicate /dev/disk/origin /dev/disk/replica $uuid rounds={count(ROUNDS)} verify=1 \\
            seed={rig.random.randrange(1 << 30)} snapshot=/mnt/store chunk=64K unsettled=6
        track snapshot /mnt/store 64K $uuid
        must_fail rm /mnt/store
        must_fail truncate -s 1M /mnt/store
        must_fail track grow $uuid /mnt/store
        must_fail track grow $uuid /mnt/more
        track snapshot_delete $uuid
        {STOP}
        umount /mnt
        replicate /dev/disk/origin /dev/disk/replica $uuid rounds=1
        track status $uuid >status
        keep status
        track detach $uuid
        rmmod towline
        """, [origin, copy], deadline=300 + 3 * count(ROUNDS))
    missed = blocks_different(origin.path, copy.path, 4096)
    rig.count(blocks_missed=len(missed),
              bios_seen=int(fields(boot.read("status").decode())["writes_seen"]))
    assert not missed, f"{len(missed)} blocks of the replica differ: {sorted(missed)[:10]}"


def test_readers_race_with_copies(rig):
    """Reads of the image take 60 ms on the origin, and the chunks that they read are overwritten
    meanwhile. The store is memory first, then a device that it grows by when an event says so."""
    seed = rig.random.randrange(1 << 30)
    sectors = SIZE // 512
    rig.boot(CUT + f"""
        modprobe dm_mod
        modprobe dm_delay
        echo "0 {sectors} delay /dev/disk/origin 0 60 /dev/disk/origin 0 0" |
            dmsetup create --noudevsync slow
        dmsetup mknodes slow
        racer fill /dev/mapper/slow {seed}
        uuid=$(track attach /dev/mapper/slow 64K)
        track watch >events &
        watcher=$!
        wait_until grep -q watching events
        cut 2M,50
        racer check $image {seed} {4000 * max(1, count(ROUNDS) // ROUNDS)} 6 &
        racer=$!
        writer /dev/mapper/slow how=uring seed={seed} seconds=600 max=64K depth=8 &
        writer=$!
        wait_until grep -q event=fill events
        track grow $uuid /dev/disk/store
        wait $racer
        kill -TERM $writer
        wait $writer
        kill $watcher
        track snapshot_status $uuid
        track snapshot_status $uuid | grep -q "flags=0 error=0"
        track snapshot_delete $uuid
        track detach $uuid
        dmsetup remove --noudevsync slow
        rmmod towline
        """, [rig.disk("origin", SIZE), plain(rig, "store", 20 * MIB)])


# A store below which the disk can be made to fail, or to hang.
FAULTY = CUT + """
modprobe dm_mod
table() { dmsetup suspend --noflush $1; dmsetup load $1 --table "$2"; dmsetup resume --noudevsync $1; }
good="0 32768 linear /dev/disk/store 0"
dmsetup create --noudevsync faulty --table "$good"
dmsetup mknodes faulty
uuid=$(track attach /dev/disk/origin 4K)
failed_by() {
    track snapshot_status $uuid
    track snapshot_status $uuid | grep -q "flags=1 error=$1 "
    must_fail dd if=$image of=/dev/null bs=4k count=1 2>/dev/null
    track snapshot_delete $uuid
}
load() { writer /dev/disk/origin how=uring seed=$1 count=60 max=64K depth=8; }
"""


def test_a_store_that_fails(rig):
    """Full, in error for writes alone or for all, hanging, and not what it was: in each case the
    snapshot is what is lost, and the writer hears nothing of it."""
    store = plain(rig, "store", 16 * MIB)
    rig.boot(FAULTY + """
        cut 2M
        load 1
        failed_by -28

        cut /dev/mapper/faulty
        table faulty "0 32768 error"
        load 2
        failed_by -5
        table faulty "$good"

        modprobe dm_flakey
        cut /dev/mapper/faulty
        table faulty "0 32768 flakey /dev/disk/store 0 0 1 1 error_writes"
        load 3
        failed_by -5
        table faulty "$good"

        cut /dev/mapper/faulty
        dmsetup suspend --noflush --nolockfs faulty
        load 4
        failed_by -110
        dmsetup resume --noudevsync faulty

        cut /dev/mapper/faulty
        disk write /dev/disk/store 72K 4K 77
        load 5
        failed_by -84
        disk copy /dev/mapper/faulty /dev/disk/spare
        must_fail track snapshot /dev/disk/origin 64K $uuid
        track detach $uuid
        dmsetup remove --noudevsync faulty
        rmmod towline
        """, [rig.disk("origin", SIZE), store, plain(rig, "spare", 16 * MIB)],
        modules=("dm_flakey",))
    with open(store.path, "rb") as file:
        file.seek(64 * KIB)
        place = file.read(64 * KIB)
    foreign = place[8 * KIB:12 * KIB]
    assert foreign[:8] != b"towlstor" and len(set(foreign)) > 64, "what was not ours was overwritten"
    assert place[:8] == b"towlstor", "its place was written to all the same"


def test_two_groups_at_once(rig):
    """Two groups are frozen by two programs at the same time; each is cut at one moment of its own."""
    disks = [rig.disk(name, SIZE) for name in ("one", "two", "three", "four")]
    boot = rig.boot("""
        insmod /towline.ko
        cut() {
            for round in 1 2 3; do
                track snapshot 8M 64K $4 $3 >cut.$1
                images=$(sed -n 's/.* image=\\([^ ]*\\) .*/\\1/p' cut.$1)
                set -- $1 $2 $3 $4 $images
                stamper check $6 $5 2
                track snapshot_delete $3
                track snapshot_delete $4
                set -- $1 $2 $3 $4
            done
        }
        a=$(track attach /dev/disk/one 4K)
        b=$(track attach /dev/disk/two 4K)
        c=$(track attach /dev/disk/three 4K)
        d=$(track attach /dev/disk/four 4K)
        stamper run /dev/disk/one /dev/disk/two 2 >stamps.1 &
        first=$!
        stamper run /dev/disk/three /dev/disk/four 2 >stamps.2 &
        second=$!
        wait_until grep -q stamping stamps.1
        wait_until grep -q stamping stamps.2
        cut 1 x $a $b &
        one=$!
        cut 2 x $c $d
        wait $one
        kill -TERM $first $second
        wait $first
        wait $second
        for uuid in $a $b $c $d; do track detach $uuid; done
        rmmod towline
        """, disks)
    assert len(re.findall(r"^cut:.*", boot.log, re.MULTILINE)) == 6, boot.log


main(globals())
