# SPDX-License-Identifier: Apache-2.0
"""What the two commands' options have in common."""

import argparse
import glob
import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]


def size(text):
    units = {"K": 10, "M": 20, "G": 30, "T": 40}
    shift = units.get(text[-1:].upper(), 0)
    value = int(text[:-1] if shift else text) << shift
    if value < 64 << 20 or value % (1 << 20):
        raise argparse.ArgumentTypeError("a whole number of MiB, at least 64M")
    return value


def several(known):
    def parse(text):
        chosen = [word for word in text.split(",") if word]
        for word in chosen:
            if word not in known:
                raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(known)}")
        return chosen
    return parse


def default_work_dir():
    cache = os.environ.get("XDG_CACHE_HOME", "/var/tmp")
    return os.path.join(cache, "towline-bench")


def builds_of_repository():
    return [path for pattern in ("build*/", "build*/*/")
            for path in sorted(glob.glob(str(REPOSITORY / pattern)))]
