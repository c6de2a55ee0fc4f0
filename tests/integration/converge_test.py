#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A live filesystem of which no snapshot can be made: copied in rounds while a database writes to it,
the last one frozen. Each replica is clean, and its database whole; a source that is written to
faster than it is copied is told so, and is not left frozen whatever ends the run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

from lib.database import Database, clean, rows_of
from lib.lab import MIB, Skip, binary, wait_for
from lib.runner import count, main

SIZE = 128 * MIB
RUNS_SAMPLE = 4


class Live:
    """A mounted filesystem on a loop device that bpf tracks."""

    def __init__(self, lab, kind="ext4"):
        if os.geteuid() != 0 or not shutil.which(f"mkfs.{kind}"):
            raise Skip(f"takes root and mkfs.{kind}")
        self.lab, self.kind = lab, kind
        self.device = lab.loop(lab.sparse("below", SIZE * 3 if kind == "xfs" else SIZE), 512,
                               "--direct-io=on")
        subprocess.run([f"mkfs.{kind}", "-q", self.device], check=True)
        self.mount = lab.mount(self.device, lab.dir / "live")
        attached = subprocess.run([binary(), "track", "attach", self.device, "--tracker", "bpf"],
                                  text=True, capture_output=True)
        if attached.returncode != 0:
            raise Skip(f"no eBPF tracker here: {attached.stderr.strip()}")
        lab.at_end(subprocess.run, [binary(), "track", "detach", self.device])


def bring_up_to_date(lab, live):
    target = lab.dir / "replica"
    told = []
    with Database(live.mount, lab.random) as database:
        wait_for(lambda: database.committed > 10, 60)
        for number in range(count(RUNS_SAMPLE)):
            before = database.committed
            report = lab.sync(live.device, target, "--snapshot", "converge")
            assert (report["tracker"], report["snapshot"]) == ("bpf", "converge"), report
            assert report["label"] == "filesystem", report
            assert 0 < report["freeze_seconds"] < 10 and report["rounds"] > 1, report
            # Some kernels run no eBPF program in some places; that is seen, and costs a comparison.
            assert report["cause"] in (("tracked", "tracker-gap") if number else
                                       ("first-copy",)), report
            rows = rows_of(lab, live.kind, target)
            assert rows >= before, f"{rows} rows of {before} that were committed before the run"
            told.append(f"{report['rounds']} rounds, frozen {report['freeze_seconds'] * 1e3:.0f} ms")
            wait_for(lambda: database.committed > rows + 10, 60)
    print("     " + "; ".join(told))


def test_an_ext4_with_a_database(lab):
    bring_up_to_date(lab, Live(lab))


def test_an_xfs_with_a_database(lab):
    bring_up_to_date(lab, Live(lab, "xfs"))


def test_auto_chooses_rounds_where_nothing_is_better(lab):
    live = Live(lab)
    report = lab.sync(live.device, lab.dir / "replica", "--audit", 16)
    assert (report["snapshot"], report["label"]) == ("converge", "filesystem"), report
    assert report["audited_blocks"] == 16 or report["trust"] == "unknown", report
    clean(live.kind, lab.dir / "replica")


def test_who_writes_to_the_device_makes_it_fuzzy(lab):
    """The freeze stops filesystems, not who writes past them."""
    live = Live(lab)
    hooks = lab.dir / "hooks"
    hooks.mkdir()
    stop, writes = lab.dir / "stop", lab.dir / "writes"
    # Writes before the last round begins, and goes on past the freeze. That one takes a while: it has
    # something to copy.
    (hooks / "pre-snapshot").write_text(f"""#!{sys.executable}
import os, subprocess, sys, time
open("{live.mount}/late", "wb").write(os.urandom({8 * MIB}))
subprocess.Popen([sys.executable, "-c", '''
import mmap, os, time
page = mmap.mmap(-1, 4096)
device = os.open("{live.device}", os.O_RDWR | os.O_DIRECT)
while not os.path.exists("{stop}"):
    os.preadv(device, [page], {SIZE // 2})
    os.pwritev(device, [page], {SIZE // 2})
    open("{writes}", "w").close()
'''], start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL, close_fds=True)
while not os.path.exists("{writes}"):
    time.sleep(0.01)
""")
    (hooks / "pre-snapshot").chmod(0o755)
    lab.at_end(stop.touch)
    report = lab.sync(live.device, lab.dir / "replica", "--snapshot", "converge", "--hooks", hooks,
                      "--rate", 40, "--compress", 0)
    stop.touch()
    assert report["label"] == "fuzzy", report
    assert "wrote to the device" in report["tracker_notes"], report


def test_a_gap_just_before_the_last_round_puts_it_off(lab):
    """What the tracker cannot vouch for is compared while the source is written to, not while it is
    frozen; the replica is of one moment all the same."""
    live = Live(lab)
    status = json.loads(subprocess.run([binary(), "track", "status", "--json", live.device], check=True,
                                       text=True, capture_output=True).stdout)
    pin = f"/sys/fs/bpf/towline/{status['uuid']}/queued"
    hooks, done = lab.dir / "hooks", lab.dir / "done"
    hooks.mkdir()
    (hooks / "pre-snapshot").write_text(f"#!/bin/sh\necho >>{done}\nrm -f {pin}\n")
    (hooks / "pre-snapshot").chmod(0o755)
    target = lab.dir / "replica"
    with Database(live.mount, lab.random) as database:
        wait_for(lambda: database.committed > 10, 60)
        before = database.committed
        report = lab.sync(live.device, target, "--snapshot", "converge", "--hooks", hooks)
    assert report["label"] == "application" and report["trust"] == "exact", report
    assert report["rounds"] >= 4 and len(done.read_text()) >= 2, report
    assert rows_of(lab, live.kind, target) >= before


