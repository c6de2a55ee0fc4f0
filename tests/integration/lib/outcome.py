# SPDX-License-Identifier: Apache-2.0
"""How a run of `towline sync --json` ended."""

import json


class Outcome:
    def __init__(self, exit_code, out, err, words):
        self.exit = exit_code
        self.out = out
        self.err = err
        self.words = words

    @property
    def report(self):
        return json.loads(self.out)

    @property
    def message(self):
        return self.report["error"]["message"]

    def __str__(self):
        return f"exit {self.exit}: {' '.join(self.words)}\nstdout: {self.out[-1500:]}\nstderr: {self.err[-1500:]}"
