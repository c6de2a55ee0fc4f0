#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`towline completion`, in a bash and a zsh: what it offers is what the commands have."""

import re
import subprocess

from lib.lab import Skip, binary
from lib.runner import main

COMPLETE = """
source /dev/stdin <<< "$({binary} completion {shell})"
COMP_WORDS=({words} "{current}") COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_towline
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


# As bashcompinit calls it.
IN_ZSH = """
source <({binary} completion {shell})
emulate ksh
COMP_WORDS=({words} "{current}") COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_towline
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def offered(words, current="", shell="bash"):
    script = {"bash": COMPLETE, "zsh": IN_ZSH}[shell].format(
        binary=binary(), words=words, current=current, shell=shell)
    options = {"bash": ["-u"], "zsh": ["-f"]}[shell]
    done = subprocess.run([shell, *options, "-c", script], text=True, capture_output=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
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


def test_zsh_offers_the_same(_):
    if subprocess.run(["which", "zsh"], capture_output=True).returncode != 0:
        raise Skip("needs zsh")
    for words, current in [("towline", "jo"), ("towline job", ""), ("towline job create db", "--")]:
        # zsh itself leaves out what does not begin so.
        found = {word for word in offered(words, current, "zsh") if word.startswith(current)}
        assert found == offered(words, current), (words, current, found)


main(globals())
