# SPDX-License-Identifier: Apache-2.0
"""Stands between a source and a server and does to the bytes what a bad link does: cuts them at a
byte, changes one, holds them back, or swallows a frame and all after it."""

import socket
import threading

from . import wire

UP, DOWN = "up", "down"  # from the source, to the source
PIECE_BYTES = 65536


class Proxy:
    """`harm(direction, at, data)` gets each piece with its place in the direction's stream, and
    gives back what is passed on."""

    def __init__(self, port, harm=None):
        self._port = port
        self._harm = harm or (lambda direction, at, data: data)
        self.recorded = {UP: bytearray(), DOWN: bytearray()}
        self._open = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def url(self, name):
        return f"tcp://127.0.0.1:{self.port}/{name}"

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open += [client, server]
            for direction, ends in ((UP, (client, server)), (DOWN, (server, client))):
                threading.Thread(target=self._pump, args=(direction, *ends), daemon=True).start()

    def _pump(self, direction, taken, given):
        at = 0
        try:
            while data := taken.recv(PIECE_BYTES):
                self.recorded[direction] += data
                passed = self._harm(direction, at, data)
                at += len(data)
                given.sendall(passed)
                if isinstance(passed, Last):
                    break
        except OSError:
            pass
        for end in (taken, given):
            shut(end)

    def close(self):
        shut(self._listener)
        self._listener.close()
        with self._lock:
            for end in self._open:
                shut(end)
                end.close()
        self._thread.join(timeout=5)


def shut(end):
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


class Last(bytes):
    """The last bytes of a direction: both connections are closed behind them."""


def cut_after(where, byte):
    """Passes exactly `byte` bytes of the direction, then closes both sides."""
    def harm(direction, at, data):
        if direction != where or at + len(data) < byte:
            return data
        return Last(data[:byte - at])
    return harm


def flip_at(where, byte, mask=0x40):
    """Changes one byte of the direction."""
    def harm(direction, at, data):
        if direction != where or not at <= byte < at + len(data):
            return data
        piece = bytearray(data)
        piece[byte - at] ^= mask
        return bytes(piece)
    return harm


def stop_before(kind):
    """The server's first frame of this kind, and all behind it, never arrives."""
    stream = bytearray()
    passed = 0

    def harm(direction, at, data):
        nonlocal passed
        if direction == UP:
            return data
        stream.extend(data)
        begin = end = passed
        for start, header in wire.frames(stream):
            if header.kind == kind:
                return Last(stream[begin:start])
            end = start + header.frame_bytes
        passed = end
        return bytes(stream[begin:end])
    return harm


def rewritten(kind, change):
    """The server's frames of this kind arrive with another head: what `change` makes of it. Frames of
    others keep their place; each connection counts for itself."""
    of_thread = threading.local()  # each direction of a connection has its own

    def harm(direction, at, data):
        if direction == UP:
            return data
        if at == 0:
            of_thread.rest = bytearray()
        rest = of_thread.rest
        rest.extend(data)
        passed = bytearray()
        for start, header in list(wire.frames(rest)):
            whole = bytes(rest[start:start + header.frame_bytes])
            if header.kind == kind:
                head = whole[wire.HEADER_BYTES:wire.HEADER_BYTES + header.head_bytes]
                whole = wire.frame(kind, change(head), sequence=header.sequence, run=header.run,
                                   flags=header.flags)
            passed += whole
        done = sum(header.frame_bytes for _, header in wire.frames(rest))
        del rest[:done]
        return bytes(passed)
    return harm


def silent_after(where, byte):
    """Nothing of the direction gets through behind that byte; the connection stays open."""
    def harm(direction, at, data):
        return data if direction != where else data[:max(0, byte - at)]
    return harm
