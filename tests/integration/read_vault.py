#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Restores a point of a vault, with nothing of Towline's: written from docs/format-vault.md alone, with
Python's standard library and the zstd and openssl commands.

    read_vault.py VAULT NAME            lists the points
    read_vault.py VAULT NAME ID FILE [VOLUME]    writes the point's volume (the first, or the one of
                                        this name) to FILE

An encrypted vault is opened by TOWLINE_KEY_FILE or TOWLINE_PASSPHRASE_FILE.

Every check that the page describes is made. Slow: a CRC in Python is some MB/s."""

import hashlib
import hmac
import json
import struct
import subprocess
import sys
import uuid
from pathlib import Path

from read_sealed import Damaged, check, hidden_name, hkdf, unsealed, vault_key

CONFIG, LOG, INDEX, SEGMENT = 1, 2, 3, 4
RAW, DEFLATE, ZSTD, ZEROS = 0, 1, 2, 255
HEAD = struct.Struct("<8sHHI16s16sQII")
TRAILER = struct.Struct("<QQQII")
ENTRY = struct.Struct("<IBIII")  # of a segment: block (its low and high part), stored, check, crc


def make_crc_table():
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


CRC_TABLE = make_crc_table()


def crc32c(data, start=0):
    crc = ~start & 0xFFFFFFFF
    table = CRC_TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return ~crc & 0xFFFFFFFF


def block_check(plain, seed, offset):
    start = ((seed ^ offset) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) >> 32
    return crc32c(plain, start)


def encoded(name):
    plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-."
    text = ""
    for byte in name.encode():
        hidden = byte not in plain or (byte == ord(".") and not text)
        text += f"%{byte:02X}" if hidden else chr(byte)
    return text


class Object:
    """`vault` is None for the config, which says what the vault is."""

    def __init__(self, path, vault, kind, name, writer=bytes(16), number=0, generation=0):
        self.path = path
        self.data = path.read_bytes() if vault is None else vault.read(path)
        check(len(self.data) >= HEAD.size + TRAILER.size, f"{path} is too short")
        (magic, its_kind, version, its_generation, its_vault, its_writer, its_number, name_crc,
         crc) = HEAD.unpack_from(self.data)
        check(magic == b"TLVAULT1", f"{path} is no object")
        check(crc == crc32c(self.data[:60]), f"{path}: head")
        check(version == 4, f"{path}: version {version}")
        check(its_kind == kind and its_generation == generation and its_writer == writer
              and its_number == number and name_crc == (crc32c(name.encode()) if name else 0),
              f"{path} is another object")
        check(vault is None or its_vault == vault.id, f"{path} is of another vault")
        self.vault = its_vault
        length, table_at, table_bytes, table_crc, crc = TRAILER.unpack_from(
            self.data, len(self.data) - TRAILER.size)
        check(crc == crc32c(self.data[-TRAILER.size:-4]), f"{path}: trailer")
        check(length == len(self.data) and table_at + table_bytes + TRAILER.size == length
              and table_at >= HEAD.size, f"{path}: length")
        self.table = self.data[table_at:table_at + table_bytes]
        check(table_crc == crc32c(self.table), f"{path}: table")
        self.contents_end = table_at


class Vault:
    def __init__(self, folder):
        self.folder = Path(folder)
        number = max(int(each.name, 16) for each in (self.folder / "config").iterdir())
        config = Object(self.folder / "config" / f"{number:016x}", None, CONFIG, "",
                        number=number)
        self.id = config.vault
        said = json.loads(config.table)
        check(said["vault"].replace("-", "") == self.id.hex(), "the config is of another vault")
        self.shares = "dedup" in said
        self.key = vault_key(said["encryption"], self.id) if "encryption" in said else None
        drawn = uuid.UUID(said["dedup" if self.shares else "proofs"]).bytes
        purpose = b"towline vault identities 1" if self.shares else b"towline vault proofs 1"
        self.block_key = hkdf(self.key or drawn, drawn, purpose + self.id, 32)

    def identity_of(self, plain):
        return hmac.digest(self.block_key, plain, "sha256")

    def read(self, path):
        stored = path.read_bytes()
        if self.key is None:
            return stored
        stored_name = path.relative_to(self.folder).as_posix()
        return unsealed(stored, self.key, self.id, stored_name, crc32c)

    def folder_of(self, kind, name):
        stored = name if self.key is None else hidden_name(self.key, self.id, name)
        return self.folder / kind / stored


class Series:
    def __init__(self, vault, name):
        self.vault, self.name = vault, encoded(name)
        self.segments = {}
        entries = {}
        for path in vault.folder_of("log", self.name).iterdir():
            number = int(path.name, 16)
            entry = Object(path, vault, LOG, self.name, number=number)
            entries[number] = json.loads(entry.table)
        self.points = self.counting(entries)

    @staticmethod
    def counting(entries):
        """The points that count: each later begin and delete has them among its own."""
        def last(kind):
            numbers = [n for n, each in entries.items() if each["kind"] == kind]
            return max(numbers) if numbers else 0

        points = []
        for number, entry in sorted(entries.items()):
            if entry["kind"] != "point":
                continue
            begin = last("begin")
            late = number > begin > entry["begin"]
            vouched = all(number > mark or number in entries[mark]["points"]
                          for mark in (begin, last("delete")) if mark)
            if vouched and not late:
                check(root_of(entry) == entry["root"], f"the root of point {entry['id']}")
                points.append(entry)
        return points

    def index(self, ref):
        writer = bytes.fromhex(ref["writer"].replace("-", ""))
        path = self.vault.folder_of("index", self.name) / f"{writer.hex()}-{ref['serial']:08x}"
        index = Object(path, self.vault, INDEX, self.name, writer, ref["serial"])
        check(hashlib.sha256(index.table).hexdigest() == ref["sha256"], f"{path}: sha256")
        return index

    def segment(self, writer, serial):
        """Its highest generation. One is kept: blocks are asked for by their segments."""
        if (writer, serial) not in self.segments:
            name = "%pool" if self.vault.shares else self.name
            folder = self.vault.folder_of("segment", name)
            path = max(folder.glob(f"{writer.hex()}-{serial:08x}-*"))
            generation = int(path.name[-4:], 16)
            found = Object(path, self.vault, SEGMENT, name, writer, serial, generation)
            self.segments = {(writer, serial): Segment(self.vault, found, writer, serial,
                                                       generation)}
        return self.segments[writer, serial]


class Segment:
    """`blocks` are those that are stored, each as the table has it; `places` finds one by its origin."""

    def __init__(self, vault, segment, writer, serial, generation):
        self.vault, self.path, self.data = vault, segment.path, segment.data
        self.preamble = writer + struct.pack("<Q", serial) + segment.table[:60]
        table = segment.table
        count = struct.unpack_from("<I", table, 60)[0]
        origins_at = 64 + ENTRY.size * count
        marks_at = origins_at + (0 if generation == 1 else 4 * count)
        self.blocks, self.places, self.identities = [], {}, []
        at = HEAD.size
        for each in range(count):
            raw = table[64 + ENTRY.size * each:64 + ENTRY.size * (each + 1)]
            stored = ENTRY.unpack(raw)[2]
            if stored >> 24 != ZEROS:
                origin = at if generation == 1 else struct.unpack_from(
                    "<I", table, origins_at + 4 * each)[0]
                self.places[origin] = len(self.blocks)
                self.blocks.append((at, origin, raw))
                if vault.shares:
                    self.identities.append(table[marks_at + 32 * each:marks_at + 32 * each + 32])
            at += stored & 0xFFFFFF
        check(at == segment.contents_end, f"{self.path}: contents")
        marks = 32 * count if vault.shares else 16 * ((len(self.blocks) + 3) // 4)
        check(len(table) == marks_at + marks, f"{self.path}: table")
        self.proofs = [] if vault.shares else [table[at:at + 16]
                                               for at in range(marks_at, len(table), 16)]
        self.proved = set()

    def fields(self, place):
        """stored (kind and length), the plain block's check, the stored one's CRC"""
        return ENTRY.unpack(self.blocks[place][2])[2:]

    def bytes_of(self, place):
        at = self.blocks[place][0]
        return self.data[at:at + (self.fields(place)[0] & 0xFFFFFF)]

    def check_proof(self, place):
        """The group's proof; it need not hold where another block of the group is damaged."""
        group = place // 4
        if self.vault.shares or group in self.proved:
            return
        self.proved.add(group)
        text = self.preamble
        members = range(4 * group, min(4 * group + 4, len(self.blocks)))
        for each in members:
            _, origin, raw = self.blocks[each]
            text += raw + struct.pack("<I", origin) + self.bytes_of(each)
        if hmac.digest(self.vault.block_key, text, "sha256")[:16] == self.proofs[group]:
            return
        damaged = any(crc32c(self.bytes_of(each)) != self.fields(each)[2] for each in members)
        check(damaged, f"{self.path}: the proof of group {group}")


