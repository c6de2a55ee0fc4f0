#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A vault that a server keeps without its key, and a host that has the key and not the folder: it is
given back all that is there, over the wire; nothing that the server lies about reaches it."""

import errno
import json
import os
import subprocess
import time

from lib.keyed import encrypted, key_file, locked, stored, without_key
from lib.lab import KIB, MIB, equal, wait_for, write_at
from lib.mounted import Mounted, mounts
from lib.runner import main
from lib.served import Served
from lib.vault import TWO_POINTS_BYTES, text_and_noise, towline, two_points


class Kept:
    """What the host calls it. What it has seen of it, it notes where nobody else does."""

    def __init__(self, lab, listen="tcp://127.0.0.1:0"):
        self.state = lab.state
        self.here, self.source = two_points(lab, encrypted(lab, key_file(lab)))
        self.server = without_key(lab.server, listen, words=["--vault", self.here.dir])
        self.url = self.server.url("vault:disk")
        self.whole = self.server.url("vault:")

    def towline(self, *words, **also):
        return towline(*words, "--state-dir", self.state, **also)

    def restart(self):
        without_key(self.server.start)


def test_all_is_given_back(lab):
    kept = Kept(lab)
    first, second = (f"{kept.url}@{each}" for each in kept.here.points())
    listed = json.loads(kept.towline("point", "list", kept.url, "--json").stdout)["points"]
    assert [f"{kept.url}@{each['id']}" for each in listed] == [first, second], listed
    assert json.loads(kept.towline("point", "show", second, "--json").stdout) == listed[1]
    near = f"{kept.here.url}@"
    assert kept.towline("point", "diff", first, second).stdout == \
        towline("point", "diff", *(near + each["id"] for each in listed)).stdout != ""
    state = ["--state-dir", lab.state]
    towline("verify", kept.source, second, *state)
    towline("verify", kept.source, first, *state, exit=6)
    towline("restore", f"{kept.url}@latest", lab.dir / "out", *state)
    equal(kept.source, lab.dir / "out")
    # From the one server to the other, which is the same.
    towline("restore", first, kept.server.url("copy"), *state)
    assert (lab.root / "copy").read_bytes() == kept.here.known[listed[0]["id"]]
    for form in ("raw", "qcow2"):
        towline("export", second, lab.dir / form, "--format", form, *state)
    equal(kept.source, lab.dir / "raw")
    subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "qcow2", kept.source,
                    lab.dir / "qcow2"], check=True, capture_output=True)
    mounted = Mounted(lab, kept, listed[0]["id"], "--state-dir", lab.state)
    assert mounted.file.read_bytes() == kept.here.known[listed[0]["id"]]
    # What is read here is not deleted there.
    towline("point", "delete", near + listed[0]["id"], exit=7)
    mounted.unmount()
    served = Served(lab, kept, "latest", "--state-dir", lab.state)
    subprocess.run(["nbdcopy", served.uri, lab.dir / "copied"], check=True)
    assert (lab.dir / "copied").read_bytes() == kept.source.read_bytes()
    assert served.end() == 0
    for words in (["scrub", kept.whole], ["scrub", kept.url], ["check", kept.whole]):
        report = json.loads(towline("vault", *words, "--json", *(
            state if words[0] == "scrub" else [])).stdout)
        assert report["sound"] and report["points"] == 2 and not report["without_key"], report
    assert json.loads(towline("vault", "info", kept.whole, "--json").stdout)["names"][0][
        "points"] == 2


def test_what_is_refused(lab):
    kept = Kept(lab, f"unix:{lab.dir}/server.sock")
    before = stored(kept.here)
    latest = f"{kept.url}@latest"
    kept.towline("point", "show", latest)
    for words in (["point", "delete", latest], ["vault", "prune", kept.whole, "--keep-last", 1],
                  ["vault", "check", kept.whole, "--repair"], ["vault", "key", "list", kept.whole]):
        done = kept.towline(*words, exit=3) if words[0] == "point" else towline(*words, exit=3)
        assert "where " in done.stderr and "kept" in done.stderr, done
    kept.towline("vault", "scrub", kept.server.url("vault:other"), exit=3)
    for words in (["point", "show", f"{kept.url}@"], ["point", "list", kept.whole],
                  ["point", "show", kept.url]):
        assert "vault:NAME" in kept.towline(*words, exit=2).stderr
    locked(["point", "list", kept.url, "--state-dir", lab.state])
    locked(["restore", latest, lab.dir / "out", "--state-dir", lab.state])
    locked(["point", "list", kept.url, "--state-dir", lab.state, "--key-file",
            key_file(lab, "other")], says="no key or passphrase")
    sealed = locked(["vault", "scrub", kept.whole, "--json", "--state-dir", lab.state], exit=0,
                    says="sound")
    assert json.loads(sealed.stdout)["without_key"], sealed
    assert stored(kept.here) == before and not (lab.dir / "out").exists()


def test_a_first_byte_does_not_take_a_segment(lab):
    kept = Kept(lab)
    large = text_and_noise(lab, "large", 24 * MIB)
    kept.here.sync(large, "--compress", 0, url=f"vault:{kept.here.dir}/large")
    proxy = lab.proxy(kept.server)
    kept.url = proxy.url("vault:large")
    mounted = Mounted(lab, kept, "latest", "--state-dir", lab.state)
    with open(mounted.file, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        assert os.pread(file.fileno(), 4096, 20 * MIB) == large.read_bytes()[20 * MIB:][:4096]
    came = len(proxy.recorded["down"])
    assert came < MIB, came
    # And nobody on the way reads it.
    assert b"some words of a file" not in proxy.recorded["down"]
    mounted.unmount()


def in_foreground(lab, kept, point):
    """A mount whose log can be read."""
    mounted = Mounted.__new__(Mounted)
    mounted.vault, mounted.point, mounted.words = kept, point, ["--cache", "64K", "--state-dir", lab.state]
    mounted.dir = lab.dir / "mounted"
    mounted.dir.mkdir()
    log = open(lab.dir / "mount.log", "wb")
    lab.at_end(log.close)
    run = subprocess.Popen(mounted.command("--foreground"), stdout=log, stderr=log,
                           stdin=subprocess.DEVNULL)
    mounted.pid = run.pid
    lab.at_end(run.wait)
    lab.at_end(mounted._end)
    wait_for(lambda: str(mounted.dir) in mounts() and (mounted.dir / "disk").exists(), 60)
    return mounted.dir / "disk", lambda: (lab.dir / "mount.log").read_text()


def read_direct(path, offset):
    """Not from the kernel's cache."""
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return os.pread(file.fileno(), 4096, offset)


