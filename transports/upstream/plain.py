"""A plain connection to a far end, kept for one call after the other.

httpcore makes a connection for each call, on the same socket: of that it wants no more than the
head of the response where the body can be read past it (`upstream.body`), and then to throw the
rest away is the least that can be done about it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

import httpcore

from .lending import Lender
from .plain_stream import PlainStream
from .rules import KEEPALIVE, holds_more, is_doubtful

S = TypeVar("S", bound=Lender)


class KeptConnection(Generic[S]):
    """What is the same for tasks and for threads.

    Args:
        origin: The far end.
        stream: Used by nobody else; None where it is not open yet.
    """

    def __init__(self, origin: httpcore.Origin, stream: S | None = None) -> None:
        self._origin = origin
        self._stream = stream
        self._http: httpcore.AsyncHTTP11Connection | httpcore.HTTP11Connection | None = None
        """Of the call under way; None between calls."""
        self._free_since = time.monotonic()
        self._is_last = False
        """The far end closes after this response, or must not be asked again."""
        self._has_body = True
        """The response is of a kind that has one, whatever its head says."""

    def _note(self, request: httpcore.Request, response: httpcore.Response) -> None:
        """Look at the head of a response."""
        self._has_body = request.method != b"HEAD" and response.status not in (204, 304)
        self._is_last = (
            response.extensions["http_version"] != b"HTTP/1.1"
            or is_doubtful(response)
            or any(
                name.lower() == b"connection" and b"close" in value.lower()
                for name, value in response.headers
            )
        )

    @property
    def lender(self) -> S:
        """Its stream, which must be open."""
        assert self._stream is not None
        return self._stream

    def lend_body(self) -> bytes | None:
        """See `Lender.lend_body`. `take_back` is owed, and nothing else to be done with the
        response."""
        return self.lender.lend_body() if self._has_body else None

    def take_back(self, *, clean: bool) -> None:
        """The body is read; the connection can be used again unless it is not `clean`."""
        self.lender.take_back(clean=clean and not self._is_last)
        self._http = None
        self._free_since = time.monotonic()

    def close(self) -> None:
        """Close it here and now."""
        if self._stream is not None:
            self._stream.close()

    def can_handle_request(self, origin: httpcore.Origin) -> bool:
        """Whether it leads there."""
        return origin == self._origin

    def is_closed(self) -> bool:
        """Whether it is of no use any more."""
        return self._stream is not None and self._stream.closed

    def is_idle(self) -> bool:
        """Whether no call is under way, and nothing is left of the last one."""
        if self.is_closed() or self._is_last:
            return False
        return self._http is None or (self._http.is_idle() and not self._holds_more(self._http))

    def _holds_more(self, http: object) -> bool:
        return self.lender.holds_more() or holds_more(http)

    def is_available(self) -> bool:
        """Whether a call can be made."""
        return self.is_idle()

    def has_expired(self) -> bool:
        """Whether it was idle for too long, or the far end has closed it."""
        if self._http is not None:
            return self._http.has_expired()
        return time.monotonic() > self._free_since + KEEPALIVE or self.lender.is_readable()


class PlainConnection(KeptConnection[PlainStream], httpcore.AsyncConnectionInterface):
    """One connection, for tasks."""

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """Send a request; give its response, whose body is still to be read."""
        http = self._http = httpcore.AsyncHTTP11Connection(self._origin, self.lender)
        response = await http.handle_async_request(request)
        self._note(request, response)
        return response

    async def aclose(self) -> None:
        """Close it, whatever goes on."""
        await self.lender.aclose()


class Loan:
    """See `body.WatchedSource`: a connection whose body is lent to a task.

    Args:
        connection: The connection.
        settled: Called when it can be used again, or is closed; says which.
    """

    def __init__(self, connection: PlainConnection, settled: Callable[[bool], None]) -> None:
        self._connection = connection
        self._settled = settled
        stream = connection.lender
        self.receive = stream.receive
        self.listen = stream.listen
        self.pause = stream.pause

    def settle(self, *, clean: bool) -> None:
        """See `body.Source`."""
        self._connection.take_back(clean=clean)
        self._settled(not self._connection.is_closed())
