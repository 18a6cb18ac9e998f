"""Connections that httpcore opens itself, with TLS or through a proxy; what it does not look at.

Over HTTP/1.1 it looks at the socket before it takes an idle connection for good; over HTTP/2 only
at the clock. Here every kept connection is looked at: between two calls nothing is to come that
could not be done without, so one to which something has come is not used again. Mostly that is the
far end's farewell. It may be a ping, and then a handshake is the price. What came behind a response
over HTTP/1.1, and was read with it, would be the next one: such a connection is not kept at all.
A farewell that httpcore was not to hear (`farewells`) ends it too.

The status of a response over HTTP/2 is a field like others, and httpcore takes any number for one.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from typing import Generic, TypeAlias, TypeVar

import httpcore
from h2.exceptions import H2Error

from .farewells import Farewells
from .rules import Connection, holds_more, is_doubtful

_Stream: TypeAlias = httpcore.AsyncNetworkStream | httpcore.NetworkStream
C = TypeVar("C", bound=Connection)


class Checked(Generic[C]):
    """What is the same for tasks and for threads.

    Args:
        http: Used by nobody else.
    """

    def __init__(self, http: C) -> None:
        self._http = http
        self._stream: _Stream | None = None
        """What it was opened to; None before the first response."""
        self._is_last = False
        """It must not be used again after this response."""
        self._speaks_h2 = False
        """Where requests do not follow one another, and none is left over for the next."""

    def _note(self, response: httpcore.Response) -> None:
        """Look at the head of a response.

        Raises:
            httpcore.RemoteProtocolError: It is none.
        """
        self._stream = response.extensions["network_stream"]
        self._speaks_h2 = response.extensions["http_version"] == b"HTTP/2"
        self._is_last = not self._speaks_h2 and is_doubtful(response)
        if not 200 <= response.status <= 999:
            raise httpcore.RemoteProtocolError(f"a response cannot have status {response.status}")

    def is_idle(self) -> bool:
        """Whether no call is under way, and nothing is left of the last one."""
        if self._is_last or self._is_left() or not self._http.is_idle():
            return False
        return self._speaks_h2 or not holds_more(self._http)

    def _is_left(self) -> bool:
        """Whether the far end has said over HTTP/2 that it reads no more requests."""
        if self._stream is None:
            return False
        farewells: Farewells | None = self._stream.get_extra_info("farewells")
        return farewells is not None and farewells.said

    def is_available(self) -> bool:
        """Whether a call can be made."""
        return self._http.is_available()

    def has_expired(self) -> bool:
        """Whether it was idle for too long, or something has come meanwhile."""
        return self._http.has_expired() or (self._stream is not None and has_news(self._stream))


class CheckedConnection(
    Checked[httpcore.AsyncConnectionInterface], httpcore.AsyncConnectionInterface
):
    """One connection, for tasks."""

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """Send a request; give its response, whose body is still to be read."""
        with telling_faults():
            response = await self._http.handle_async_request(request)
        self._note(response)
        return response

    async def aclose(self) -> None:
        """Close it, whatever goes on."""
        await self._http.aclose()


class ThreadedCheckedConnection(
    Checked[httpcore.ConnectionInterface], httpcore.ConnectionInterface
):
    """One connection, for threads."""

    def handle_request(self, request: httpcore.Request) -> httpcore.Response:
        """Send a request; give its response, whose body is still to be read."""
        with telling_faults():
            response = self._http.handle_request(request)
        self._note(response)
        return response

    def close(self) -> None:
        """Close it, whatever goes on."""
        self._http.close()


@contextlib.contextmanager
def telling_faults() -> Iterator[None]:
    """Tell of faults in the head of a response as of others of the far end."""
    try:
        yield
    except httpcore.LocalProtocolError as exc:
        if not isinstance(exc.args[0], H2Error):
            raise
        # It found out while it read, and cannot say whose fault it is; but the request was sent.
        raise httpcore.RemoteProtocolError(exc.args[0]) from exc
    except ValueError as exc:
        if "for int" not in str(exc):  # so say both that an `int` may tell of
            raise
        raise httpcore.RemoteProtocolError("the status of the response is no number") from None


def has_news(stream: _Stream) -> bool:
    """Whether something has come over an idle connection, which is lost if it was no more than a
    piece: the connection must not be used then."""
    if stream.get_extra_info("is_readable"):
        return True
    tls = stream.get_extra_info("ssl_object")
    if tls is None:
        return False
    if not isinstance(tls, ssl.SSLObject):  # it reads off the socket, and would wait there
        return bool(tls.pending())
    try:
        tls.read(1)  # what came in one piece with the response is no longer with the socket
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLError:
        pass
    return True
