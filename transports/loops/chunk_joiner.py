"""Joining the small HTTP chunks of a streamed response, before httpcore and h11 look at them.

A response that is streamed comes as many small HTTP chunks. Those that one read brought are made
one: the body is the same, and its parser runs once. Where a body can be read past httpcore
(`upstream.body`), there is no need of it.
"""

from __future__ import annotations

import re

_MAX_HEAD = 128 * 1024
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,7})\r\n")
_MAX_SIZE_LINE = 9
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)


class ChunkJoiner:
    """Makes one chunk of those that came together, in the bytes of one HTTP/1.1 response.

    Whatever it does not know (extensions, trailers, a broken frame, a body that is not chunked) it
    leaves as it is, from there to the end, for h11 to judge.
    """

    def __init__(self) -> None:
        self._head: bytes | None = b""
        """What came of the head; None once it is past."""
        self._plain = False
        self._left = 0
        """Bytes of the open chunk that are still to come, with its line end."""
        self._held = b""
        """The beginning of a size, which is no data."""

    def join(self, data: bytes) -> bytes:
        """The same, in fewer chunks; empty `data` is the end of the stream."""
        if self._plain or not data:
            data, self._held = self._held + data, b""
            return data
        start = 0
        if self._head is not None:
            start = self._find_body(data)
            if start < 0:
                return data
        passed = data[:start]
        return passed + self._join_body(self._held + data[start:])

    def _find_body(self, data: bytes) -> int:
        assert self._head is not None
        known = len(self._head)
        head = self._head + data
        end = head.find(b"\r\n\r\n", max(0, known - 3))
        if end < 0:
            self._head = head
            self._plain = len(head) > _MAX_HEAD
            return -1
        self._head = None
        # An interim response has another one behind it; it is rare, and h11's.
        self._plain = head[9:10] == b"1" or _CHUNKED.search(head, 0, end + 2) is None
        return end + 4 - known

    def _join_body(self, data: bytes) -> bytes:
        self._held = b""
        if self._plain:
            return data
        if self._left >= len(data):
            self._left -= len(data)
            return data
        start = self._left
        self._left = 0
        pieces: list[bytes] = []
        match = _SIZE.match
        position = start
        while found := match(data, position):
            begin = found.end()
            end = begin + int(found[1], 16)
            if end == begin or data[end : end + 2] != b"\r\n":
                break
            pieces.append(data[begin:end])
            position = end + 2
        rest = data[position:]
        if found is None:
            self._hold(rest)
            rest = b"" if self._held else rest
        elif end == begin or end + 2 <= len(data):
            self._plain = True  # the last chunk, or one that does not end where it should
        else:
            self._left = end + 2 - len(data)
        joined = b"".join(pieces)
        framed = b"%x\r\n%b\r\n" % (len(joined), joined) if joined else b""
        return data[:start] + framed + rest

    def _hold(self, rest: bytes) -> None:
        if len(rest) < _MAX_SIZE_LINE:
            self._held = rest
        else:
            self._plain = True
