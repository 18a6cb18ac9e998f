"""A far end's farewell over HTTP/2, after which the call under way goes on all the same.

With `GOAWAY` a far end says which request is the last that it reads (RFC 9113, 6.8). One that is
restarted, or has answered as many over a connection as it cares to, says so in the middle of an
answer and then goes on with it. httpcore takes every farewell for the end of everything. Here one
that leaves the call alone is taken out of what httpcore gets to read, and the connection is used
for no other call.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpcore

_PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
_HEAD = 9
"""Bytes of a frame in front of its payload: length (3), type, flags, stream (4)."""
_VERDICT = 8
"""Bytes of a farewell's payload that count: the last stream, the error."""
_HEADERS = 1
_GOAWAY = 7


class Farewells:
    """What is said over one connection, in both directions, cut anywhere.

    One call is made at a time, each over a stream with a higher number than the one before.
    """

    def __init__(self) -> None:
        self.said = False
        """The far end reads no more requests; the answer under way may still come."""
        self._sent = _Frames(_PREFACE)
        self._received = _Frames()
        self._newest = 0
        """The stream of the last call."""

    def send(self, data: bytes) -> None:
        """Take note of what is sent."""
        for start, _ in self._sent.cut(data):
            if start[3] == _HEADERS:
                self._newest = _read_stream(start[5:])

    def receive(self, data: bytes) -> bytes:
        """What the rest of us is to read of what was received; maybe nothing yet."""
        return b"".join(
            piece for start, piece in self._received.cut(data) if not self._spares_call(start)
        )

    def _spares_call(self, start: bytes) -> bool:
        if start[3] != _GOAWAY or len(start) < _HEAD + _VERDICT:
            return False
        error = int.from_bytes(start[13:], "big")
        if error or not 0 < self._newest <= _read_stream(start[9:]):
            return False
        self.said = True
        return True


class _Frames:
    """Cuts what is said in one direction into frames, or pieces of them.

    Args:
        preface: Bytes in front of the first.
    """

    def __init__(self, preface: int = 0) -> None:
        self._left = preface
        """Bytes of the frame that are still to come."""
        self._start = bytes(_HEAD)
        self._kept = b""
        """The first bytes of a frame that cannot be told yet."""

    def cut(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Pieces that together are all that was said, less what waits for more; each with its
        frame's start: the head, and of a farewell what counts."""
        data, self._kept = self._kept + data, b""
        position = 0
        while position < len(data):
            if not self._left:
                start = data[position : position + _HEAD]
                size = int.from_bytes(start[:3], "big")
                if start[3:4] == bytes([_GOAWAY]):
                    wanted = _HEAD + min(_VERDICT, size)
                    start = data[position : position + wanted]
                else:
                    wanted = _HEAD
                if len(start) < wanted:
                    self._kept = data[position:]
                    return
                self._start, self._left = start, _HEAD + size
            piece = data[position : position + self._left]
            position += len(piece)
            self._left -= len(piece)
            yield self._start, piece


def _read_stream(data: bytes) -> int:
    return int.from_bytes(data[:4], "big") & 0x7FFFFFFF


def speaks_h2(stream: httpcore.AsyncNetworkStream | httpcore.NetworkStream) -> bool:
    """Whether a connection that is open has come to HTTP/2."""
    tls = stream.get_extra_info("ssl_object")
    return tls is not None and tls.selected_alpn_protocol() == "h2"
