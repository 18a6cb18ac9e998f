"""Real pictures, each another colour."""

from __future__ import annotations

import struct
import zlib

_SIZE = 8


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def draw_png(number: int) -> bytes:
    """A small square PNG whose colour depends on `number`."""
    colour = bytes(((number * 37) % 256, (number * 101) % 256, (number * 59) % 256))
    rows = (b"\0" + colour * _SIZE) * _SIZE
    header = struct.pack(">IIBBBBB", _SIZE, _SIZE, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(rows))
        + _chunk(b"IEND", b"")
    )
