# SPDX-License-Identifier: Apache-2.0
"""One hop of the floor program: the measured floor, and the quickest way to make a replica."""

from . import files
from .process import Launched, free_port


def floor_hop(lab, listing, source, target):
    """Brings what `listing` names (a file, or --full) over; the costs of the sender and the server."""
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
