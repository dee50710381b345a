# SPDX-License-Identifier: Apache-2.0
"""Compressed streams by hand, for tests: right ones, and ones that are wrong in a chosen place."""
import struct
import zlib

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4


def gzip(data):
    c = zlib.compressobj(wbits=31)
    return c.compress(data) + c.flush()


def xxh32(data):
    p1, p2, p3, p4, p5, mask = 2654435761, 2246822519, 3266489917, 668265263, 374761393, 0xFFFFFFFF

    def turn(x, n):
        return (x << n | x >> (32 - n)) & mask

    at, h = 0, p5
    if len(data) >= 16:
        lanes = [(p1 + p2) & mask, p2, 0, -p1 & mask]
        while at + 16 <= len(data):
            for i, word in enumerate(struct.unpack_from("<4I", data, at)):
                lanes[i] = turn((lanes[i] + word * p2) & mask, 13) * p1 & mask
            at += 16
        h = sum(turn(v, n) for v, n in zip(lanes, (1, 7, 12, 18))) & mask
    h = (h + len(data)) & mask
    while at + 4 <= len(data):
        h = turn((h + struct.unpack_from("<I", data, at)[0] * p3) & mask, 17) * p4 & mask
        at += 4
    for byte in data[at:]:
        h = turn((h + byte * p5) & mask, 11) * p1 & mask
    h = (h ^ h >> 15) * p2 & mask
    h = (h ^ h >> 13) * p3 & mask
    return h ^ h >> 16


def lz4_literals(data):
    """A compressed block of literals only."""
    n = len(data)
    head = bytes([min(n, 15) << 4])
    if n >= 15:
        head += b"\xff" * ((n - 15) // 255) + bytes([(n - 15) % 255])
    return head + data


def lz4(blocks, flags=0x60, block_size=0x40, header_checksum=None, content_size=None, block_checksum=None, content_checksum=None,
        end=b"\0\0\0\0", compress=False, magic=0x184D2204, old_checksum=False):
    """A frame. blocks: their content; flags: version 1 and independent blocks unless told otherwise. content_size, block_checksum and
    content_checksum: True for the right value, or the value that is written."""
    whole = b"".join(blocks)
    flags |= (content_size is not None) * 8 | (block_checksum is not None) * 16 | (content_checksum is not None) * 4
    head = bytes([flags, block_size])
    if content_size is not None:
        head += struct.pack("<Q", len(whole) if content_size is True else content_size)
    check = xxh32(struct.pack("<I", magic) + head if old_checksum else head) >> 8 & 255
    out = struct.pack("<I", magic) + head + bytes([check if header_checksum is None else header_checksum])
    for b in blocks:
        b = lz4_literals(b) if compress else b
        out += struct.pack("<I", len(b) | (0 if compress else 1 << 31)) + b
        if block_checksum is not None:
            out += struct.pack("<I", xxh32(b) if block_checksum is True else block_checksum)
    out += end
    if content_checksum is not None:
        out += struct.pack("<I", xxh32(whole) if content_checksum is True else content_checksum)
    return out


def snappy_block(data):
    out, n = b"", len(data)
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    out += bytes([n])
    for at in range(0, len(data), 60):
        part = data[at:at + 60]
        out += bytes([(len(part) - 1) << 2]) + part
    return out


def snappy(blocks, magic=b"\x82SNAPPY\0", version=1, compatible=1):
    """Java's frame of blocks."""
    out = magic + struct.pack(">ii", version, compatible)
    for b in blocks:
        b = snappy_block(b)
        out += struct.pack(">i", len(b)) + b
    return out


def zstd(blocks, checksum=None, window=0x58):
    """A frame of raw blocks; checksum: the value that is written."""
    out = struct.pack("<I", 0xFD2FB528) + bytes([0 if checksum is None else 4, window])
    for i, b in enumerate(blocks):
        out += (len(b) << 3 | (i == len(blocks) - 1)).to_bytes(3, "little") + b
    return out + (b"" if checksum is None else struct.pack("<I", checksum))


def zstd_skippable(data):
    return struct.pack("<II", 0x184D2A50, len(data)) + data
