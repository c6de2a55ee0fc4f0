# SPDX-License-Identifier: Apache-2.0
"""The one way in which a measurement fails: with a sentence for the person who started it."""

import sys


class BenchError(Exception):
    """What went wrong and, where there is one, the remedy."""


def say(text):
    """Progress goes to standard error: standard output belongs to the result alone."""
    print(text, file=sys.stderr, flush=True)
