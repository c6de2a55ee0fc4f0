#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a killed run had in flight lands after the process is gone. Until it has, no other run gets
the target: a late write would fall on what that one has written."""

import fcntl
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from lib.lab import MIB, equal, wait_for
from lib.runner import main
from lib.tracking import slow_disk

DELAY_MS = 1000
SIZE = 4 * MIB


def writes_in_flight(device):
    return int(Path(f"/sys/block/{Path(device).name}/inflight").read_text().split()[1])


def image_on_a_slow_disk(lab):
    device, backing = slow_disk(lab, 64 * MIB, DELAY_MS)
    # Made below the slowness. Without a journal nothing but the run writes to it.
    content, folder = lab.dir / "content", lab.dir / "mounted"
    content.mkdir()
    (content / "target").write_bytes(bytes(SIZE))
    subprocess.run(["mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-d", content, backing], check=True)
    subprocess.run(["blockdev", "--flushbufs", device], check=True)
    lab.mount(device, folder)
    return device, folder / "target"


def test_the_lock_of_a_killed_run_outlives_its_writes(lab):
    source = lab.image("source", SIZE)
    device, target = image_on_a_slow_disk(lab)
    run = lab.start_sync(source, target, "--full", "--overwrite", "--engine", "uring")
    wait_for(lambda: writes_in_flight(device) >= 4, 60)
    run.kill()
    run.wait()
    locks = list(lab.state.glob("**/targets/*.lock"))
    assert len(locks) == 1, locks
    began = time.monotonic()
    with open(locks[0], "rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            raise AssertionError("the lock went with the process, its writes are still under way")
        except BlockingIOError:
            pass
        fcntl.flock(lock, fcntl.LOCK_EX)
        late = writes_in_flight(device)
    assert late == 0, f"{late} writes in flight behind the lock"
    print(f"  held {time.monotonic() - began:.2f} s longer than the process lived")
    lab.sync(source, target, "--resume", "--overwrite")
    assert equal(source, target)


if __name__ == "__main__":
    main(globals())
