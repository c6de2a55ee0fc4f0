#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A daemon without memory to spare serves the writes by which memory is freed: a writer dirties far
more than the memory that it and the daemon have together, and is through in time."""

import os
import subprocess
import time
from pathlib import Path

from lib.lab import MIB, Skip
from lib.runner import main
from lib.tracked import STATUS, Tracked

MEMORY = 64 * MIB
DATA = 320 * MIB
SECONDS_MAX = 90
PF_LOCAL_THROTTLE = 0x00100000


class Group:
    """A memory cgroup, of version 1 or 2."""

    def __init__(self, lab):
        for root, limit in [(Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
                            (Path("/sys/fs/cgroup"), "memory.max")]:
            self.path = root / f"towline-test-{os.getpid()}"
            try:
                self.path.mkdir()
            except OSError:
                continue
            lab.at_end(self.path.rmdir)
            if (self.path / limit).exists():
                (self.path / limit).write_text(str(MEMORY))
                return
        raise Skip("no memory cgroup can be made here")

    def add(self, pid):
        (self.path / "cgroup.procs").write_text(str(pid))


def write_all(path):
    """Dirty pages, as many as there is memory for, again and again; half of them mapped."""
    script = f"""
import mmap, os
chunk = os.urandom(1 << 20)
with open({str(path)!r}, "w+b", buffering=0) as file:
    for number in range({DATA // MIB // 2}):
        file.write(chunk)
    file.truncate({DATA})
    with mmap.mmap(file.fileno(), {DATA}) as mapped:
        for at in range({DATA // 2}, {DATA}, 1 << 20):
            mapped[at:at + len(chunk)] = chunk
    os.fsync(file.fileno())
"""
    return subprocess.Popen(["python3", "-c", script])


def test_no_write_waits_for_itself(lab):
    tracked = Tracked(lab, lab.sparse("image", 512 * MIB))
    group = Group(lab)
    loop = tracked.loop()
    subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,nodiscard", loop], check=True)
    at = lab.dir / "filesystem"
    at.mkdir()
    subprocess.run(["mount", loop, at], check=True)
    lab.at_end(subprocess.run, ["umount", at])
    frozen = tracked.freeze(snapshot=True, store=256 * MIB)  # copies come on top

    flags = int(Path(f"/proc/{tracked.pid}/stat").read_text().rsplit(")", 1)[1].split()[6])
    flusher = "an I/O flusher" if flags & PF_LOCAL_THROTTLE else "no I/O flusher (CAP_SYS_RESOURCE)"
    status = Path(f"/proc/{tracked.pid}/status").read_text()
    locked = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmLck"))
    assert locked > 1024, f"the daemon has only {locked} KiB locked"
    group.add(tracked.pid)
    writer = write_all(at / "file")
    group.add(writer.pid)
    try:
        began = time.monotonic()
        while writer.poll() is None:
            assert time.monotonic() - began < SECONDS_MAX, "it hangs"
            assert tracked.ask(STATUS)["snapshot_flags"] & 1
            time.sleep(0.2)
    finally:
        if writer.poll() is None:
            writer.kill()
        # Nobody stays in the group.
        (group.path.parent / "cgroup.procs").write_text(str(tracked.pid))
    assert writer.returncode == 0
    tracked.remove_snapshot(frozen["frozen"])
    peak = next((group.path / name).read_text().strip()
                for name in ["memory.max_usage_in_bytes", "memory.peak"]
                if (group.path / name).exists())
    print(f"     {time.monotonic() - began:.1f} s, {flusher}, peak {int(peak) // MIB} MiB")
    assert int(peak) > MEMORY * 0.9, "no pressure: the test shows nothing"


if __name__ == "__main__":
    main(globals())
