# SPDX-License-Identifier: Apache-2.0
"""Where a measurement takes place: the folders, the programs, the source and its history."""

import os
import shutil
import tempfile
from pathlib import Path

from . import images
from .errors import BenchError, say
from .hop import copy_image


class Lab:
    """Owns a folder of its own beneath the work folder; leaves only the image behind."""

    def __init__(self, work_dir, size_bytes, seed, builds, towline_args, keep):
        self.work_dir = Path(work_dir)
        self.size_bytes = size_bytes
        self.seed = seed
        self.towline_args = towline_args
        self.run_dir = None
        self.image = None
        self.source = None
        # Counts the changes written to the source; a replica that knows a lower one is behind.
        self.generation = 0
        self._changed = {}
        self._builds = builds
        self._keep = keep
        self._logs = 0

    def __enter__(self):
        self.work_dir.mkdir(parents=True, exist_ok=True)
        self.run_dir = Path(tempfile.mkdtemp(prefix="run-", dir=self.work_dir))
        return self

    def __exit__(self, *_):
        if self._keep:
            say(f"kept {self.run_dir}")
        else:
            shutil.rmtree(self.run_dir, ignore_errors=True)

    def prepare(self, file_count):
        self._require_space(file_count)
        self.image = images.ensure_image(self.work_dir, self.size_bytes)
        self.source = self.run_dir / "source.raw"
        copy_image(self, self.image, self.source)

    def _require_space(self, file_count):
        image = images.image_path(self.work_dir, self.size_bytes)
        needed = file_count * self.size_bytes + (0 if image.exists() else self.size_bytes)
        free = shutil.disk_usage(self.work_dir).free
        say(f"{self.work_dir}: needs up to {needed >> 20} MiB, {free >> 20} MiB are free")
        if free < needed:
            raise BenchError(f"not enough space in {self.work_dir}: choose another folder with "
                             "--work-dir, a smaller --size, or fewer --tools")

    def program(self, name):
        found = self.find_program(name)
        if found is None:
            raise BenchError(f"the program {name} is not in {self.builds_text()}: build it with "
                             "cmake -S . -B build && cmake --build build, or name the place with "
                             "--build DIR")
        return found

    def find_program(self, name):
        for build in self._builds:
            for place in ("bin", "", "tools", "tools/towline", "tools/bench"):
                path = Path(build) / place / name
                if path.is_file() and os.access(path, os.X_OK):
                    return path
        return None

    def builds_text(self):
        return " or ".join(str(build) for build in self._builds) or "any build*/ folder"

    def log_path(self, name):
        self._logs += 1
        return self.run_dir / f"{self._logs:04d}-{name}.log"

    def change_source(self, changes):
        self.generation += 1
        changes.write(self.source, self.generation)
        for extent in changes.extents:
            self._changed[extent] = self.generation

    def changed_since(self, generation):
        return [extent for extent, when in self._changed.items() if when > generation]
