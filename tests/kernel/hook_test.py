#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Another user of ftrace in the hook's place: attaching says so and changes nothing, and while the
module is there the other is kept out."""

from rig import builds
from rig.changes import MIB
from rig.runner import main


def test_another_module_has_the_hook(rig):
    rival = builds.module(rig.kernel, builds.ROOT / "kmod/selftest/rival", "rival", "rival.ko")
    boot = rig.boot("""
        insmod /towline.ko
        insmod /rival.ko
        track attach /dev/disk/origin 2>said && exit 1
        grep "Device or resource busy" said
        dmesg | grep "another module or livepatch has taken hold of submit_bio_noacct"
        [ -z "$(track list)" ]
        disk write /dev/disk/origin 0 4K 1
        rmmod rival
        uuid=$(track attach /dev/disk/origin)
        must_fail insmod /rival.ko
        disk write /dev/disk/origin 1M 4K 2
        epoch one $uuid
        grep "blocks_changed=1 .*trust=1" one.epoch
        track detach $uuid
        insmod /rival.ko
        must_fail track attach /dev/disk/origin
        rmmod rival
        rmmod towline
        """, [rig.disk("origin", 8 * MIB)], files={"rival.ko": rival})
    assert "Device or resource busy" in boot.log, boot.log


main(globals())
