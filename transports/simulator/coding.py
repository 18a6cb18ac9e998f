"""Content codings, for a server that sends piece by piece."""

from __future__ import annotations

import zlib
from typing import Protocol

import brotli
import zstandard


class Compressor(Protocol):
    """Codes a body. What went in can be read from what came out, at any time."""

    def compress(self, data: bytes) -> bytes:
        """Code a piece."""
        ...

    def finish(self) -> bytes:
        """The end."""
        ...


class _Identity:
    def compress(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class _Gzip:
    def __init__(self) -> None:
        self._object = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)

    def compress(self, data: bytes) -> bytes:
        return self._object.compress(data) + self._object.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._object.flush()


class _Brotli:
    def __init__(self) -> None:
        self._object = brotli.Compressor(quality=1)

    def compress(self, data: bytes) -> bytes:
        return bytes(self._object.process(data) + self._object.flush())

    def finish(self) -> bytes:
        return bytes(self._object.finish())


class _Zstd:
    def __init__(self) -> None:
        self._object = zstandard.ZstdCompressor().compressobj()

    def compress(self, data: bytes) -> bytes:
        return self._object.compress(data) + self._object.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def finish(self) -> bytes:
        return self._object.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)


_COMPRESSORS: dict[str, type[_Identity | _Gzip | _Brotli | _Zstd]] = {
    "identity": _Identity,
    "gzip": _Gzip,
    "br": _Brotli,
    "zstd": _Zstd,
}
CODINGS = tuple(_COMPRESSORS)


def build_compressor(coding: str) -> Compressor:
    """The compressor of one of `CODINGS`."""
    return _COMPRESSORS[coding]()
