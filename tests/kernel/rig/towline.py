# SPDX-License-Identifier: Apache-2.0
"""Programs of this tree for the guest, with the libraries that they ask for."""

import os
import re
from pathlib import Path

from .builds import ROOT, run

BIN = Path(os.environ.get("TOWLINE_BIN", ROOT / "build/release/bin"))


def towline_programs(*names):
    """As files of a boot; each library where its loader looks for it."""
    files = {}
    for name in names:
        files[f"bin/{name}"] = BIN / name
        for library in re.findall(r"(/\S+) \(0x", run(["ldd", BIN / name])):
            files[library.lstrip("/")] = Path(library)
    return files
