#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Verification of a run that goes on is switched on or off, and the run goes on as it is: under its
id, without another connection, and with what it had sent."""

import json

from lib import wire
from lib.daemon import Daemon
from lib.lab import MIB, equal
from lib.operator import Operator
from lib.proxy import UP, rewritten
from lib.runner import main
from lib.vault import Vault, towline

MANUAL = {"manual": True}
SIZE = 2 * MIB


def switched(daemon, source, target, begun):
    """A run whose wish is changed in mid-transfer; the run at its end."""
    daemon.put("db", source, target, MANUAL, verify=begun, rate_mbit=8, compression=0)
    run = daemon.start_run("db")["id"]
    daemon.wait_run(run, lambda each: each["stage"] == "Transfer" and each["bytes_done"] > 0, 60)
    Operator(daemon).says("job", "edit", "db", "--no-verify" if begun else "--verify")
    during = daemon.run(run)
    assert during["state"] == "Active" and during["stage"] == "Transfer", during
    daemon.good("PATCH", "/v1/jobs/db", {"rate_mbit": 0})
    ended = daemon.completed(run)
    assert ended["continued"] == 0 and ended["attempt"] == 1, ended
    assert len(daemon.runs("db")) == 1
    assert [each["type"] for each in daemon.events() if each["run"] == run] == [
        "run.created", "run.started", "run.completed"]
    daemon.good("DELETE", "/v1/jobs/db")
    return ended


def test_of_a_run_to_another_host(lab):
    daemon, server = Daemon(lab).start(), lab.server()
    source = lab.image("source", SIZE, lab.content(SIZE))
    for begun in [False, True]:
        proxy = lab.proxy(server)
        name = f"replica-{begun}"
        ended = switched(daemon, source, proxy.url(name), begun)
        assert ended["verified"] is not begun, ended
        equal(source, lab.root / name)
        said = [header.kind for _, header in wire.frames(proxy.recorded[UP])]
        assert said.count(wire.BEGIN) == 1 and said.count(wire.VERIFY) == 1, said
        assert said.index(wire.VERIFY) < said.index(wire.END), said


def test_of_a_run_into_a_vault(lab):
    daemon, vault = Daemon(lab).start(), Vault(lab)
    source = lab.image("source", SIZE, lab.content(SIZE))
    for begun, attested in [(False, "reread"), (True, "written")]:
        ended = switched(daemon, source, vault.url, begun)
        assert ended["verified"] is not begun, ended
        point = json.loads(towline("point", "show", f"{vault.url}@{ended['point']}",
                                   "--json").stdout)
        assert point["attested"] == attested, point
        lab.change(source, 30)


def test_of_a_target_that_does_not_hear_it(lab):
    """It does what it was told at first, and the run says so; the next run is as it is wished."""
    daemon, server = Daemon(lab).start(), lab.server()
    source = lab.image("source", SIZE, lab.content(SIZE))
    proxy = lab.proxy(server, rewritten(wire.HELLO, lambda _: wire.hello(capabilities=3)))
    for begun in [False, True]:
        ended = switched(daemon, source, proxy.url(f"old-{begun}"), begun)
        assert ended["verified"] is begun, ended
    daemon.put("next", source, proxy.url("old-next"), MANUAL, verify=True)
    assert daemon.completed(daemon.start_run("next")["id"])["verified"]


main(globals())
