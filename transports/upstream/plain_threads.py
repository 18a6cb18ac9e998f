"""A plain connection to a far end, for threads; see `plain` and `plain_stream`."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from math import inf

import httpcore

from .lending import GATHERED, Lender
from .plain import KeptConnection

_READ_BYTES = 64 * 1024


class ThreadedStream(Lender, httpcore.NetworkStream):
    """One plain connection. Whoever reads from it waits."""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._unsent:
            with contextlib.suppress(httpcore.WriteError):  # there may be an answer all the same
                self._flush()
        if kept := self._take_kept():
            return kept
        with _told_as(httpcore.ReadError, httpcore.ReadTimeout):
            self._socket.settimeout(timeout)
            return self._keep_body(self._socket.recv(min(max_bytes, _READ_BYTES)))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._put(buffer)
        self._socket.settimeout(timeout)
        if len(buffer) > GATHERED:
            self._flush()

    def _flush(self) -> None:
        """Send what is to be sent; not the rest of what is refused meanwhile."""
        data = memoryview(self._take_unsent())
        timeout = self._socket.gettimeout()
        ends = inf if timeout is None else time.monotonic() + timeout
        with _told_as(httpcore.WriteError, httpcore.WriteTimeout):
            self._socket.setblocking(False)
            events = select.POLLIN | select.POLLOUT
            while data := data[self._try_send(data) :]:
                if self._wait(events, ends) & select.POLLIN and not self._hear():
                    events = select.POLLOUT
                if self._refused:
                    break

    def _try_send(self, data: memoryview) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0

    def _wait(self, events: int, ends: float) -> int:
        """Wait for any of these; say for which.

        Raises:
            TimeoutError: There was none.
        """
        poll = select.poll()
        poll.register(self._socket, events)
        left = ends - time.monotonic()
        for _, found in poll.poll(None if left == inf else max(0.0, left) * 1000):
            return found
        raise TimeoutError("nothing more was taken in time")

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        raise NotImplementedError("plain connections are for plain origins")


class ThreadedConnection(KeptConnection[ThreadedStream], httpcore.ConnectionInterface):
    """One connection, for threads. It opens with its first request.

    Args:
        origin: The far end.
        connect: Opens a socket to a host and a port, within so many seconds.
    """

    def __init__(
        self,
        origin: httpcore.Origin,
        connect: Callable[[str, int, float | None], socket.socket],
    ) -> None:
        super().__init__(origin)
        self._connect = connect

    def handle_request(self, request: httpcore.Request) -> httpcore.Response:
        """Send a request; give its response, whose body is still to be read."""
        if self._stream is None:
            host, timeouts = self._origin.host.decode("ascii"), request.extensions["timeout"]
            self._stream = ThreadedStream(
                self._connect(host, self._origin.port, timeouts.get("connect"))
            )
        http = self._http = httpcore.HTTP11Connection(self._origin, self._stream)
        response = http.handle_request(request)
        self._note(request, response)
        return response


class ThreadedLoan:
    """See `body.Source`: a connection whose body is lent to a thread.

    Args:
        connection: The connection.
    """

    def __init__(self, connection: ThreadedConnection) -> None:
        self._connection = connection
        self.receive = connection.lender.receive

    def settle(self, *, clean: bool) -> None:
        """See `body.Source`."""
        self._connection.take_back(clean=clean)


@contextlib.contextmanager
def _told_as(error: type[Exception], timeout: type[Exception]) -> Iterator[None]:
    """Tell httpcore of what happens in its own words."""
    try:
        yield
    except TimeoutError as exc:
        raise timeout(str(exc)) from exc
    except OSError as exc:
        raise error(str(exc)) from exc
