# SPDX-License-Identifier: Apache-2.0
"""What the floor program does: a hop, which is the measured floor and the quickest way to make a
replica, and comparing two images."""

from . import files
from .errors import BenchError
from .process import Launched, free_port, run_command


def floor_hop(lab, listing, source, target):
    """Brings what `listing` names (a file, or --full) over; the costs of sender and server."""
    floor, port = lab.program("floor"), free_port()
    server = Launched(lab, [floor, "serve", port, target])
    sender = None
    try:
        server.first_line()
        sender = Launched(lab, [floor, "send", listing, source, port])
        return sender.wait(), server.wait()
    finally:
        server.abandon()
        if sender:
            sender.abandon()


def copy_image(lab, source, target):
    files.make_sparse(target, lab.size_bytes)
    floor_hop(lab, "--full", source, target)


def require_equal(lab, target, who):
    try:
        run_command(lab, [lab.program("floor"), "equal", lab.source, target])
    except BenchError as failure:
        raise BenchError(f"{who} left a target that differs from the source\n{failure}") from failure
