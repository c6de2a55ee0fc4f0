# SPDX-License-Identifier: Apache-2.0
"""Sums what the kernel tests reported, a line a test, to an object a kernel: `tools/test kernel
--json`."""

import json
import sys
from pathlib import Path

KEYS = ("bios_seen", "blocks_missed", "crash_points", "crash_points_lost")


def main():
    totals = {}
    for line in Path(sys.argv[1]).read_text(encoding="ascii").splitlines():
        test = json.loads(line)
        total = totals.setdefault(test["release"], dict.fromkeys(KEYS, 0))
        for key in KEYS:
            total[key] += test.get(key, 0)
    print(json.dumps([{"kernel": kernel, **total} for kernel, total in totals.items()], indent=1))


main()
