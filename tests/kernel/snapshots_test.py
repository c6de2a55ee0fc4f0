#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A snapshot's image is the bytes of one moment, of every device of its group, however much is
written to them while it is taken and while it is read; and when it fails, it alone does."""

import re

from rig.changes import MIB, blocks_different
from rig.disks import format_partition, partition
from rig.qemu import Disk
from rig.runner import count, main
from rig.tracking import fields

SIZE = 16 * MIB
ROUNDS = 8  # of each; TOWLINE_COUNT asks for more
STAMPERS = 4


def writers(device, seed, extra=""):
    return f"""
        writers=''
        start=0
        for how in direct uring aio buffered; do
            writer {device} how=$how seed={seed} seconds=600 max=64K depth=6 start=$start \\
                span={SIZE // 4} {extra} &
            writers="$writers $!"
            start=$((start + {SIZE // 4}))
        done
        """


STOP = """
        kill -TERM $writers
        for writer in $writers; do wait $writer; done
        """


def moments(rig, options, chunk):
    """Replica and image are compared as a whole every other round: what was there before and what
    the map marked, against what copy-on-write kept."""
    origin = rig.disk("origin", SIZE, options)
    copy = Disk("replica", rig.dir / "replica.raw")
    copy.path.write_bytes(origin.path.read_bytes())
    seed = rig.random.randrange(1 << 30)
    boot = rig.boot(f"""
        insmod /towline.ko
        uuid=$(track attach /dev/disk/origin 4K)
        {writers('/dev/disk/origin', seed, 'ranges=5 pause_us=3000')}
        replicate /dev/disk/origin /dev/disk/replica $uuid rounds={count(ROUNDS)} seed={seed} \\
            snapshot=20M chunk={chunk} verify=2 unsettled=6
        {STOP}
        sync
        replicate /dev/disk/origin /dev/disk/replica $uuid rounds=1 snapshot=20M chunk={chunk} verify=1
        track status $uuid >status
        keep status
        track detach $uuid
        rmmod towline
        """, [origin, copy], deadline=300 + 3 * count(ROUNDS))
    missed = blocks_different(origin.path, copy.path, 4096)
    rig.count(blocks_missed=len(missed),
              bios_seen=int(fields(boot.read("status").decode())["writes_seen"]))
    assert not missed, f"{len(missed)} blocks of the replica differ: {sorted(missed)[:10]}"
    first = fields(re.search(r"switches=.*", boot.log)[0])
    print(f"  {rig.kernel.series} {first}")
    assert int(first["verified"]) >= count(ROUNDS) // 3, first


def test_an_image_is_the_moment(rig):
    moments(rig, "", "64K")


def test_an_image_of_a_slow_disk_is_the_moment(rig):
    moments(rig, "throttling.iops-write=400", "16K")


def test_a_group_is_cut_at_one_moment(rig):
    """The second disk is slower than the first, so that a cut of one after the other shows."""
    one = rig.disk("one", SIZE)
    two = rig.disk("two", SIZE, "throttling.iops-write=500")
    boot = rig.boot(f"""
        insmod /towline.ko
        first=$(track attach /dev/disk/one 4K)
        second=$(track attach /dev/disk/two 4K)
        stamper run /dev/disk/one /dev/disk/two {STAMPERS} >stamps &
        stamper=$!
        wait_until grep -q stamping stamps
        sleep 1
        for round in $(seq {count(ROUNDS)}); do
            track snapshot 8M 64K $second $first >cut
            images=$(sed -n 's/.* image=\\([^ ]*\\) .*/\\1/p' cut)
            two=${{images%%[!a-z0-9/]*}}
            one=${{images##*[!a-z0-9/]}}
            stamper check $one $two {STAMPERS} >now
            cat now
            usleep 200000
            stamper check $one $two {STAMPERS} >later
            cmp now later
            track snapshot_delete $first
            track snapshot_delete $second
        done
        kill -TERM $stamper
        wait $stamper
        cat stamps
        stamper check /dev/disk/one /dev/disk/two {STAMPERS}
        track detach $first
        track detach $second
        rmmod towline
        """, [one, two], deadline=300 + 3 * count(ROUNDS))
    cuts = re.findall(r"^cut:.*", boot.log, re.MULTILINE)
    assert len(cuts) == count(ROUNDS) + 1 and len(set(cuts)) > count(ROUNDS) // 2, cuts


def test_a_store_that_is_full_fails_the_snapshot_alone(rig):
    boot = rig.boot(f"""
        insmod /towline.ko
        uuid=$(track attach /dev/disk/origin 4K)
        track snapshot 1M 64K $uuid >cut
        image=$(sed -n 's/.* image=\\([^ ]*\\) .*/\\1/p' cut)
        disk copy $image /dev/disk/spare
        writer /dev/disk/origin how=uring seed=1 count=400 max=64K depth=8
        track snapshot_status $uuid
        must_fail disk copy $image /dev/disk/spare
        must_fail track detach $uuid
        epoch all $uuid
        track snapshot_delete $uuid
        must_fail track snapshot_status $uuid
        track snapshot {SIZE // MIB}M 64K $uuid >cut
        image=$(sed -n 's/.* image=\\([^ ]*\\) .*/\\1/p' cut)
        must_fail track snapshot 1M 64K $uuid
        writer /dev/disk/origin how=uring seed=2 count=400 max=64K depth=8
        disk copy $image /dev/disk/spare
        sleep 30 <$image &
        reader=$!
        sleep 0.3
        must_fail track snapshot_delete $uuid
        kill $reader
        wait $reader || true
        track snapshot_delete $uuid
        track detach $uuid
        rmmod towline
        """, [rig.disk("origin", SIZE), rig.disk("spare", SIZE)])
    assert re.search(r"flags=1 error=-\d+ stored=\d+ max=16 ", boot.log), boot.log


def test_an_image_of_a_disk_shows_its_partitions(rig):
    disk = rig.disk("origin", 16 * MIB)
    partition(disk.path, 8 * MIB)
    format_partition(disk.path, "ext4", 8 * MIB)
    rig.boot("""
        modprobe ext4
        disk=$(readlink -f /dev/disk/origin)
        mount ${disk}1 /mnt
        echo before >/mnt/file
        umount /mnt
        insmod /towline.ko
        uuid=$(track attach $disk 4K)
        track snapshot 8M 64K $uuid >cut
        image=$(sed -n 's/.* image=\\([^ ]*\\) .*/\\1/p' cut)
        mount ${disk}1 /mnt
        echo after >/mnt/file
        sync
        wait_until [ -b ${image}p1 ]
        mkdir -p /tmp/image
        mount -o ro,noload ${image}p1 /tmp/image
        [ "$(cat /tmp/image/file)" = before ]
        must_fail track snapshot_delete $uuid
        umount /tmp/image
        umount /mnt
        track snapshot_delete $uuid
        track detach $uuid
        part=$(track attach ${disk}1 4K)
        track snapshot 8M 64K $part >cut
        image=$(sed -n 's/.* image=\\([^ ]*\\) .*/\\1/p' cut)
        [ ! -b ${image}p1 ]
        track snapshot_delete $part
        track detach $part
        rmmod towline
        """, [disk])


main(globals())
