#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The bar is for a terminal, with the speeds and the time left; elsewhere standard error stays
empty, and standard output holds the result alone."""

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios

from lib.lab import MIB
from lib.runner import main

RATE = ["--rate", "64", "--compress", "0"]


def on_terminal(lab, source, target, *words, columns=100):
    """What a terminal of that width got, and what standard output did."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    words = [word for word in lab.words(source, target, words) if word != "--json"]
    run = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave)
    lab.at_end(run.kill)
    os.close(slave)
    shown = b""
    while True:
        select.select([master], [], [], 20)
        try:
            piece = os.read(master, 65536)
        except OSError:
            break  # the other end was closed
        if not piece:
            break
        shown += piece
    os.close(master)
    out, _ = run.communicate(timeout=20)
    assert run.returncode == 0, shown
    return shown.decode(), out.decode()


def test_bar_on_a_terminal(lab):
    source = lab.image("source", 8 * MIB, lab.content(8 * MIB))
    shown, out = on_terminal(lab, source, lab.dir / "target", *RATE)
    for text in [r"Transfer", r"\d+\.\d%", r"[0-9.]+ [KM]iB/s", r"wire [0-9.]+ [KM]iB/s",
                 r"left \d+:\d\d:\d\d", r"\[#+\.*\]"]:
        assert re.search(text, shown), (text, shown)
    shares = [float(each) for each in re.findall(r"Transfer[^%]*?([0-9.]+)%", shown)]
    assert shares == sorted(shares) and len(shares) > 3, shares
    assert shown.rstrip("\n").endswith("\r\x1b[K"), "the bar was left standing"
    assert "sealed" in out and "sent" in out, out


def test_narrow_terminal(lab):
    source = lab.image("source", 4 * MIB, lab.content(4 * MIB))
    shown, _ = on_terminal(lab, source, lab.dir / "target", *RATE, columns=40)
    for line in re.split(r"\r|\x1b\[K", shown):
        assert len(line) < 40, line


def test_no_bar_elsewhere(lab):
    source = lab.image("source", 2 * MIB)
    plain = [word for word in lab.words(source, lab.dir / "target", RATE) if word != "--json"]
    done = subprocess.run(plain, capture_output=True, text=True, check=True)
    assert done.stderr == "", done.stderr
    assert "first" not in done.stdout.lower() or "full run" in done.stdout, done.stdout
    quiet = subprocess.run([*plain, "--quiet"], capture_output=True, text=True, check=True)
    assert quiet.stdout == quiet.stderr == ""


def test_quiet_on_a_terminal(lab):
    source = lab.image("source", 2 * MIB)
    shown, out = on_terminal(lab, source, lab.dir / "target", "--quiet", *RATE)
    assert shown == out == "", (shown, out)


def test_json_is_all_of_standard_output(lab):
    source = lab.image("source", 2 * MIB)
    good = lab.try_sync(source, lab.dir / "target")
    assert isinstance(json.loads(good.out), dict) and good.err == "", good
    bad = lab.try_sync(source, lab.dir / "no" / "target")
    assert json.loads(bad.out)["error"]["exit"] == bad.exit != 0, bad
    assert bad.err.count("\n") == 1, bad


main(globals())