def test_what_is_not_written_back_is_not_left_for_the_freeze(lab):
    """What a filesystem holds in memory goes with a live round: when the last one begins, it is at the
    target."""
    live, replica, seen = Live(lab), lab.dir / "replica", lab.dir / "seen"
    lab.sync(live.device, replica, "--snapshot", "converge")
    hooks = lab.dir / "hooks"
    hooks.mkdir()
    (hooks / "pre-snapshot").write_text(f"#!/bin/sh\ngrep -c 'held in memory' {replica} >{seen}\n")
    (hooks / "pre-snapshot").chmod(0o755)
    (live.mount / "file").write_bytes(b"held in memory\n" * 300_000)
    report = lab.sync(live.device, replica, "--snapshot", "converge", "--hooks", hooks)
    assert report["label"] == "application", report
    assert int(seen.read_text()) > 200_000, seen.read_text()


def test_a_last_round_that_overran_is_tried_again(lab):
    """More than was expected was to be copied when it stood still: nothing of that is sealed, and it is
    brought live, before the source stands still once more."""
    live = Live(lab)
    hooks, stopped = lab.dir / "hooks", lab.dir / "stopped"
    hooks.mkdir()
    (hooks / "pre-snapshot").write_text(f"""#!/bin/sh
[ -e {stopped} ] || dd if=/dev/urandom of={live.mount}/late bs=1M count=24 2>&-
echo >>{stopped}
""")
    (hooks / "pre-snapshot").chmod(0o755)
    target = lab.dir / "replica"
    # 24 MiB take five seconds.
    report = lab.sync(live.device, target, "--snapshot", "converge", "--hooks", hooks,
                      "--freeze-max", 3, "--rate", 40, "--compress", 0)
    assert report["label"] == "application", report
    assert len(stopped.read_text()) >= 2 and report["rounds"] >= 4, report
    clean(live.kind, target)
    copied = lab.mount(target, lab.dir / "copied", "-o", "ro")
    assert (copied / "late").read_bytes() == (live.mount / "late").read_bytes()


def churn(live, stop, random):
    data = random.randbytes(MIB)
    number = 0
    while not stop.is_set():
        number += 1
        path = live.mount / f"churn{number % 2}"
        with open(path, "wb") as file:
            file.write(data)
            os.fsync(file.fileno())


def test_a_source_that_is_written_to_faster_than_it_is_copied(lab):
    """One write takes longer to copy than the freeze may last."""
    live = Live(lab)
    stop = threading.Event()
    writer = threading.Thread(target=churn, args=(live, stop, lab.random))
    writer.start()
    try:
        refused = lab.refused(live.device, lab.dir / "replica", "--snapshot", "converge",
                              "--freeze-max", 0.3, "--rate", 20, "--compress", 0,
                              says=["not converging", "--freeze-max", "MiB/s"])
    finally:
        stop.set()
        writer.join()
    assert "are written while" in refused.err
    (live.mount / "alive").write_bytes(b"not frozen")


def test_the_notes_are_not_kept_on_what_is_frozen(lab):
    live = Live(lab)
    lab.refused(live.device, lab.dir / "replica", "--snapshot", "converge", exit=9,
                says="--state-dir", state=live.mount / "state")


def test_killed_while_it_is_frozen(lab):
    live = Live(lab)
    (live.mount / "content").write_bytes(lab.content(40 * MIB))
    lab.sync(live.device, lab.dir / "replica", "--snapshot", "converge")
    frozen = lab.dir / "frozen"
    hooks = lab.dir / "hooks"
    hooks.mkdir()
    # The last thing before the freeze.
    (hooks / "pre-snapshot").write_text(f"#!/bin/sh\ntouch {frozen}\n")
    (hooks / "pre-snapshot").chmod(0o755)
    (live.mount / "content").write_bytes(lab.content(40 * MIB))
    subprocess.run(["sync", "-f", live.mount], check=True)
    run = lab.start_sync(live.device, lab.dir / "replica", "--snapshot", "converge", "--hooks", hooks,
                         "--freeze-max", 60)
    wait_for(lambda: frozen.exists() or run.poll() is not None, 60)
    assert run.poll() is None, lab.finish(run)
    run.send_signal(signal.SIGKILL)
    began = time.monotonic()
    (live.mount / "after").write_bytes(b"thawed")
    subprocess.run(["sync", "-f", live.mount], check=True)
    assert time.monotonic() - began < 20, "it stayed frozen"
    lab.finish(run)
    report = lab.sync(live.device, lab.dir / "replica", "--snapshot", "converge")
    assert report["label"] == "filesystem", report
    clean(live.kind, lab.dir / "replica")


main(globals())
