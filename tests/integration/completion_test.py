#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`towline completion bash`, in a bash: what it offers is what the commands have."""

import re
import subprocess

from lib.lab import binary
from lib.runner import main

COMPLETE = """
source /dev/stdin <<< "$({binary} completion bash)"
COMP_WORDS=({words} "{current}") COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_towline
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def offered(words, current=""):
    script = COMPLETE.format(binary=binary(), words=words, current=current)
    done = subprocess.run(["bash", "-u", "-c", script], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def help_of(*words):
    return subprocess.run([binary(), *words, "--help"], text=True, capture_output=True,
                          check=True).stdout


def test_commands_and_options(_):
    commands = set(re.findall(r"^  ([a-z][a-z-]+) ", help_of().split("Subcommands:")[1],
                              re.MULTILINE))
    assert commands <= offered("towline"), commands - offered("towline")
    assert offered("towline", "jo") == {"job"}
    assert {"create", "preflight", "resume"} <= offered("towline job")
    options = set(re.findall(r"(--[a-z-]+)", help_of("job", "create")))
    assert offered("towline job create db", "--") <= options | {"--help"}
    assert {"--every", "--tracker", "--no-freeze"} <= offered("towline job create db", "--")
    # Words that are no commands lead nowhere else.
    assert offered("towline job show job", "--st") == set()
    assert offered("towline --json run list", "--st") == {"--state"}


main(globals())
