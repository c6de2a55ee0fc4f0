# SPDX-License-Identifier: Apache-2.0
"""What keeps the history of one image: a vault, its peers, and our own device target beside them.

A store is made anew for every first backup, and kept over the increments. Only first(), increment()
and restore() are measured; each returns what the command cost.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

from . import files
from .errors import BenchError
from .process import run_command

FIRST, RESTORE, SCRUB = "first", "restore", "scrub"
INCREMENTS = ("inc-1-random", "inc-10-random")


def tree_bytes(root):
    """What the files beneath a folder take on the disk."""
    return sum(files.allocated_bytes(path) for path in _files(root))


def forget_tree(root):
    for path in _files(root):
        files.forget(path)


def _files(root):
    root = Path(root)
    return [root] if root.is_file() else [path for path in root.rglob("*") if path.is_file()]


class Store:
    name = ""
    needs = {}
    works = (FIRST, *INCREMENTS)

    def __init__(self, lab):
        self.lab = lab
        self.root = lab.run_dir / self.name
        self._generation = None

    def require_programs(self):
        for program, package in self.needs.items():
            if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None:
                raise BenchError(f"{self.name} needs the program {program}: install the package "
                                 f"{package} (tools/setup bench), or leave it out with --tools")

    def run(self, *words):
        return run_command(self.lab, words)

    def renew(self):
        """An empty store in place of what there was."""
        self.remove()
        self.make()
        self._generation = None

    def catch_up(self):
        """Before the increments: the store holds the source as it is."""
        if self._generation is None:
            self.renew()
            self.first()
        elif self._generation != self.lab.generation:
            self.scan()
        self._generation = self.lab.generation

    def has_increment(self):
        self._generation = self.lab.generation

    def make(self):
        self.root.mkdir()

    def remove(self):
        if self.root.is_dir():
            shutil.rmtree(self.root)
        else:
            files.remove(self.root)

    def stored_bytes(self):
        return tree_bytes(self.root)

    def first(self):
        raise NotImplementedError

    def increment(self, list_path):
        return self.scan()

    def scan(self):
        return self.first()

    def end(self):
        """Takes away what outlives the folders."""


class TowlineStore(Store):
    """`towline sync` to this host. The words that choose the compression are the same for all."""
    works = (FIRST, *INCREMENTS)
    words = ()

    def __init__(self, lab):
        super().__init__(lab)
        self.state_dir = lab.run_dir / f"{self.name}-state"
        self.report = None

    def require_programs(self):
        self.lab.program("towline")

    def towline(self, *words):
        return self.run(self.lab.program("towline"), *words)

    def target(self):
        raise NotImplementedError

    def remove(self):
        super().remove()
        shutil.rmtree(self.state_dir, ignore_errors=True)

    def sync(self, *words):
        cost = self.towline("sync", self.lab.source, self.target(), "--state-dir", self.state_dir,
                            "--json", *self.lab.towline_args, *self.words, *words)
        self.report = json.loads(cost.output)
        return cost

    def first(self):
        return self.sync("--full")

    def scan(self):
        return self.sync("--scan")

    def increment(self, list_path):
        return self.sync("--extents", list_path)


class Vault(TowlineStore):
    name = "vault"
    works = (FIRST, *INCREMENTS, RESTORE, SCRUB)

    def make(self):
        self.towline("vault", "init", self.root, "--quiet")

    def target(self):
        return f"vault:{self.root}/data"

    def objects(self):
        """Bytes of each object of the name."""
        return {path.relative_to(self.root): path.stat().st_size
                for kind in ("index", "segment", "log")
                for path in (self.root / kind).rglob("*") if path.is_file()}

    def points(self):
        listing = self.towline("point", "list", self.target(), "--json", *self.words).output
        return json.loads(listing)["points"]

    def restore(self, target):
        return self.towline("restore", f"{self.target()}@latest", target, "--state-dir",
                            self.lab.run_dir / "restore-state", "--quiet", *self.words)

    def scrub(self):
        return self.towline("vault", "scrub", self.root, "--quiet", "--state-dir", self.state_dir,
                            *self.words)


class SealedVault(Vault):
    name = "vault-aes"

    def __init__(self, lab):
        super().__init__(lab)
        self._key = lab.run_dir / "vault.key"
        self.words = ("--key-file", self._key)

    def make(self):
        self._key.write_bytes(os.urandom(32))
        self._key.chmod(0o600)
        self.towline("vault", "init", self.root, "--quiet", "--encrypt", *self.words)


class Device(TowlineStore):
    """An image that is kept as the source is; each run is staged beside it, then applied."""
    name = "device"
    works = INCREMENTS

    def make(self):
        pass  # made by the first run

    def target(self):
        return self.root


class DirectDevice(Device):
    name = "device-direct"
    words = ("--direct",)


class Restic(Store):
    name = "restic"
    needs = {"restic": "restic"}
    works = (FIRST, *INCREMENTS, RESTORE, SCRUB)

    def _restic(self, *words):
        return self.run("env", "RESTIC_PASSWORD=towline", "restic", "--quiet", "--repo", self.root,
                        "--cache-dir", self.lab.run_dir / "restic-cache", *words)

    def make(self):
        self._restic("init", "--repository-version", "2")

    def first(self):
        return self._restic("backup", self.lab.source)

    def restore(self, target):
        target.parent.mkdir(exist_ok=True)
        cost = self._restic("restore", "latest", "--target", target.parent)
        (target.parent / self.lab.source.relative_to("/")).rename(target)
        return cost

    def scrub(self):
        return self._restic("check", "--read-data")


class Borg(Store):
    name = "borg"
    needs = {"borg": "borgbackup"}
    works = (FIRST, *INCREMENTS, RESTORE, SCRUB)

    def __init__(self, lab):
        super().__init__(lab)
        self._archives = 0

    def _borg(self, *words, folder="/"):
        base = self.lab.run_dir / "borg-base"
        return self.run("env", "-C", folder, f"BORG_BASE_DIR={base}", "borg", *words)

    def make(self):
        # As the vault beside it: not encrypted. Its compression is its default, lz4.
        self._borg("init", "--encryption", "none", self.root)

    def first(self):
        self._archives += 1
        return self._borg("create", f"{self.root}::{self._archives}", self.lab.source)

    def restore(self, target):
        target.parent.mkdir(exist_ok=True)
        cost = self._borg("extract", f"{self.root}::{self._archives}", folder=target.parent)
        (target.parent / self.lab.source.relative_to("/")).rename(target)
        return cost

    def scrub(self):
        return self._borg("check", "--verify-data", self.root)


class Qcow2(Store):
    """A plain engine: one compressed image, without history, checks or increments."""
    name = "qcow2"
    needs = {"qemu-img": "qemu-utils"}
    works = (FIRST,)

    def make(self):
        pass

    def first(self):
        return self.run("qemu-img", "convert", "-t", "none", "-T", "none", "-c", "-o",
                        "compression_type=zstd", "-W", "-O", "qcow2", self.lab.source, self.root)


class Reflink(Store):
    """A plain engine: a copy in the same xfs, which shares every block with the source and is lost
    with it. What the image is copied into xfs with before is not measured."""
    name = "reflink"
    needs = {"mkfs.xfs": "xfsprogs"}
    works = (FIRST,)

    def __init__(self, lab):
        super().__init__(lab)
        self._disk = lab.run_dir / "reflink.disk"
        self._mounted = False

    def require_programs(self):
        super().require_programs()
        if os.geteuid() != 0:
            raise BenchError("reflink mounts an xfs of its own: run it as root, or leave it out "
                             "with --tools")

    def make(self):
        self.root.mkdir(exist_ok=True)
        if not self._mounted:
            files.make_sparse(self._disk, self.lab.size_bytes + (1 << 30))
            subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", self._disk], check=True)
            subprocess.run(["mount", "-o", "loop", self._disk, self.root], check=True)
            self._mounted = True
            subprocess.run(["cp", "--sparse=always", self.lab.source, self.root / "source"],
                           check=True)
        files.flush(self.root / "source")

    def remove(self):
        files.remove(self.root / "copy")

    def first(self):
        return self.run("cp", "--reflink=always", self.root / "source", self.root / "copy")

    def stored_bytes(self):
        return 0

    def end(self):
        if self._mounted:
            subprocess.run(["umount", self.root], check=True)
        self._mounted = False


STORES = {store.name: store for store in (Vault, SealedVault, Restic, Borg, Device, DirectDevice,
                                          Qcow2, Reflink)}
