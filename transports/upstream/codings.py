"""Undoing content codings piece by piece, a bounded amount at a time.

A few kilobytes can unpack to gigabytes. Every decoder here gives its output in pieces of at most
about `MAX_PIECE`, so that whoever reads them can stop.

gzip and zstd may come in several parts, one behind the other (RFC 1952 2.2, RFC 8878 3). What else
follows the end of a coded body is a fault: what comes there may be a part of the answer, and half
of one must not pass for the whole.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

import brotli
import zstandard

MAX_PIECE = 256 * 1024
"""Bytes in one piece of output, as far as the coding lets us say."""

_ZSTD_SLICE = 64
"""Bytes of input given to zstd at once. It takes no limit for its output; a block of zeros unpacks
to 128 KiB from as little as 4 bytes, so this makes 2 MiB of it at the worst."""
_ZSTD_WINDOW = 8 * 1024 * 1024
"""What decoders must support, by RFC 8878."""


class CodingError(Exception):
    """The body is not what its content coding says."""


class Decoder(Protocol):
    """Undoes one content coding."""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Take more of the coded body; give what it unpacks to, in pieces.

        Raises:
            CodingError: It is not coded so.
        """
        ...

    def finish(self) -> None:
        """The coded body is over.

        Raises:
            CodingError: Its end is missing.
        """
        ...


class IdentityDecoder:
    """No coding."""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """See `Decoder.decode`."""
        yield data

    def finish(self) -> None:
        """See `Decoder.finish`."""


class _ZlibDecoder:
    def __init__(self, window: int, *, in_members: bool) -> None:
        self._window = window
        self._in_members = in_members
        self._decompress = zlib.decompressobj(window)
        self._begun = False

    def decode(self, data: bytes) -> Iterator[bytes]:
        self._begun = True
        while data:
            if self._decompress.eof:
                self._begin_member()
            try:
                piece = self._decompress.decompress(data, MAX_PIECE)
            except zlib.error as exc:
                raise CodingError(str(exc)) from exc
            data = self._decompress.unconsumed_tail or self._decompress.unused_data
            if piece:
                yield piece

    def _begin_member(self) -> None:
        if not self._in_members:
            raise CodingError("something follows the end of the compressed body")
        self._decompress = zlib.decompressobj(self._window)

    def finish(self) -> None:
        if self._begun and not self._decompress.eof:
            raise CodingError("the compressed body has no end")


class _BrotliDecoder:
    def __init__(self) -> None:
        self._decompress = brotli.Decompressor()
        self._begun = False

    def decode(self, data: bytes) -> Iterator[bytes]:
        self._begun = True
        while True:
            try:
                piece = self._decompress.process(data, output_buffer_limit=MAX_PIECE)
            except brotli.error as exc:
                raise CodingError("the body is not coded as brotli") from exc
            if not piece:
                return
            # There may be more of it even where `can_accept_more_data` says that it wants more.
            data = b""
            yield piece

    def finish(self) -> None:
        if self._begun and not self._decompress.is_finished():
            raise CodingError("the compressed body has no end")


class _ZstdDecoder:
    def __init__(self) -> None:
        self._frames = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._decompress = self._frames.decompressobj()
        self._begun = False

    def decode(self, data: bytes) -> Iterator[bytes]:
        self._begun = True
        for start in range(0, len(data), _ZSTD_SLICE):
            rest = data[start : start + _ZSTD_SLICE]
            while rest:
                if self._decompress.eof:
                    self._decompress = self._frames.decompressobj()
                try:
                    piece = self._decompress.decompress(rest)
                except zstandard.ZstdError as exc:
                    raise CodingError("the body is not coded as zstd") from exc
                rest = self._decompress.unused_data
                if piece:
                    yield piece

    def finish(self) -> None:
        if self._begun and not self._decompress.eof:
            raise CodingError("the compressed body has no end")


def build_decoder(coding: str) -> Decoder:
    """The decoder for a `content-encoding`.

    Raises:
        CodingError: We do not know it.
    """
    match coding.strip().lower():
        case "" | "identity":
            return IdentityDecoder()
        case "gzip" | "x-gzip":
            return _ZlibDecoder(16 + zlib.MAX_WBITS, in_members=True)
        case "deflate":
            return _ZlibDecoder(zlib.MAX_WBITS, in_members=False)
        case "br":
            return _BrotliDecoder()
        case "zstd":
            return _ZstdDecoder()
    raise CodingError(f"the content coding {coding[:40]!r} is not known")
