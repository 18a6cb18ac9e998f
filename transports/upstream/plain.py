"""A plain connection to a far end, kept for one call after the other.

httpcore makes a connection for each call, on the same socket: of that it wants no more than the
head of the response where the body can be read past it (`upstream.body`), and then to throw the
rest away is the least that can be done about it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import httpcore

from ..loops.plain_stream import PlainStream
from .rules import KEEPALIVE


class PlainConnection(httpcore.AsyncConnectionInterface):
    """One connection.

    Args:
        origin: The far end.
        stream: Open, and used by nobody else.
    """

    def __init__(self, origin: httpcore.Origin, stream: PlainStream) -> None:
        self._origin = origin
        self._stream = stream
        self._http: httpcore.AsyncHTTP11Connection | None = None
        """Of the call under way; None between calls."""
        self._free_since = time.monotonic()
        self._is_last = False
        """The far end closes after this response."""
        self.receive = stream.receive
        self.listen = stream.listen
        self.pause = stream.pause

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """Send a request; give its response, whose body is still to be read."""
        self._http = httpcore.AsyncHTTP11Connection(self._origin, self._stream)
        response = await self._http.handle_async_request(request)
        self._is_last = response.extensions["http_version"] != b"HTTP/1.1" or any(
            name.lower() == b"connection" and b"close" in value.lower()
            for name, value in response.headers
        )
        return response

    def lend_body(self) -> bytes | None:
        """See `PlainStream.lend_body`. `take_back` is owed, and nothing else to be done with the
        response."""
        return self._stream.lend_body()

    def take_back(self, *, clean: bool) -> None:
        """The body is read; the connection can be used again unless it is not `clean`."""
        self._stream.take_back(clean=clean and not self._is_last)
        self._http = None
        self._free_since = time.monotonic()

    def close(self) -> None:
        """Close it here and now."""
        self._stream.close()

    async def aclose(self) -> None:
        """Close it, whatever goes on."""
        await self._stream.aclose()

    def can_handle_request(self, origin: httpcore.Origin) -> bool:
        """Whether it leads there."""
        return origin == self._origin

    def is_closed(self) -> bool:
        """Whether it is of no use any more."""
        return self._stream.closed

    def is_idle(self) -> bool:
        """Whether no call is under way."""
        return not self._stream.closed and (self._http is None or self._http.is_idle())

    def is_available(self) -> bool:
        """Whether a call can be made."""
        return self.is_idle()

    def has_expired(self) -> bool:
        """Whether it was idle for too long, or the far end has closed it."""
        if self._http is not None:
            return self._http.has_expired()
        return time.monotonic() > self._free_since + KEEPALIVE or self._stream.is_readable()


class Loan:
    """See `body.Source`: a connection whose body is lent.

    Args:
        connection: The connection.
        settled: Called when it can be used again, or is closed; says which.
    """

    def __init__(self, connection: PlainConnection, settled: Callable[[bool], None]) -> None:
        self._connection = connection
        self._settled = settled
        self.receive = connection.receive
        self.listen = connection.listen
        self.pause = connection.pause

    def settle(self, *, clean: bool) -> None:
        """See `body.Source`."""
        self._connection.take_back(clean=clean)
        self._settled(not self._connection.is_closed())
