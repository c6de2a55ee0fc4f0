#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rig itself: a guest boots, what it writes is seen from outside, and what its kernel says or
its script does wrong fails a test."""

import time

from rig.changes import KIB, MIB, blocks_different
from rig.machine import GuestFailed, check
from rig.runner import main
from rig.serial_log import complaints
from rig.trace import blocks_of


def test_writes_are_seen_from_outside(rig):
    origin = rig.disk("origin", 8 * MIB)
    before = rig.copy(origin)
    boot = rig.boot("""
        disk write /dev/disk/origin 12K 4K 1
        mark 1
        disk write /dev/disk/origin 400K 8K 2
        mark 2
        disk write /dev/disk/origin 800K 512 3
        echo kept >note
        keep note
        """, [origin], module=False)
    trace = boot.trace
    assert blocks_of(trace.writes("origin", after=1, before=2), 4 * KIB) == {100, 101}
    assert blocks_of(trace.writes("origin"), 4 * KIB) == {3, 100, 101, 200}
    assert blocks_different(before, origin.path, 4 * KIB) == {3, 100, 101, 200}
    assert boot.read("note") == b"kept\n"
    assert f"@@kernel {rig.kernel.release}@@" in boot.log, boot.log
    print(f"boot of {rig.kernel.release}: {boot.seconds:.1f} s")


def test_boots_have_time_and_chance_of_their_own(rig):
    """They go on from one saved machine; a boot's id or its beginning must not come twice for it."""
    def drawn():
        boot = rig.boot("""
            cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid >drawn
            echo $(date +%s) $(cut -d. -f1 /proc/uptime) >now
            keep drawn now
            """, module=False)
        now, uptime = map(int, boot.read("now").split())
        assert abs(now - time.time()) < 60, now
        return boot.read("drawn").split(), now - uptime

    (first, first_began), (second, second_began) = drawn(), drawn()
    assert len({*first, *second}) == 4, (first, second)
    assert second_began - first_began > 5, (first_began, second_began)


def fails(rig, script, said, **more):
    boot = rig.boot(script, module=False, unchecked=True, **more)
    try:
        check(boot)
    except GuestFailed as failure:
        assert said in str(failure), failure
        return
    raise AssertionError(f"taken for good: {script}\n{boot.log}")


def test_what_goes_wrong_is_a_failure(rig):
    fails(rig, "false\ntrue", "the script ended with 1")
    fails(rig, "sleep 600", "never came to its end (still running", deadline=8)
    fails(rig, "echo c >/proc/sysrq-trigger", "sysrq triggered crash")


def test_a_held_write_is_a_failure(rig):
    """Of a buffered one: the kernel takes care that direct writers never look hung to it. Those run
    into the deadline."""
    origin = rig.disk("origin", 4 * MIB)
    fails(rig, """
        modprobe dm_mod
        echo 3 >/proc/sys/kernel/hung_task_timeout_secs
        echo 0 8192 linear /dev/disk/origin 0 | dmsetup create --noudevsync held
        dmsetup mknodes held
        dmsetup suspend --noudevsync held
        dd if=/dev/zero of=/dev/mapper/held bs=4k count=1 conv=fsync &
        sleep 30
        """, "blocked for more than", disks=[origin])


COMPLAINTS = """
BUG: kernel NULL pointer dereference, address: 0000000000000000
BUG: KFENCE: use-after-free read in towline_x
WARNING: CPU: 0 PID: 1 at block/bio.c:1 submit_bio
watchdog: BUG: soft lockup - CPU#0 stuck for 22s!
rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
INFO: task kworker/0:1:7 blocked for more than 40 seconds.
BUG kmalloc-64 (Tainted: G OE): Poison overwritten
BUG towline_io (Tainted: G OE): Objects remaining in towline_io on __kmem_cache_shutdown()
list_del corruption. prev->next should be
refcount_t: underflow; use-after-free.
pagealloc: memory corruption
towline: Unknown symbol submit_bio_noacct (err -2)
"""
FINE = """
Linux version 6.1.0-56-amd64
towline: loading out-of-tree module taints kernel.
mem auto-init: stack:all(zero), heap alloc:on, heap free:off
EXT4-fs (vda): mounted filesystem with ordered data mode. Quota mode: none.
"""


def test_each_complaint_counts(_):
    for line in COMPLAINTS.strip().splitlines():
        assert complaints(f"fine\n[   1.0] {line}\nfine"), line
    assert not complaints(FINE), complaints(FINE)


main(globals())
