# SPDX-License-Identifier: Apache-2.0
"""A source and its replica, and what a user sees of them after something happened to either."""

from .lab import MIB, equal, lines


class Pair:
    """A source with a replica at a server, brought up to date once by a list."""

    def __init__(self, lab, size_bytes=2 * MIB):
        self.lab = lab
        self.source = lab.image("source", size_bytes)
        self.server = lab.server()
        self.url = self.server.url("replica")
        self.replica = lab.root / "replica"
        lab.sync(self.source, self.url)
        self.list_again()

    def list_again(self):
        changes = self.lab.change(self.source, 3)
        report = self.lab.extents(self.source, self.url, changes)
        assert report["cause"] == "change-list", report
        equal(self.source, self.replica)

    def list_refused(self, says, remedy="without --extents"):
        """Nothing is changed by it, and it says what to do."""
        changes = self.lab.change(self.source, 1)
        before = self.replica.read_bytes() if self.replica.exists() else None
        outcome = self.lab.try_sync(self.source, self.url, "--extents", "-",
                                    stdin=lines(changes))
        assert outcome.exit == 3, outcome
        assert says in outcome.err and remedy in outcome.err, outcome
        assert (self.replica.read_bytes() if self.replica.exists() else None) == before

    def compare(self, cause, *words):
        report = self.lab.sync(self.source, self.url, *words)
        assert report["cause"] == cause, report
        equal(self.source, self.replica)
        self.list_again()
