# SPDX-License-Identifier: Apache-2.0
"""Runs the test_* functions of a file, each in a lab of its own (tools/lib/script_test.sh).

Exit 0 is a pass, 77 a skip whose reason is the last line, anything else a failure. A file whose
tests passed but for a skipped one counts as skipped, so that nothing is skipped in silence.
"""

import os
import random
import sys
import time
import traceback

from .lab import Lab, Skip

SEED_DEFAULT = 1


def seed():
    return int(os.environ.get("TOWLINE_SEED", SEED_DEFAULT))


def count(default):
    """How many rounds: what a campaign asks for, else the sample that there is time for."""
    return int(os.environ.get("TOWLINE_COUNT", default))


def run_one(name, function):
    """"" when it passed, a reason when it was skipped, None when it failed."""
    began = time.monotonic()
    try:
        with Lab(random.Random(f"{seed()}/{name}")) as lab:
            try:
                function(lab)
            except Skip:
                raise
            except BaseException:
                lab.print_logs()
                raise
    except Skip as reason:
        print(f"skip {name}: {reason}", flush=True)
        return str(reason)
    except KeyboardInterrupt:
        raise
    except BaseException:
        traceback.print_exc()
        print(f"FAIL {name} (seed {seed()})", flush=True)
        return None
    print(f"ok   {name} ({time.monotonic() - began:.1f} s)", flush=True)
    return ""


def main(names):
    """`names` is the test file's globals()."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    tests = [(name, each) for name, each in names.items()
             if name.startswith("test_") and callable(each) and wanted in name]
    results = [run_one(name, each) for name, each in tests]
    skipped = [each for each in results if each]
    if not tests or None in results:
        print(f"{results.count(None)} of {len(tests)} tests failed")
        sys.exit(1)
    if skipped:
        print(skipped[0])
        sys.exit(77)
    print(f"{len(tests)} tests passed")
