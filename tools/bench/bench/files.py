# SPDX-License-Identifier: Apache-2.0
"""What is done to the images around the measured runs: copying, emptying the cache, comparing."""

import errno
import os
import time

COPY_BYTES = 4 << 20


def make_sparse(path, size_bytes):
    remove(path)
    with open(path, "wb") as file:
        file.truncate(size_bytes)
        os.fsync(file.fileno())


def remove(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def copy_extents(source, target, extents):
    """Brings some ranges of one image to another, outside of anything measured."""
    with open(source, "rb") as reader, open(target, "r+b") as writer:
        for offset, length in extents:
            for at in range(offset, offset + length, COPY_BYTES):
                piece = min(COPY_BYTES, offset + length - at)
                os.pwrite(writer.fileno(), os.pread(reader.fileno(), piece, at), at)
        os.fsync(writer.fileno())


def flush(path):
    """Waits until the file is durable; returns (wall, CPU) seconds that this took."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        wall, cpu = time.perf_counter(), time.thread_time()
        os.fsync(descriptor)
        return time.perf_counter() - wall, time.thread_time() - cpu
    finally:
        os.close(descriptor)


def forget(path):
    """Takes the file out of the page cache. Only the images: dropping everything would also evict
    the programs, and a command that must first be read from disk would pay for that."""
    flush(path)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def data_extents(path):
    """Where the file has data, as (offset, length)."""
    found = []
    descriptor = os.open(path, os.O_RDONLY)
    try:
        at = 0
        while True:
            try:
                data = os.lseek(descriptor, at, os.SEEK_DATA)
            except OSError as failure:
                if failure.errno == errno.ENXIO:
                    return found
                raise
            at = os.lseek(descriptor, data, os.SEEK_HOLE)
            found.append((data, at - data))
    finally:
        os.close(descriptor)


def allocated_bytes(path):
    return os.stat(path).st_blocks * 512