def root_of(point):
    text = f"point {point['id']} {point['sequence']} {point['digest']}\n"
    for volume in point["volumes"]:
        text += (f"volume {volume['name']} {volume['source']} {volume['bytes']} "
                 f"{volume['block_bytes']}\n")
        for index in volume["indexes"]:
            text += f"index {index['writer']} {index['serial']} {index['sha256']}\n"
    return hashlib.sha256(text.encode()).hexdigest()


def entries_of(index):
    """(block, count, (writer, serial, seed), origin, stored, check) of each entry."""
    _, page_entries, _, _, entry_count, segment_count, page_count = struct.unpack_from(
        "<IIQQQII", index.table)
    segments = [struct.unpack_from("<16sQQ", index.table, 40 + 32 * i)
                for i in range(segment_count)]
    pages_at = 40 + 32 * segment_count
    check(len(index.table) == pages_at + 20 * page_count, f"{index.path}: table")
    check(HEAD.size + 21 * entry_count == index.contents_end, f"{index.path}: contents")
    for page in range(page_count):
        begin = HEAD.size + 21 * page_entries * page
        raw = index.data[begin:min(begin + 21 * page_entries, index.contents_end)]
        crc = struct.unpack_from("<QQI", index.table, pages_at + 20 * page)[2]
        check(crc == crc32c(raw), f"{index.path}: page {page}")
        for at in range(0, len(raw), 21):
            low, high, segment, origin, stored, plain_check = struct.unpack_from(
                "<IBIIII", raw, at)
            block = low | high << 32
            if stored >> 24 == ZEROS:
                yield block, segment | origin << 32, None, 0, stored, 0
            else:
                yield block, 1, segments[segment], origin, stored, plain_check


