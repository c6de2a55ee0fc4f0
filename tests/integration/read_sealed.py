# SPDX-License-Identifier: Apache-2.0
"""The encryption of docs/format-vault.md for read_vault.py, with Python's standard library and the openssl
command: AES by `openssl enc`, the rest of GCM here. No key is in a command line but one that openssl
has no other way to be given, and that is of one object."""

import base64
import hashlib
import hmac
import os
import struct
import subprocess

SEALED_HEAD = struct.Struct("<8sHHI16s24sII")
CHUNK, CHUNK_END = 1 << 14, 20


class Damaged(Exception):
    pass


def check(holds, what):
    if not holds:
        raise Damaged(what)


def hkdf(key, salt, info, count):
    """RFC 5869 with SHA-256."""
    pseudorandom = hmac.digest(salt or bytes(32), key, "sha256")
    block, out = b"", b""
    while len(out) < count:
        block = hmac.digest(pseudorandom, block + info + bytes([len(out) // 32 + 1]), "sha256")
        out += block
    return out[:count]


class Gcm:
    """AES-256-GCM under one key. Both lists of blocks are encrypted at once: openssl is started once."""

    def __init__(self, key, nonces_and_blocks):
        counters = [bytes(16)]
        for nonce, blocks in nonces_and_blocks:
            counters += [nonce + struct.pack(">I", each) for each in range(1, blocks + 2)]
        self.stream = subprocess.run(
            ["openssl", "enc", "-aes-256-ecb", "-nopad", "-K", key.hex()], input=b"".join(counters),
            stdout=subprocess.PIPE, check=True).stdout
        self.at = 16
        self.tables = self.make_tables(int.from_bytes(self.stream[:16], "big"))

    @staticmethod
    def make_tables(h):
        """What each byte of a block is multiplied to, by its place."""
        powers = []
        for _ in range(128):
            powers.append(h)
            h = h >> 1 ^ (0xE1 << 120 if h & 1 else 0)
        tables = []
        for place in range(16):
            table = [0] * 256
            for bit in range(8):
                table[0x80 >> bit] = powers[8 * place + bit]
            for byte in range(256):
                low = byte & -byte
                table[byte] = table[low] ^ table[byte ^ low] if byte else 0
            tables.append(table)
        return tables

    def ghash(self, associated, sealed):
        tables, y = self.tables, 0
        padded = b"".join(each + bytes(-len(each) % 16) for each in (associated, sealed))
        padded += struct.pack(">QQ", 8 * len(associated), 8 * len(sealed))
        for at in range(0, len(padded), 16):
            y ^= int.from_bytes(padded[at:at + 16], "big")
            product = 0
            for table, byte in zip(tables, y.to_bytes(16, "big")):
                product ^= table[byte]
            y = product
        return y

    def open_next(self, associated, sealed, tag, what):
        """In the order of the constructor's list."""
        mask = int.from_bytes(self.stream[self.at:self.at + 16], "big")
        blocks = (len(sealed) + 15) // 16
        stream = self.stream[self.at + 16:self.at + 16 + len(sealed)]
        self.at += 16 * (blocks + 1)
        check(self.ghash(associated, sealed) ^ mask == int.from_bytes(tag, "big"), f"{what}: tag")
        plain = int.from_bytes(sealed, "big") ^ int.from_bytes(stream, "big")
        return plain.to_bytes(len(sealed), "big")


def unwrap(wrap, by, vault):
    salt, nonce, wrapped = (bytes.fromhex(wrap[each]) for each in ("salt", "nonce", "wrapped"))
    if wrap["kind"] == "passphrase":
        n, r, p = 1 << wrap["scrypt_log2_n"], wrap["scrypt_r"], wrap["scrypt_p"]
        key = hashlib.scrypt(by, salt=salt, n=n, r=r, p=p, maxmem=129 * n * r * p, dklen=32)
    else:
        key = hkdf(by, salt, b"towline vault key file 1", 32)
    try:
        return Gcm(key, [(nonce, 2)]).open_next(b"towline vault key 1" + vault, wrapped[:32],
                                                wrapped[32:], "a wrap")
    except Damaged:
        return None


def vault_key(encryption, vault):
    check(encryption["cipher"] == "aes-256-gcm-16k", "the cipher")
    for kind, variable in (("key-file", "TOWLINE_KEY_FILE"),
                           ("passphrase", "TOWLINE_PASSPHRASE_FILE")):
        if variable not in os.environ:
            continue
        with open(os.environ[variable], "rb") as file:
            by = file.read()
        if kind == "passphrase":
            by = by.split(b"\n")[0]
        for wrap in encryption["keys"]:
            key = unwrap(wrap, by, vault) if wrap["kind"] == kind else None
            if key:
                return key
    raise Damaged("nothing that was given opens the vault")


def hidden_name(key, vault, name):
    keys = hkdf(key, b"", b"towline vault names 1" + vault, 64)
    text = name.encode() + bytes(-len(name.encode()) % 24)
    tag = hmac.digest(keys[:32], text, "sha256")[:16]
    stream = b"".join(hmac.digest(keys[32:], tag + bytes([each]), "sha256") for each in range(4))
    mixed = bytes(a ^ b for a, b in zip(text, stream))
    return base64.b32encode(tag + mixed).decode().lower().rstrip("=")


def unsealed(stored, key, vault, stored_name, crc32c):
    check(len(stored) > SEALED_HEAD.size, f"{stored_name} is too short")
    head = stored[:SEALED_HEAD.size]
    magic, version, chunk_log2, zero, its_vault, salt, name_crc, crc = SEALED_HEAD.unpack(head)
    check(magic == b"TLSEAL01" and version == 1 and chunk_log2 == 14 and zero == 0,
          f"{stored_name} is no sealed object")
    check(crc == crc32c(head[:-4]) and its_vault == vault
          and name_crc == crc32c(stored_name.encode()), f"{stored_name}: sealed head")
    body = stored[SEALED_HEAD.size:]
    chunks = [body[at:at + CHUNK + CHUNK_END] for at in range(0, len(body), CHUNK + CHUNK_END)]
    check(len(chunks[-1]) > CHUNK_END, f"{stored_name}: length")
    nonces = [(struct.pack("<QI", number, (number == len(chunks) - 1) << 24),
               (len(each) - CHUNK_END + 15) // 16) for number, each in enumerate(chunks)]
    object_key = hkdf(key, salt, b"towline vault object 1" + vault + stored_name.encode(), 32)
    gcm = Gcm(object_key, nonces)
    plain = []
    for number, each in enumerate(chunks):
        check(crc32c(each[:-4]) == int.from_bytes(each[-4:], "little"),
              f"{stored_name}: chunk {number}")
        plain.append(gcm.open_next(head, each[:-CHUNK_END], each[-CHUNK_END:-4],
                                   f"{stored_name}: chunk {number}"))
    return b"".join(plain)
