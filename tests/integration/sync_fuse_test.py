#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs of a live filesystem on a loop device over a tracked mount: each brings what was written since
the last one, from an image of one moment; and after the daemon was killed, what may have been."""

import subprocess

from lib.database import Database, rows_of
from lib.lab import KIB, MIB, equal, wait_for, write_at
from lib.runner import count, main
from lib.tracked import Tracked

SIZE = 128 * MIB
BLOCK = 64 * KIB
RUNS_SAMPLE = 4
# Where `towline sync` looks for tracked mounts.
RUN_FOLDER = "/run/towline"


def test_a_live_filesystem_with_a_database(lab):
    tracked = Tracked(lab, lab.filesystem_image("image", SIZE), run_folder=RUN_FOLDER)
    device = tracked.loop()
    live = lab.mount(device, lab.dir / "live")
    server = lab.server()
    target, replica = server.url("replica"), lab.root / "replica"
    with Database(live, lab.random) as database:
        for number in range(count(RUNS_SAMPLE)):
            before = database.committed
            wait_for(lambda: database.committed > before + 5, 60)
            before = database.committed
            report = lab.sync(device, target)
            assert (report["tracker"], report["snapshot"]) == ("fuse", "fuse"), report
            assert report["cause"] == ("tracked" if number else "first-copy"), report
            assert report["label"] == "filesystem" and report["trust"] == "exact", report
            if number:
                assert 0 < report["bytes_changed"] < SIZE // 2, report
                assert report["audited_blocks"] == 256, report
            rows = rows_of(lab, "ext4", replica)
            assert rows >= before, f"{rows} rows of {before} that were committed before the run"
    # Nothing is written any more: the last run's replica is the volume.
    subprocess.run(["umount", live], check=True)
    lab.sync(device, target)
    equal(replica, tracked.image)


def test_a_killed_mount_costs_its_hot_regions(lab):
    """What was written last and not yet brought over is in them; the rest is not even read."""
    tracked = Tracked(lab, lab.image("image", SIZE), "--region", "1M", run_folder=RUN_FOLDER)
    target = lab.dir / "replica"
    lab.sync(tracked.volume, target, "--tracker", "fuse")
    write_at(tracked.volume, 10 * MIB, lab.content(3 * BLOCK))
    assert lab.sync(tracked.volume, target)["cause"] == "tracked"
    write_at(tracked.volume, 40 * MIB, lab.content(2 * BLOCK))
    tracked.kill()
    tracked.remount_after_kill()
    report = lab.sync(tracked.volume, target)
    assert (report["cause"], report["trust"]) == ("hot-regions", "superset"), report
    assert report["bytes_changed"] == 2 * BLOCK, report
    # The hot regions, and as many blocks again as the audit looks at.
    assert report["bytes_read"] < 2 * MIB + 256 * BLOCK + MIB < SIZE // 2, report
    equal(target, tracked.image)
    again = lab.sync(tracked.volume, target)
    assert (again["cause"], again["bytes_changed"]) == ("tracked", 0), again


main(globals())
