#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The one suite that every tracker passes (tests/integration/tracker_conformance_test.py), of the module:
this machine's Python runs it in the guest."""

import zipfile
from pathlib import Path

from rig.builds import ROOT
from rig.changes import MIB
from rig.runner import count, main, on_one_kernel, seed
from rig.towline import towline_programs

PYTHON = "/usr/bin/python3.11"
SUITE = ROOT / "tests/integration/tracker_conformance_test.py"
PROGRAMS = (PYTHON, "losetup", "blkdiscard", "fallocate", "dd", "mkfs.ext4")
# Of its library: what lies flat, and these.
PACKAGES = ("collections", "concurrent", "email", "encodings", "http", "importlib", "json", "logging",
            "re", "urllib")
DEADLINE_SECONDS = 2400


def library(path):
    """Python's own modules as the one file that it looks for first."""
    folder = Path("/usr/lib/python3.11")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for module in [*folder.glob("*.py"), *(each for name in PACKAGES
                                               for each in (folder / name).rglob("*.py"))]:
            archive.write(module, module.relative_to(folder))
    return path


@on_one_kernel
def test_the_module_is_a_tracker_as_the_others(rig):
    suite = {f"tests/{path.relative_to(SUITE.parent)}": path
             for path in [SUITE, *(SUITE.parent / "lib").glob("*.py")]}
    boot = rig.boot(f"""
        for name in loop ext4 dm_mod dm_delay; do modprobe $name || true; done
        insmod /towline.ko
        # A file in memory cannot be zeroed in the middle.
        mkfs.ext4 -q /dev/disk/work
        mkdir /work
        mount -t ext4 /dev/disk/work /work
        cd /tests
        export TMPDIR=/work TOWLINE_BIN=/bin TOWLINE_TRACKERS=kmod TOWLINE_SUITE_MIB=16
        export TOWLINE_SEED={seed()} TOWLINE_COUNT={count(1)} PYTHONDONTWRITEBYTECODE=1
        python3.11 {SUITE.name} >said 2>&1 || {{ cat said; exit 1; }}
        cat said
        keep said
        """, [rig.disk("work", 160 * MIB)], files={**towline_programs("tracker_probe"), **suite,
                    "usr/lib/python311.zip": library(rig.dir / "python311.zip")},
                    host_programs=PROGRAMS, memory_mib=1024, deadline=DEADLINE_SECONDS)
    said = boot.read("said").decode()
    assert "5 tests passed" in said and "0 missed" in said, said
    print("\n".join(line for line in said.splitlines() if "missed" in line), flush=True)


main(globals())
