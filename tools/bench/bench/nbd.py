# SPDX-License-Identifier: Apache-2.0
"""The least NBD client that can write to an export, on a Unix socket.

Needed for one thing: QEMU's bitmap only learns of writes that pass through QEMU.
"""

import socket
import struct

from .errors import BenchError

OPTION_EXPORT_NAME = 1
FLAG_FIXED_NEWSTYLE_NO_ZEROES = 3
REQUEST_MAGIC = 0x25609513
REPLY_MAGIC = 0x67446698
COMMAND_WRITE, COMMAND_DISCONNECT, COMMAND_FLUSH = 1, 2, 3
IN_FLIGHT_MAX = 16
WRITE_BYTES_MAX = 1 << 20


class NbdWriter:
    def __init__(self, path, export):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._in_flight = 0
        self._handshake(export.encode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def _handshake(self, export):
        self._read(18)  # both magics and the server's flags
        self._socket.sendall(struct.pack(">I", FLAG_FIXED_NEWSTYLE_NO_ZEROES))
        self._socket.sendall(struct.pack(">QII", 0x49484156454F5054, OPTION_EXPORT_NAME,
                                         len(export)) + export)
        self._read(10)  # size and transmission flags

    def write(self, offset, data):
        for at in range(0, len(data), WRITE_BYTES_MAX):
            piece = data[at:at + WRITE_BYTES_MAX]
            if self._in_flight == IN_FLIGHT_MAX:
                self._take_reply()
            self._request(COMMAND_WRITE, offset + at, len(piece))
            self._socket.sendall(piece)

    def finish(self):
        while self._in_flight:
            self._take_reply()
        self._request(COMMAND_FLUSH, 0, 0)
        self._take_reply()
        self._request(COMMAND_DISCONNECT, 0, 0)

    def _request(self, command, offset, length):
        self._socket.sendall(struct.pack(">IHHQQI", REQUEST_MAGIC, 0, command, 0, offset, length))
        self._in_flight += 1

    def _take_reply(self):
        magic, error, _ = struct.unpack(">IIQ", self._read(16))
        if magic != REPLY_MAGIC or error:
            raise BenchError(f"the NBD export refused a write (error {error})")
        self._in_flight -= 1

    def _read(self, count):
        data = b""
        while len(data) < count:
            piece = self._socket.recv(count - len(data))
            if not piece:
                raise BenchError("the NBD export closed the connection")
            data += piece
        return data
