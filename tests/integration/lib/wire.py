# SPDX-License-Identifier: Apache-2.0
"""The wire as docs/format-wire.md has it, written down a second time: frames and the few messages
that a made-up peer needs. CRCs are computed here, so that a test can send what is wrong on
purpose and right otherwise."""

import struct
import uuid

MAGIC = 0x31574C54
HEADER_BYTES = 40
HELLO, OPEN, OPENED, BEGIN, BEGUN, RANGES, DIGESTS, DATA, ZERO, ACK, END, SEALED, ERROR, PING, \
    JOINED, VOLUMES, MOMENT, VERIFY, PROBE, PROBED, PROBE_DISK, DISK_PROBED = range(1, 23)
FULL, EXTENTS, SCAN = 1, 2, 3
SEED_BYTES = 32


def _table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def frame(kind, head=b"", payload=b"", sequence=0, run=0, flags=0, magic=MAGIC):
    raw = struct.pack("<IHHQQIII", magic, kind, flags, run, sequence, len(head), len(payload),
                      crc32c(head))
    return raw + struct.pack("<I", crc32c(raw)) + head + payload


class Header:
    def __init__(self, raw):
        (self.magic, self.kind, self.flags, self.run, self.sequence, self.head_bytes,
         self.payload_bytes, _) = struct.unpack("<IHHQQIII", raw[:36])
        self.frame_bytes = HEADER_BYTES + self.head_bytes + self.payload_bytes


def frames(stream):
    """(start, header) of every whole frame of a recorded direction."""
    at = 0
    while len(stream) - at >= HEADER_BYTES:
        header = Header(stream[at:at + HEADER_BYTES])
        if header.magic != MAGIC or len(stream) - at < header.frame_bytes:
            return
        yield at, header
        at += header.frame_bytes


def text(value):
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<H", len(raw)) + raw


def hello(version_min=1, version_max=1, capabilities=3, token=bytes(16)):
    return struct.pack("<HHQ", version_min, version_max, capabilities) + token


def standing(*above):
    """Of an unnamed host: elements that are told apart by what stands on them alone."""
    return struct.pack("<QQBI", 0, 0, True, len(above)) + b"".join(
        struct.pack("<QQQQIB", 0, 0, 0, 1, each, False) for each in above)


def open_message(name, source, source_bytes, dry_run=False, stands_on=standing()):
    return text(name) + source + struct.pack("<QB", source_bytes, dry_run) + stands_on


def base(source=bytes(16), tracker=bytes(16), sequence=0, point=bytes(16)):
    return source + tracker + struct.pack("<Q", sequence) + point


def begin(source, run, mode=FULL, block_bytes=65536, resume=False, overwrite=False, verify=False,
          dry_run=False, compare_listed=False, direct=False, state=0, expected=None,
          following=None):
    return (run + struct.pack("<H6BI", mode, resume, overwrite, verify, dry_run, compare_listed,
                              direct, block_bytes)
            + struct.pack("<QQH", 0, 0, state) + (expected or base())
            + (following or base(source, sequence=1, point=uuid.uuid4().bytes)) + bytes(SEED_BYTES))


def table(*extents, block_bytes=65536):
    """The begin of Data's head: extents of (offset, count of blocks); an entry a block follows."""
    return struct.pack("<IHH", block_bytes, len(extents), 0) + b"".join(
        struct.pack("<QI", *extent) for extent in extents)


def error(code, message, errno=0, flush_failed=False):
    return struct.pack("<HIB", code, errno, flush_failed) + text(message)


class Talk:
    """One connection of a made-up peer: counts its frames, reads the other's."""

    def __init__(self, sock):
        self.sock = sock
        self.sequence = 0
        self.run = 0

    def send(self, kind, head=b"", payload=b"", **words):
        words.setdefault("sequence", self.sequence)
        words.setdefault("run", self.run)
        self.sequence += 1
        self.sock.sendall(frame(kind, head, payload, **words))

    def _take(self, size):
        got = b""
        while len(got) < size:
            piece = self.sock.recv(size - len(got))
            if not piece:
                return None
            got += piece
        return got

    def receive(self, skip_pings=True):
        """(kind, head), or None when the other side closed."""
        while True:
            raw = self._take(HEADER_BYTES)
            if raw is None:
                return None
            header = Header(raw)
            head = self._take(header.head_bytes)
            if head is None or self._take(header.payload_bytes) is None:
                return None
            if header.kind != PING or not skip_pings:
                return header.kind, head
