"""Taking a chunked body apart: HTTP/1.1's framing of a response whose length nobody knew.

    SIZE [;extension] CRLF  payload CRLF  ...  0 CRLF  [trailers]  CRLF

A streamed answer comes as a chunk for each token, and one read brings many. They are taken apart
together where they are as plain as that.
"""

from __future__ import annotations

import re

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(;[^\r\n]*)?\r\n")
_MAX_SIZE_LINE = 4096
_MAX_TRAILER = 8 * 1024
_SMALL = 16 * 1024
"""Sizes up to here are remembered, once they were read."""


class BrokenChunksError(Exception):
    """The body does not follow the rules; the text says how."""


class ChunkReader:
    """Takes the bytes of one body, cut anywhere, and gives its payload."""

    def __init__(self) -> None:
        self._held = b""
        """What cannot be made sense of yet: the beginning of a size, a line end, trailers."""
        self._left = 0
        """Bytes of payload that are still to come in this chunk."""
        self._closing = False
        """The line end behind the payload is still to come."""
        self._in_trailers = False
        self.ended = False
        """The body is over."""
        self.rest = b""
        """What came behind it."""

    def receive_data(self, data: bytes) -> bytes:
        """Take more of the body; give the payload in it, which may be empty.

        Raises:
            BrokenChunksError: It breaks the rules. Nothing more can be read.
        """
        if self._held:
            data, self._held = self._held + data, b""
        pieces: list[bytes] = []
        position = 0
        together = True
        while position < len(data) and not self.ended:
            if self._left:
                piece = data[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
                self._closing = True
                continue
            if together and not (self._closing or self._in_trailers):
                together = False
                read = _take_apart(data[position:] if position else data, pieces)
                if read:
                    position += read
                    continue
            read = self._read_line(data, position)
            if not read:
                self._held = data[position:]
                break
            position += read
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_line(self, data: bytes, position: int) -> int:
        """Read what is between payloads; how much that was, and 0 where it is not all there."""
        if self._in_trailers:
            return self._read_trailer(data, position)
        if self._closing:
            if len(data) - position < 2:
                if data[position] != 0x0D:
                    raise BrokenChunksError("a chunk is longer than it says")
                return 0
            if data[position : position + 2] != b"\r\n":
                raise BrokenChunksError("a chunk is longer than it says")
            self._closing = False
            return 2
        found = _SIZE.match(data, position)
        if found is None:
            if b"\n" in data[position:] or len(data) - position > _MAX_SIZE_LINE:
                raise BrokenChunksError("the size of a chunk is no number")
            return 0
        size = int(found[1], 16)
        if size == 0:
            self._in_trailers = True
        elif size <= _SMALL and found[2] is None and len(_SIZES) < _SMALL:
            _SIZES[found[1]] = size
        self._left = size
        return found.end() - position

    def _read_trailer(self, data: bytes, position: int) -> int:
        end = data.find(b"\n", position)
        if end < 0:
            if len(data) - position > _MAX_TRAILER:
                raise BrokenChunksError("a trailer is too long")
            return 0
        if data[position:end] in (b"\r", b""):
            self.ended = True
            self.rest = data[end + 1 :]
        return end + 1 - position


_SIZES: dict[bytes, int] = {}
"""Sizes of chunks as they were written so far, none of them 0."""


def _take_apart(data: bytes, pieces: list[bytes]) -> int:
    """Take the payloads of the plain chunks that `data` begins with; say how far they go."""
    parts = data.split(b"\r\n")
    whole = (len(parts) - 1) // 2 * 2
    sizes, payloads = parts[:whole:2], parts[1:whole:2]
    lengths = list(map(len, payloads))
    known = list(map(_SIZES.get, sizes))
    if lengths != known:
        count = next(i for i, length in enumerate(lengths) if length != known[i])
        del sizes[count:], payloads[count:], lengths[count:]
    pieces += payloads
    return sum(lengths) + sum(map(len, sizes)) + 4 * len(sizes)
