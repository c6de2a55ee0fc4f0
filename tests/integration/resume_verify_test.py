#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""With --verify all that a run brought is read back from where it stays, what the sessions before it
was cut off brought as well: what goes bad behind the target's back is not attested."""

import time

from lib import wire
from lib.cutting import acknowledged, cut_off
from lib.lab import KIB, MIB, equal, wait_for, write_at
from lib.pair import Pair
from lib.proxy import UP, Last
from lib.runner import main
from lib.vault import Vault, towline

SIZE = 8 * MIB
RATE = 24  # a second and more between the cut and the end
SLOWLY = ["--rate", RATE]
AGAIN = ["--resume", "--verify", "--compress", 0]


def segments(vault):
    found = (vault.dir / "segment").rglob("*-*-*")
    return sorted(found, key=lambda each: each.stat().st_mtime_ns)


def cut_in_vault(lab, vault, *words):
    """The segments of a run that was cut off."""
    before = set(segments(vault))
    run = lab.start_sync(*words, "--compress", 0, *SLOWLY)
    wait_for(lambda: set(segments(vault)) - before)
    run.kill()
    lab.finish(run)
    return sorted(set(segments(vault)) - before)


def damaged_on_the_way(lab, words, goes_on, damage):
    """What the resumed run says when that happens once it has compared what was there, and is sending."""
    run = lab.start_sync(*words, *AGAIN, *SLOWLY)
    wait_for(lambda: goes_on() or run.poll() is not None)
    assert run.poll() is None, lab.finish(run)
    damage()
    outcome = lab.finish(run)
    assert outcome.exit == 6 and "reads back something else" in outcome.err, outcome
    return outcome.err


def is_at(lab, vault, *volumes):
    for volume in volumes:
        towline("verify", volume, f"{vault.url}@latest", "--volume", volume.name, "--state-dir",
                lab.state)


def heals(lab, *words):
    """It goes on, and what was damaged comes again."""
    report = lab.sync(*words, *AGAIN)
    assert report["resumed"] and report["attested"] == "reread", report
    return report


def test_a_direct_target(lab):
    source, server = lab.image("source", SIZE, lab.content(SIZE)), lab.server()
    words, replica = [source, server.url("replica")], lab.root / "replica"
    _, have = cut_off(lab, *words, rate=RATE)
    said = damaged_on_the_way(lab, words, lambda: acknowledged(lab) > have,
                              lambda: write_at(replica, 64 * KIB + 5, b"damage"))
    assert f"byte {64 * KIB} of the volume" in said, said
    heals(lab, *words)
    equal(source, replica)


def test_a_direct_comparison_that_is_cut_off_twice(lab):
    pair = Pair(lab, 2 * SIZE)
    pair.source.write_bytes(lab.content(2 * SIZE))
    words = [pair.source, pair.url, "--scan", "--direct"]
    _, have = cut_off(lab, *words, rate=RATE)
    run = lab.start_sync(*words, *AGAIN, *SLOWLY)
    wait_for(lambda: acknowledged(lab) > have)
    run.kill()
    lab.finish(run)
    damage = lambda: [write_at(pair.replica, at, b"damage") for at in (MIB, MIB + 512)]
    have = acknowledged(lab)
    said = damaged_on_the_way(lab, words, lambda: acknowledged(lab) > have, damage)
    assert f"byte {MIB} of the volume" in said, said
    heals(lab, *words)
    equal(pair.source, pair.replica)


def test_a_vault(lab):
    vault = Vault(lab)
    source = lab.image("disk", SIZE, lab.content(SIZE))
    for words in [[source, vault.url, "--full"], [source, vault.url, "--scan"]]:
        brought = cut_in_vault(lab, vault, *words)
        had, points = len(segments(vault)), vault.points()
        said = damaged_on_the_way(lab, words, lambda: len(segments(vault)) > had,
                                  lambda: write_at(brought[0], 200 * KIB, b"damage"))
        assert "of the volume" in said and vault.points() == points, said
        heals(lab, *words)
        is_at(lab, vault, source)
        source.write_bytes(lab.content(SIZE))


def test_volumes_in_a_vault(lab):
    vault = Vault(lab)
    a, b = (lab.image(name, SIZE // 2, lab.content(SIZE // 2)) for name in ("a.img", "b.img"))
    words = [a, b, vault.url, "--full"]
    brought = cut_in_vault(lab, vault, *words)
    had = len(segments(vault))
    said = damaged_on_the_way(lab, words, lambda: len(segments(vault)) > had,
                              lambda: write_at(brought[0], 200 * KIB, b"damage"))
    assert "of the volume a.img" in said and vault.points() == [], said
    heals(lab, *words)
    assert len(vault.points()) == 1
    is_at(lab, vault, a, b)


def without_end(seconds):
    """All blocks arrive, and are acknowledged; End does not."""
    stream, held_until = bytearray(), None

    def harm(direction, _, data):
        nonlocal held_until
        if direction != UP:
            return data
        if held_until is not None:
            return Last() if time.monotonic() > held_until else b""
        stream.extend(data)
        passed = 0
        for start, header in list(wire.frames(stream)):
            if header.kind == wire.END:
                held_until = time.monotonic() + seconds
                break
            passed = start + header.frame_bytes
        piece = bytes(stream[:passed])
        del stream[:passed]
        return piece
    return harm


def test_a_run_that_had_brought_all_of_it(lab):
    vault, source = Vault(lab), lab.image("disk", MIB, lab.content(MIB))
    server = lab.server(words=["--vault", vault.dir])
    for name in ("vault:disk", "replica"):
        proxy = lab.proxy(server, without_end(3))
        assert lab.try_sync(source, proxy.url(name), "--full").exit == 4
        report = heals(lab, source, server.url(name))
        assert report["bytes_sent"] < 64 * KIB, report
    equal(source, lab.root / "replica")
    is_at(lab, vault, source)


def test_what_goes_bad_while_nobody_runs_comes_again(lab):
    """It is compared by its contents when the run goes on, so that it differs."""
    source, server = lab.image("disk", SIZE, lab.content(SIZE)), lab.server()
    cut_off(lab, source, server.url("replica"), rate=RATE)
    write_at(lab.root / "replica", 64 * KIB + 5, b"damage")
    heals(lab, source, server.url("replica"))
    equal(source, lab.root / "replica")
    vault = Vault(lab)
    brought = cut_in_vault(lab, vault, source, vault.url, "--full")
    write_at(brought[0], 200 * KIB, b"damage")
    heals(lab, source, vault.url)
    is_at(lab, vault, source)


def test_a_staged_block_that_goes_bad_comes_again(lab):
    pair = Pair(lab, SIZE)
    pair.source.write_bytes(lab.content(SIZE))
    cut_off(lab, pair.source, pair.url, "--scan", rate=RATE)
    blocks = next((lab.root / ".towline").glob("*.blocks"))
    write_at(blocks, MIB + 64 * KIB + 5, b"damage")
    assert heals(lab, pair.source, pair.url)["staged"]
    equal(pair.source, pair.replica)


main(globals())