def fails(path, offset, pause=0.0):
    time.sleep(pause)
    try:
        read_direct(path, offset)
    except OSError as error:
        assert error.errno == errno.EIO, error
        return True
    return False


def test_a_server_that_is_lost_and_comes_again(lab):
    kept = Kept(lab)
    file, log = in_foreground(lab, kept, "latest")
    expected = kept.source.read_bytes()
    assert read_direct(file, 0) == expected[:4096]
    kept.server.kill()
    assert fails(file, 2 * MIB)
    assert "cannot be read" in log() and "onnect" in log(), log()
    kept.restart()
    wait_for(lambda: not fails(file, 2 * MIB, 0.3), 60, "the server's return")
    assert file.read_bytes() == expected
    # The new connection holds the point as the old one did.
    towline("point", "delete", f"{kept.here.url}@latest", exit=7)
    # One that went meanwhile is not read again, whatever is left of it.
    kept.server.kill()
    towline("point", "delete", f"{kept.here.url}@latest")
    kept.restart()
    wait_for(lambda: fails(file, MIB + 700 * KIB, 0.3) and "was deleted" in log(), 60, log())
    assert fails(file, 2 * MIB + 300 * KIB)


def lies(vault, random):
    """What a server can do to what it keeps."""
    by_kind = {kind: sorted((each for each in (vault.dir / kind).rglob("*") if each.is_file()),
                            key=lambda each: each.stat().st_mtime_ns)
               for kind in ("log", "index", "segment")}
    for kind, objects in by_kind.items():
        older, newer = objects[0], objects[-1]
        contents = newer.read_bytes()
        at = random.randrange(len(contents))
        yield f"a byte of {kind}", newer, contents[:at] + bytes([contents[at] ^ 16]) + \
            contents[at + 1:]
        yield f"an older {kind}", newer, older.read_bytes()
        yield f"a short {kind}", newer, contents[:len(contents) // 2]
    yield "no segment", by_kind["segment"][-1], None
    yield "no index", by_kind["index"][-1], None


def test_a_lie_reaches_nobody(lab):
    kept = Kept(lab)
    expected = kept.source.read_bytes()
    latest = f"{kept.url}@latest"
    for what, path, contents in list(lies(kept.here, lab.random)):
        before = path.read_bytes()
        if contents is None:
            path.unlink()
        else:
            path.write_bytes(contents)
        out = lab.dir / "out.qcow2"
        done = towline("export", latest, out, "--format", "qcow2", "--state-dir", lab.state, exit=6)
        assert "damaged" in done.stderr, (what, done.stderr)
        assert not out.exists(), what
        if path.parts[-3] == "segment":
            # Beside what cannot be had all is as it was.
            mounted = Mounted(lab, kept, "latest", "--state-dir", lab.state)
            lost = 0
            for offset in range(0, TWO_POINTS_BYTES, 64 * KIB):
                with open(mounted.file, "rb", buffering=0) as file:
                    try:
                        piece = os.pread(file.fileno(), 64 * KIB, offset)
                    except OSError as error:
                        assert error.errno == errno.EIO, error
                        lost += 1
                        continue
                assert piece == expected[offset:offset + 64 * KIB], (what, offset)
            assert lost > 0, what
            mounted.unmount()
        path.write_bytes(before)
    kept.towline("restore", latest, lab.dir / "out")
    equal(kept.source, lab.dir / "out")


def test_points_that_are_withheld_are_missed(lab):
    kept = Kept(lab)
    latest = f"{kept.url}@latest"
    older = stored(kept.here)
    lab.change(kept.source, 2)
    kept.here.sync(kept.source)
    # Who was never shown more cannot know.
    newer = max((kept.here.dir / "log").glob("*/*"), key=lambda each: each.name)
    hidden = lab.dir / "hidden"
    newer.rename(hidden)
    shown = json.loads(kept.towline("point", "show", latest, "--json").stdout)
    assert shown["id"] == kept.here.points()[-1] and shown["sequence"] == 2, shown
    hidden.rename(newer)
    assert json.loads(kept.towline("point", "show", latest, "--json").stdout)["sequence"] == 3
    newer.rename(hidden)
    place = lab.dir / "place"
    place.mkdir()
    for words in (["point", "list", kept.url], ["point", "show", latest],
                  ["point", "mount", latest, place], ["verify", kept.source, latest],
                  ["restore", latest, lab.dir / "out"], ["vault", "scrub", kept.whole],
                  ["export", latest, lab.dir / "out", "--format", "qcow2"]):
        done = kept.towline(*words, exit=6)
        assert "withheld" in done.stderr, done
    assert not (lab.dir / "out").exists()
    # All of it as it was before.
    for path in [each for each in kept.here.dir.rglob("*") if each.is_file()]:
        if path.relative_to(kept.here.dir) not in older and "locks" not in path.parts:
            path.unlink()
    for path, contents in older.items():
        (kept.here.dir / path).write_bytes(contents)
    (remedy,) = (lab.state / "seen").iterdir()
    assert str(remedy) in kept.towline("point", "show", latest, exit=6).stderr
    remedy.unlink()
    assert json.loads(kept.towline("point", "show", latest, "--json").stdout)["sequence"] == 2


if __name__ == "__main__":
    main(globals())
