# SPDX-License-Identifier: Apache-2.0
"""Who gives `towline` commands to a daemon of a test."""

import json
import subprocess

from .lab import binary


class Operator:
    def __init__(self, daemon):
        self.daemon = daemon

    def try_(self, *words):
        return subprocess.run([binary(), *map(str, words), "--socket", self.daemon.socket],
                              text=True, capture_output=True, timeout=60)

    def says(self, *words, exit=0):
        outcome = self.try_(*words)
        assert outcome.returncode == exit, (words, outcome)
        return outcome.stdout if exit == 0 else outcome.stderr

    def json(self, *words):
        return json.loads(self.says(*words, "--json"))
