"""Plain connections to far ends: network streams for httpcore that try first and wait second.

httpcore's own ask the event loop for every read within a cancel scope of its own. Here what the
kernel has is taken at once, and only where it has nothing does a task sleep. Only reads without a
timeout are fast; nobody here asks for another kind. TLS, and all that needs it, goes httpcore's own
way.

A body that is chunked can be taken off such a connection (`PlainStream.lend_body`).
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import ssl
from math import inf
from typing import Any

import httpcore

from . import Handler, Loop, Sockets

__all__ = ["PlainStream", "open_plain_stream"]

_READ_BYTES = 64 * 1024
_READS_AT_A_TURN = 2
"""Reads that need not wait before other tasks get a turn all the same: what was read may be nothing
to hand over (interim responses, a coding of nothing), so that nobody holds the reader back."""
_GATHERED = 64 * 1024
"""A piece of a request that is longer does not wait for the next."""
_MAX_HEAD = 128 * 1024
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)


class HeadFinder:
    """Finds where the body of a response begins, in what comes of it.

    It knows nothing of heads but where they end and whether they say that chunks follow. Whatever
    is unusual it takes for a head without an end, and that is httpcore's to read.
    """

    def __init__(self) -> None:
        self._head: bytes | None = b""
        """What came of the head; None once it is past, or there is nothing to be found."""

    def find_body(self, data: bytes) -> int:
        """Where in `data` a chunked body begins; -1 where none does."""
        if self._head is None:
            return -1
        known = len(self._head)
        head = self._head + data
        end = head.find(b"\r\n\r\n", max(0, known - 3))
        if end < 0:
            self._head = head if len(head) <= _MAX_HEAD else None
            return -1
        self._head = None
        # An interim response has another one behind it.
        if head[9:10] == b"1" or _CHUNKED.search(head, 0, end + 2) is None:
            return -1
        return end + 4 - known


class PlainStream(httpcore.AsyncNetworkStream):
    """One plain connection. It is watched as long as it is open and somebody wants to read."""

    def __init__(self, sock: socket.socket, loop: Loop, sockets: Sockets) -> None:
        self._socket = sock
        self._loop = loop
        self._sockets = sockets
        self._finder = HeadFinder()
        self._unsent: list[bytes] = []
        self._timeout: float | None = None
        self._body: bytes | None = None
        """What came of a chunked body with the head, and is not passed on yet; None where there is
        no such body, or it was begun to be read."""
        self._drained = True
        """The last read took all there was: to try again before a wait would be in vain."""
        self._reads = 0
        """Since the last wait."""
        self._watched = False
        self._handler: Handler | None = None
        self._reader = loop.make_nap()
        self._lent = False
        self.closed = False

    # The body, for whoever wants it past httpcore

    def lend_body(self) -> bytes | None:
        """Give away the body of the response whose head was just read; None where it is not
        chunked. Nobody must use `read` until the next request.

        Returns:
            What came of it with the head; the rest is to be received. `take_back` is owed.
        """
        if self._body is None:
            return None
        first, self._body = self._body, None
        self._lent = True
        return first

    def listen(self, handler: Handler) -> None:
        """Call `handler` whenever there may be something to receive."""
        self._handler = handler
        if not self._watched:
            self._watched = True
            self._sockets.watch(self._socket, self._notice)

    def pause(self) -> None:
        """Call no more."""
        self._handler = None

    def _notice(self) -> None:
        if self._handler is None:
            self._unwatch()  # it would be told of again and again
        else:
            self._handler()

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self._sockets.unwatch(self._socket)

    def receive(self, max_bytes: int) -> bytes | None:
        """What has come; empty at the end of the stream, None where nothing has.

        Raises:
            OSError: The connection broke.
        """
        try:
            return self._socket.recv(max_bytes)
        except (BlockingIOError, InterruptedError):
            return None

    def take_back(self, *, clean: bool) -> None:
        """The body is read. Unless it is `clean`, the connection is of no further use."""
        self._handler = None
        self._lent = False
        if self.closed or not clean:
            self.close()

    # For httpcore

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._unsent:
            with contextlib.suppress(httpcore.WriteError):  # there may be an answer all the same
                await self._flush()
        if self._body:
            body, self._body = self._body, None
            return body
        self._body = None
        if timeout is None:
            return await self._read(max_bytes)
        with self._loop.open_scope(deadline=self._loop.current_time() + timeout):
            return await self._read(max_bytes)
        raise httpcore.ReadTimeout

    async def _read(self, max_bytes: int) -> bytes:
        size = min(max_bytes, _READ_BYTES)
        try:
            if self._drained:
                await self._wait()
            elif self._reads >= _READS_AT_A_TURN:
                await self._loop.sleep_until(self._loop.current_time())
                self._reads = 0
            self._reads += 1
            while (data := self.receive(size)) is None:
                await self._wait()
        except OSError as exc:
            raise httpcore.ReadError(str(exc)) from exc
        self._drained = len(data) < size
        start = self._finder.find_body(data)
        if start < 0:
            return data
        self._body = data[start:]
        return data[:start]

    async def _wait(self) -> None:
        """Wait until there may be something to receive."""
        self._reads = 0
        if not self.closed:
            self.listen(self._wake)
            try:
                await self._reader.sleep()
            finally:
                self._handler = None
        if self.closed:
            raise OSError("the connection was given up")

    def _wake(self) -> None:
        self._handler = None
        self._reader.wake()

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._finder = HeadFinder()  # a request: what follows is another response
        self._drained = True
        self._unsent.append(buffer)
        self._timeout = timeout
        if len(buffer) > _GATHERED:
            await self._flush()

    async def _flush(self) -> None:
        """Send the request, which comes as a head and a body, in one piece."""
        data = memoryview(b"".join(self._unsent))
        self._unsent.clear()
        timeout = inf if self._timeout is None else self._timeout
        try:
            data = data[self._try_send(data) :]
            if data:
                with self._loop.open_scope(deadline=self._loop.current_time() + timeout):
                    while data:
                        await self._sockets.wait_writable(self._socket)
                        data = data[self._try_send(data) :]
        except OSError as exc:
            raise httpcore.WriteError(str(exc)) from exc
        if data:
            raise httpcore.WriteTimeout(f"nothing more was taken within {timeout:g} seconds")

    def _try_send(self, data: memoryview) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0

    async def aclose(self) -> None:
        self.closed = True
        if not self._lent:
            self.close()

    def close(self) -> None:
        """Close it here and now."""
        self.closed = True
        if self._socket.fileno() >= 0:
            self._unwatch()
            self._sockets.forget(self._socket)
            self._socket.close()
        self._wake()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise NotImplementedError("plain connections are for plain origins")

    def get_extra_info(self, info: str) -> Any:
        if info == "socket":
            return self._socket
        if info == "is_readable":
            return self.is_readable()
        return None

    def is_readable(self) -> bool:
        """Whether there is something to receive; between two calls that can only be the end."""
        return is_readable(self._socket)


def is_readable(sock: socket.socket) -> bool:
    if sock.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


async def open_plain_stream(loop: Loop, host: str, port: int, timeout: float) -> PlainStream:
    """Connect.

    Raises:
        httpcore.ConnectError: That cannot be done.
        httpcore.ConnectTimeout: Not within `timeout` seconds.
    """
    assert loop.sockets is not None
    try:
        with loop.open_scope(deadline=loop.current_time() + timeout):
            return PlainStream(await loop.sockets.connect(host, port), loop, loop.sockets)
    except OSError as exc:
        raise httpcore.ConnectError(str(exc)) from exc
    raise httpcore.ConnectTimeout
