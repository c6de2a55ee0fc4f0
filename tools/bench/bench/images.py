# SPDX-License-Identifier: Apache-2.0
"""The image that is replicated: an ext4 made of this machine's /usr, kept for the next time.

Where /usr is larger than the image takes, a walk in sorted order takes what fits, so that the same
machine makes the same image again. The names and sizes of files, not their meaning, are what counts
for a copy.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .errors import BenchError, say

TREE = "/usr"
FILL_PERCENT = 80
BLOCK_BYTES = 4096
UUID = "7f3a1a52-7a3c-4c1e-9d0b-2f6b5d2c9e11"


def image_path(work_dir, size_bytes):
    return Path(work_dir) / f"image-{size_bytes >> 20}MiB.raw"


def ensure_image(work_dir, size_bytes):
    """The path of the image, made first if it is not there."""
    path = image_path(work_dir, size_bytes)
    if path.exists() and path.stat().st_size == size_bytes:
        return path
    say(f"making {path} from {TREE} (kept for the next time)")
    unfinished = path.with_suffix(".part")
    with tempfile.TemporaryDirectory(prefix="tree-", dir=work_dir) as tree:
        count = _gather(tree, size_bytes * FILL_PERCENT // 100)
        _make_filesystem(unfinished, tree, size_bytes, count)
    os.replace(unfinished, path)
    return path


def _gather(tree, limit_bytes):
    """Links what fits of TREE beneath `tree`; returns how many inodes that takes."""
    used_bytes = 0
    count = 0
    for folder, folders, names in os.walk(TREE):
        folders.sort()
        here = Path(tree) / os.path.relpath(folder, TREE)
        here.mkdir(parents=True, exist_ok=True)
        used_bytes += BLOCK_BYTES
        count += 1
        for name in sorted(names):
            cost = _cost(os.path.join(folder, name))
            if cost is None:
                continue
            if used_bytes + cost > limit_bytes:
                return count
            _take(os.path.join(folder, name), here / name)
            used_bytes += cost
            count += 1
    return count


def _cost(path):
    """Bytes that the file takes in a filesystem; None for what cannot or need not be taken."""
    if os.path.islink(path):
        return 0
    if not os.path.isfile(path) or not os.access(path, os.R_OK):
        return None
    return -(-os.path.getsize(path) // BLOCK_BYTES) * BLOCK_BYTES


def _take(path, into):
    try:
        os.link(path, into, follow_symlinks=False)
    except OSError:  # another filesystem, or links to others' files are forbidden
        shutil.copy2(path, into, follow_symlinks=False)


def _make_filesystem(path, tree, size_bytes, count):
    mke2fs = shutil.which("mke2fs", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if mke2fs is None:
        raise BenchError("mke2fs is missing: install the package e2fsprogs")
    with open(path, "wb") as file:
        file.truncate(size_bytes)
    command = [mke2fs, "-q", "-F", "-t", "ext4", "-b", str(BLOCK_BYTES), "-m", "0", "-U", UUID,
               "-E", f"hash_seed={UUID}", "-N", str(count + count // 10 + 1024), "-d", tree,
               str(path)]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode != 0:
        raise BenchError(f"mke2fs failed: {made.stderr.strip()}")