def plain_of(stored, kind, length):
    if kind == RAW:
        return stored
    if kind == DEFLATE:
        import zlib
        return zlib.decompress(stored, -15)
    check(kind == ZSTD, f"an unknown kind {kind}")
    return subprocess.run(["zstd", "-d", "-q", "-c"], input=stored, stdout=subprocess.PIPE,
                          check=True).stdout


def restore(series, volume, out):
    size, block_bytes = volume["bytes"], volume["block_bytes"]
    blocks, zeros = {}, set()
    for ref in volume["indexes"]:  # the newest first
        for block, count, segment, *place in entries_of(series.index(ref)):
            for each in range(block, block + count):
                if each in blocks or each in zeros:
                    continue
                if segment is None:
                    zeros.add(each)
                else:
                    blocks[each] = (segment, *place)
    out.truncate(size)
    for block, (segment, origin, stored, plain_check) in sorted(
            blocks.items(), key=lambda each: (each[1][0], each[1][1])):
        offset = block * block_bytes
        if offset >= size:
            continue
        writer, serial, seed = segment
        found = series.segment(writer, serial)
        place = found.places[origin]
        its_stored, its_check, stored_crc = found.fields(place)
        check(its_stored == stored, f"block {block} is another")
        # One that is shared was stored for another place, and has that place's check.
        check(series.vault.shares or its_check == plain_check, f"block {block} is another")
        raw = found.bytes_of(place)
        check(crc32c(raw) == stored_crc, f"the stored block {block}")
        found.check_proof(place)
        length = min(block_bytes, size - offset)
        plain = plain_of(raw, stored >> 24, length)
        check(len(plain) == length, f"the length of block {block}")
        check(block_check(plain, seed, offset) == plain_check, f"the CRC of block {block}")
        identity = found.identities[place] if series.vault.shares else b""
        if any(identity):
            check(identity == series.vault.identity_of(plain), f"the identity of block {block}")
        out.seek(offset)
        out.write(plain)


def check_facts(volume, out):
    """The facts of a point against the bytes that were restored: tables, and some filesystems."""
    facts = volume.get("facts", {})

    def bytes_at(offset, text):
        out.seek(offset)
        return out.read(len(text)) == text

    def check_filesystem(its, start):
        kind = its.get("type", "")
        signs = {"ext4": (1080, b"\x53\xef"), "xfs": (0, b"XFSB"), "btrfs": (65600, b"_BHRfS_M")}
        if kind in signs:
            check(bytes_at(start + signs[kind][0], signs[kind][1]), f"there is no {kind} at {start}")

    check_filesystem(facts.get("filesystem", {}), 0)
    if facts.get("table") == "gpt":
        check(bytes_at(facts["sector_bytes"], b"EFI PART"), "there is no GPT")
    if facts.get("table") == "dos":
        check(bytes_at(510, b"\x55\xaa"), "there is no MBR")
    for each in facts.get("partitions", []):
        check(each["start"] + each["bytes"] <= volume["bytes"], f"partition {each['number']}")
        check_filesystem(each.get("filesystem", {}), each["start"])


def main():
    if len(sys.argv) not in (3, 5, 6):
        sys.exit(__doc__)
    series = Series(Vault(sys.argv[1]), sys.argv[2])
    if len(sys.argv) == 3:
        for point in series.points:
            print(point["id"], point["sequence"], point["created_at"])
        return
    found = [each for each in series.points if each["id"].startswith(sys.argv[3])]
    check(len(found) == 1, f"{len(found)} points of that id")
    volumes = [each for each in found[0]["volumes"] if each["name"] in sys.argv[5:6]]
    check(volumes or len(sys.argv) == 5, "the point has no such volume")
    volume = (volumes or found[0]["volumes"])[0]
    with open(sys.argv[4], "w+b") as out:
        restore(series, volume, out)
        check_facts(volume, out)


if __name__ == "__main__":
    try:
        main()
    except Damaged as what:
        sys.exit(f"damaged: {what}")
