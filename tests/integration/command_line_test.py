#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every option, cause, exit code and field stands in docs/cli.md and none stands there that is
not; the manual pages are what the programs say of themselves, and what a field of the API is for is
said once. Wrong words are exit 2 and touch nothing."""

import json
import os
import re
import subprocess
from pathlib import Path

from lib.lab import MIB, binary, equal, lines
from lib.runner import main

TREE = Path(__file__).resolve().parents[2]
CLI = (TREE / "docs/cli.md").read_text()
MANUAL = (TREE / "docs/man/towline.1").read_text()
DAEMON_MANUAL = (TREE / "docs/man/towlined.8").read_text()
ASKING = [("status",), ("event", "follow"), ("event", "audit"), ("support",), ("dial-stdio",),
          *(("catalog", verb) for verb in ["import", "list", "vaults", "clear"]),
          *(("notification", verb) for verb in ["create", "list", "show", "test", "delete"]),
          *(("template", verb) for verb in ["create", "list", "show", "delete"]),
          *(("group", verb) for verb in ["create", "edit", "list", "show", "delete", "start", "pause",
                                   "resume", "cancel"]),
          *(("job", verb) for verb in ["create", "edit", "list", "show", "preflight", "points", "pause", "resume",
                                 "delete"]),
          *(("run", verb) for verb in ["start", "list", "show", "watch", "wait", "cancel"])]


def help_of(*command, program=""):
    return subprocess.run([binary() + program, *command, "--help"], text=True,
                          capture_output=True, check=True).stdout


def options_of(*command, program=""):
    shown = help_of(*command, program=program)
    found = set(re.findall(r"^ +(?:-\w,)?(--[a-z-]+)", shown, re.MULTILINE))
    found |= set(re.findall(r",(--no-[a-z-]+)", shown))
    assert "--help" in found, shown
    return found


def names_in(path, pattern):
    found = re.findall(pattern, (TREE / path).read_text())
    assert found, path
    return found


TRACK = ["attach", "detach", "list", "status", "freeze", "commit", "give-back"]
HANDS = [("target", "finish"),
         *(("track", name) for name in TRACK),
         *(("snapshot", name) for name in ("create", "list", "delete"))]
VAULTS = [*(("vault", name) for name in ("init", "info", "scrub", "check", "prune")),
          *(("vault", "key", name) for name in ("list", "add", "change", "remove")),
          *(("point", name) for name in ("list", "show", "diff", "delete", "mount", "serve")),
          ("restore",), ("export",), ("verify",)]


def options_in(manual):
    return {"--" + name for name in re.findall(r"Fl -([a-z-]+)", manual)}


def test_options(_):
    every = options_of() | options_of("sync") | options_of("serve") | options_of("mount-image")
    for command in HANDS + ASKING + VAULTS:
        every |= options_of(*command)
    daemon = options_of(program="d")
    for option in every | daemon:
        assert f"`{option}" in CLI, f"docs/cli.md lacks {option}"
    documented = set(re.findall(r"`(--[a-z-]+)", CLI))
    assert documented <= every | daemon, documented - every - daemon
    assert options_in(MANUAL) == every, options_in(MANUAL) ^ every
    assert options_in(DAEMON_MANUAL) == daemon, options_in(DAEMON_MANUAL) ^ daemon


def test_options_stand_in_their_command(_):
    sync, rest = CLI[CLI.index("## towline sync"):].split("## towline serve")
    serve, rest = rest.split("## towline track")
    hands, rest = rest.split("## The daemon's commands")
    asking, rest = rest.split("## towlined")
    daemon, rest = rest.split("## towline mount-image")
    mount, rest = rest.split("## towline vault")
    vaults = rest[:rest.index("## Exit codes")]
    for part, options in [(sync, options_of("sync")), (serve, options_of("serve")),
                          (mount, options_of("mount-image")),
                          (daemon, options_of(program="d") - {"--version"}),
                          *((vaults, options_of(*command)) for command in VAULTS),
                          *((asking, options_of(*command)) for command in ASKING)]:
        for option in options - {"--help"}:
            assert f"`{option}" in part, option


def test_every_command_is_documented(_):
    for command in HANDS + ASKING:
        assert f"`towline {' '.join(command)}" in CLI, command
    for command in VAULTS:
        assert f"`{' '.join(command)} " in CLI, command


def test_causes(_):
    causes = names_in("userspace/engine/run_decision.cpp", r'return "([a-z]+(?:-[a-z]+)*)";')
    causes = [name for name in causes if name != "unknown"]
    table = CLI[CLI.index("## Causes"):CLI.index("## The report")]
    assert set(re.findall(r"^\| `([a-z-]+)`", table, re.MULTILINE)) == set(causes)


def test_exit_codes(_):
    codes = names_in("tools/towline/exit_codes.hpp", r"k[A-Z]\w+ = (\d+)")
    table = CLI[CLI.index("## Exit codes"):CLI.index("## Causes")]
    assert re.findall(r"^\| (\d+) \|", table, re.MULTILINE) == codes
    assert re.findall(r"^\.It (\d+)$", MANUAL, re.MULTILINE) == codes
    assert all(0 <= int(code) <= 63 for code in codes)


def test_fields(lab):
    report = lab.sync(lab.image("source", MIB), lab.dir / "target")
    table = CLI[CLI.index("## The report"):CLI.index("## Examples")]
    documented = set(re.findall(r"`([a-z_]+)`", table))
    assert report.keys() <= documented, report.keys() - documented


def test_the_manual_is_well_formed(_):
    if subprocess.run(["which", "mandoc"], capture_output=True).returncode == 0:
        subprocess.run(["mandoc", "-T", "lint", "-W", "error", TREE / "docs/man/towline.1",
                        TREE / "docs/man/towlined.8"], check=True)
    for macro in re.findall(r"^\.(\w+)", MANUAL + DAEMON_MANUAL, re.MULTILINE):
        assert macro in {"Dd", "Dt", "Os", "Sh", "Ss", "Nm", "Nd", "Op", "Ar", "Cm", "Fl", "Li",
                         "Pp", "Bl", "It", "El", "Pa", "Dq", "Sq", "Bd", "Ed", "Xr"}, macro
    for manual in (MANUAL, DAEMON_MANUAL):
        assert manual.count(".Bl") == manual.count(".El")


def test_the_manual_is_what_the_programs_say(_):
    environment = {**os.environ, "TOWLINE_BIN": str(Path(binary()).parent)}
    subprocess.run([TREE / "tools/manual", "--check"], env=environment, check=True)
    headings = re.findall(r"^\.Ss towline ([a-z -]+[a-z])", MANUAL, re.MULTILINE)
    commands = {" ".join(command) for command in HANDS + ASKING + VAULTS}
    assert commands <= set(headings), commands - set(headings)


def test_every_option_has_a_text(_):
    for manual in (MANUAL, DAEMON_MANUAL):
        part = manual[manual.index('.\\" Until "end"'):manual.index('.\\" end\n')]
        assert part.isascii()
        items = re.findall(r"^\.It (.*)\n(.*)", part, re.MULTILINE)
        assert items
        for item, text in items:
            assert re.match(r"\w[^.]", text), f"{item}: {text}"


def fields_of(api, schema, inside=""):
    """The fields of a request, those of the objects in it too, and what each is for."""
    target = schema
    while "$ref" in target:
        target = api["components"]["schemas"][target["$ref"].rpartition("/")[2]]
    if "properties" not in target:
        yield inside, schema.get("description") or target.get("description")
    for name, field in target.get("properties", {}).items():
        yield from fields_of(api, field, f"{inside}/{name}")


def test_fields_of_the_api_are_explained_once(_):
    api = json.loads((TREE / "userspace/control/api.json").read_text())
    for schema, command in [("JobInput", ("job", "create")), ("JobPatch", ("job", "edit")),
                            ("GroupInput", ("group", "create")), ("GroupPatch", ("group", "edit")),
                            ("TemplateInput", ("template", "create")),
                            ("NotificationInput", ("notification", "create"))]:
        shown = help_of(*command)
        for field, text in fields_of(api, api["components"]["schemas"][schema]):
            assert text, f"{schema}{field} has no description"
            if field != "/webhook/secret":  # the option names a file that has it
                assert text in shown, f"{' '.join(command)}: {field}"


def test_wrong_words(lab):
    source, target = lab.image("source", MIB), lab.dir / "target"
    wrong = [["--block", "3K"], ["--block", "2M"], ["--block", ""], ["--block", "x"],
             ["--block", "18446744073709551617"], ["--compress", "11"], ["--compress", "x"],
             ["--compress", "-1"], ["--codec", "lz4"], ["--engine", "magic"], ["--rate", "-1"],
             ["--connections", "0"], ["--connections", "17"], ["--timeout", "0"], ["--nonsense"],
             ["--full", "--scan"], ["--extents", "-", "--full"]]
    for words in wrong:
        lab.refused(source, target, *words, exit=2)
    # Several volumes go into a vault alone.
    lab.refused(source, target, "surplus", says="one volume")
    for url in ["tcp://127.0.0.1/x", "tcp://127.0.0.1:99999/x", "tcp://127.0.0.1:1/", "ftp://x/y",
                "unix:/nothing", "tcp://:1/x"]:
        lab.refused(source, url, exit=2)
    assert not target.exists()


def test_wrong_lists(lab):
    """A list that is wrong anywhere is refused whole, with the line's number."""
    source, target = lab.image("source", MIB), lab.dir / "target"
    lab.sync(source, target)
    before = target.read_bytes()
    lab.change(source, 3)
    for text in ["0\n", "0 1 2\n", "a b\n", "-1 5\n", f"{MIB} 1\n", f"0 {MIB + 1}\n",
                 "18446744073709551615 1\n", "0 99999999999999999999\n", "0,5\n", "1.5 2\n"]:
        lab.refused(source, target, "--extents", "-", exit=2, says="line 2", stdin="0 512\n" + text)
    lab.refused(source, target, "--extents", lab.dir / "missing", exit=1, says="missing")
    assert target.read_bytes() == before
    good = "# a comment\n\n0x0 0x100000\r\n 5   7 \n5 0"
    assert lab.sync(source, target, "--extents", "-", stdin=good)["bytes_changed"] == MIB
    equal(source, target)
    assert lab.sync(source, target, "--extents", "-", stdin=lines([]))["bytes_changed"] == 0


main(globals())
