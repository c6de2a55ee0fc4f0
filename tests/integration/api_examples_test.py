#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/api.md, as they stand there, by curl and a shell."""

import json
import os
import subprocess
from pathlib import Path

from lib.daemon import Daemon
from lib.lab import MIB, equal
from lib.runner import main

PAGE = Path(__file__).resolve().parents[2] / "docs/api.md"


def examples():
    """The commands of the page's shell block, each with the lines that it goes on in."""
    block = PAGE.read_text().split("```sh\n")[1].split("```")[0]
    block = block.replace("\\\n", " ")
    return [line for line in block.splitlines() if line and not line.startswith("#")]


def test_examples(lab):
    daemon = Daemon(lab).start()
    image = lab.image("disk.img", MIB)
    environment = {**os.environ, "SOCKET": str(daemon.socket), "IMAGE": str(image)}
    answers = []
    for command in examples():
        shown = subprocess.run(["bash", "-euc", command], env=environment, text=True,
                               capture_output=True, check=True).stdout
        method = command.split("-X ")[1].split()[0] if "-X " in command else "GET"
        path = command.split("http://towline")[1].split()[0].strip("'")
        if path == "/metrics":
            assert "towline_jobs" in shown, shown
        elif "/events" in path:
            assert all(json.loads(line)["sequence"] for line in shown.splitlines()), shown
        else:
            answer = json.loads(shown)
            assert "code" not in answer, f"{command}: {shown}"
            status = 201 if method == "POST" and path.endswith("/runs") else 200
            daemon.check(daemon.schema_of(method, path, status), answer)
            answers.append((path, answer))
    assert len(answers) >= 11
    runs = [answer for path, answer in answers if path.startswith("/v1/runs/1")]
    assert runs[0]["state"] == "Completed", runs
    equal(image, f"{image}.replica")


main(globals())
