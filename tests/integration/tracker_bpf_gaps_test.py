#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The eBPF tracker notices when it was not in place, and says so: what it cannot vouch for is
unknown, and from the next epoch on its word is good again."""

import subprocess

from lib.lab import KIB, MIB, detach
from lib.runner import main
from lib.tracking import Tracking, differing, write

SIZE = 16 * MIB


class Tracked:
    def __init__(self, lab):
        self.image = lab.image("disk", SIZE)
        self.device = lab.loop(self.image)
        self.tracking = Tracking(lab, "bpf")
        self.tracker = self.tracking.attach(self.device)

    def pin(self, name):
        return self.tracking.pins / self.tracker / name


def unknown_once(lab, at, *reasons):
    """Its epoch is unknown, for these reasons and under a new name; then it is exact again."""
    status = at.tracking.status(at.tracker)
    assert status["trust"] == "unknown", status
    found = at.tracking.harvest(at.tracker)
    assert found.trust == "unknown" and found.tracker != at.tracker, str(found)
    assert set(reasons) <= set(found.reasons.split(", ")), str(found)
    at.tracking.refused("invalid", "status", at.tracker)
    before = at.image.read_bytes()
    write(at.device, "direct", lab.random.randrange(1 << 30), count=40, max=64 * KIB)
    exact = at.tracking.harvest(found.tracker)
    assert exact.trust == "exact" and exact.tracker == found.tracker, str(exact)
    assert not differing(before, at.image, 4 * KIB) - exact.blocks, str(exact)


def test_each_hook_that_is_taken_away(lab):
    for name in ("queued", "completed_1", "completed_2", "completed_3"):
        at = Tracked(lab)
        at.pin(name).unlink()
        unknown_once(lab, at, "gap")


def test_each_map_that_is_replaced(lab):
    for name, size in (("marks", 1024), ("control", 1), ("barrier", 1)):
        at = Tracked(lab)
        at.pin(name).unlink()
        if name == "marks":
            subprocess.run(["/usr/sbin/bpftool", "map", "create", at.pin(name), "type", "array", "key",
                            "4", "value", "8", "entries", str(size), "name", "other"], check=True)
        unknown_once(lab, at, "gap")


def test_hooks_that_were_put_back(lab):
    """As after a detach and an attach by somebody else: everything is there, and not the same."""
    at = Tracked(lab)
    other = Tracking(lab, "bpf")
    other.state = lab.dir / "other"
    second = other.attach(at.device)
    for pin in (at.tracking.pins / at.tracker).iterdir():
        pin.unlink()
    # Renaming within bpffs: the second one's hooks under the first one's name.
    for pin in (at.tracking.pins / second).iterdir():
        pin.rename(at.pin(pin.name))
    unknown_once(lab, at, "gap")
    other.call("detach", second)


def test_grown_and_shrunk(lab):
    for size, reason in ((SIZE + 4 * MIB, "grew"), (SIZE - 4 * MIB, "shrank")):
        at = Tracked(lab)
        with open(at.image, "r+b") as file:
            file.truncate(size)
        subprocess.run(["losetup", "--set-capacity", at.device], check=True)
        found = at.tracking.freeze(at.tracker)
        assert found.volume_bytes == size and found.trust == "unknown", str(found)
        assert reason in found.reasons, str(found)
        at.tracking.call("commit", found.tracker, found.sequence)
        before = at.image.read_bytes()
        subprocess.run(["dd", "if=/dev/urandom", f"of={at.device}", "bs=4K", "count=1",
                        f"seek={size // 4096 - 1}", "oflag=direct"], check=True,
                       capture_output=True)
        exact = at.tracking.harvest(found.tracker)
        assert exact.trust == "exact", str(exact)
        assert exact.blocks == differing(before, at.image, 4 * KIB) == {size // 4096 - 1}


def test_a_device_that_went_away(lab):
    at = Tracked(lab)
    detach(at.device)
    status = at.tracking.status(at.tracker)
    assert status["gone"] and status["trust"] == "unknown", status
    at.tracking.refused("io", "freeze", at.tracker)
    again = lab.loop(at.image)
    # The same file and perhaps the same number, and still another life of it.
    assert at.tracking.call("find", again) is None
    other = at.tracking.attach(again)
    assert {each["tracker"]: each["gone"] for each in at.tracking.call("list")} == {
        at.tracker: True, other: False}
    at.tracking.call("detach", at.tracker)
    assert [each["tracker"] for each in at.tracking.call("list")] == [other]


def test_found_attached_and_detached(lab):
    at = Tracked(lab)
    assert at.tracking.call("find", at.device)["tracker"] == at.tracker
    assert at.tracker in at.tracking.refused("busy", "attach", at.device)
    at.tracking.call("detach", at.tracker)
    at.tracking.refused("invalid", "freeze", at.tracker)
    assert at.tracking.call("find", at.device) is None
    assert not (at.tracking.pins / at.tracker).exists()
    new = at.tracking.attach(at.device)
    assert new != at.tracker


def test_an_attachment_that_was_killed_leaves_nothing(lab):
    at = Tracked(lab)
    at.tracking.call("detach", at.tracker)
    for _ in range(12):
        at.tracking.killed(lab.random.uniform(0.005, 0.3), "attach", at.device, 4096)
        for status in at.tracking.call("list"):
            at.tracking.call("detach", status["tracker"])
        assert not list(at.tracking.pins.iterdir()), "pins that no record knows of"
    at.tracking.attach(at.device)


def test_what_it_cannot_track_it_refuses(lab):
    at = Tracked(lab)
    assert "fuse" in at.tracking.refused("unsupported", "usable", at.image)
    at.tracking.refused("invalid", "attach", lab.loop(lab.image("other", MIB)), 2048)
    at.tracking.refused("invalid", "commit", at.tracker, 1)


main(globals())
