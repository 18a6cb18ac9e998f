"""The body of a streamed response, read straight off its socket.

httpcore and h11 see to everything up to the head of a response. What follows, where it is chunked
and comes over a plain connection, is nothing but chunks; to pass each of them through two parsers
and four generators costs several times what there is to do. So the body is taken apart here, and
httpcore is told that it was empty; its connection is as good as new when the body is over.

Tasks need not wait for a body: whoever follows it is called when something has come. A thread reads
it, and waits there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from grokproto.events import DataReceived, EndOfMessage, RequestFailed

from .chunks import BrokenChunksError, ChunkReader

_READ_BYTES = 64 * 1024
_AT_A_TURN = 8 * 1024
"""Less than a socket holds: other streams have their turn between two reads."""

_Event: TypeAlias = DataReceived | EndOfMessage | RequestFailed


class Source(Protocol):
    """The connection of a body. Nobody else reads from it until it is settled."""

    def receive(self, max_bytes: int) -> bytes | None:
        """What has come; empty at the end of the stream, None where nothing has. Raises OSError."""
        ...

    def settle(self, *, clean: bool) -> None:
        """The body is over. Where it is `clean`, the connection may be used again."""
        ...


class WatchedSource(Source, Protocol):
    """One that can tell when there is something to receive."""

    def listen(self, handler: Callable[[], None]) -> None:
        """Call `handler` whenever there may be something to receive."""
        ...

    def pause(self) -> None:
        """Call no more."""
        ...


class ChunkedBody:
    """One body, from its first byte to its last.

    Args:
        source: Where it comes from; is told when it is not needed any more, once.
        first: What came of the body with the head.
    """

    def __init__(self, source: Source, first: bytes) -> None:
        self._source = source
        self._chunks = ChunkReader()
        self._events: list[_Event] = []
        """Two at the most: a piece, and the end."""
        self._over = False
        if first:
            self._take(first)

    def next_event(self) -> _Event | None:
        """The next of what has come; None where there is none. The end is an event too."""
        return self._events.pop(0) if self._events else None

    def close(self) -> None:
        """Give the body up, if it is not over."""
        if not self._over:
            self._finish(clean=False)

    def read(self, size: int = _READ_BYTES) -> None:
        """Read once; what came is among the events then."""
        try:
            data = self._source.receive(size)
        except OSError as exc:
            self._fail(exc.strerror or str(exc))
        else:
            if data:
                self._take(data)
            elif data is not None:
                self._fail("the connection was closed in the middle of the response")

    def _take(self, data: bytes) -> None:
        try:
            payload = self._chunks.receive_data(data)
        except BrokenChunksError as exc:
            self._fail(str(exc))
            return
        if payload:
            self._events.append(DataReceived(payload))
        if self._chunks.ended:
            self._finish(clean=not self._chunks.rest)
            self._events.append(EndOfMessage())

    def _fail(self, reason: str) -> None:
        self._finish(clean=False)
        self._events.append(RequestFailed(reason))

    def _finish(self, *, clean: bool) -> None:
        self._over = True
        self._source.settle(clean=clean)


class FollowedBody(ChunkedBody):
    """A body that tells whoever follows it when something has come.

    Args:
        source: See `ChunkedBody`.
        first: See there.
    """

    def __init__(self, source: WatchedSource, first: bytes) -> None:
        self._watched = source
        self._sink: Callable[[], None] | None = None
        super().__init__(source, first)

    def follow(self, sink: Callable[[], None]) -> None:
        """Call `sink` when there is an event, until `unfollow`; not while there is one already.

        What is not taken then holds the far end back: it is read one piece ahead.
        """
        self._sink = sink
        if not self._over:
            self._watched.listen(self._notice)

    def unfollow(self) -> None:
        """Call no more."""
        self._sink = None

    def _notice(self) -> None:
        if self._sink is None or self._events:
            self._watched.pause()
            return
        self.read(_AT_A_TURN)
        if self._events:
            self._sink()
