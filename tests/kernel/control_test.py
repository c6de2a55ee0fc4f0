#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The control device refuses what is malformed, whoever asks, and is root's alone."""

from rig.changes import MIB
from rig.runner import count, main

REQUESTS = 4000


def test_malformed_requests(rig):
    boot = rig.boot(f"""
        insmod /towline.ko
        malformed /dev/disk/origin {rig.random.randrange(1 << 30)} {count(REQUESTS)}
        [ -z "$(track list)" ]
        rmmod towline
        """, [rig.disk("origin", 8 * MIB)])
    assert "malformed: 0 failures" in boot.log, boot.log


def test_only_root_controls(rig):
    """Whatever the node's mode has become."""
    rig.boot("""
        insmod /towline.ko
        as_user id -u | grep -qx 1000
        must_fail as_user track version
        chmod 666 /dev/towline-control
        must_fail as_user track attach /dev/disk/origin
        must_fail as_user track list
        track list
        rmmod towline
        """, [rig.disk("origin", 8 * MIB)])


main(globals())
