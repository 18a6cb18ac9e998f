"""Plain connections to far ends: network streams for httpcore that try first and wait second.

httpcore's own ask the event loop for every read within a cancel scope of its own. Here what the
kernel has is taken at once, and only where it has nothing does a task sleep. Only reads without a
timeout are fast; nobody here asks for another kind. TLS, and all that needs it, goes httpcore's own
way.

A body that is chunked can be taken off such a connection (`Lender.lend_body`).
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from math import inf

import httpcore

from ..loops import Handler, Loop, Scope, Sockets
from .lending import GATHERED, Lender

__all__ = ["PlainStream", "open_plain_stream"]

_READ_BYTES = 64 * 1024
_READS_AT_A_TURN = 2
"""Reads that need not wait before other tasks get a turn all the same: what was read may be nothing
to hand over (interim responses, a coding of nothing), so that nobody holds the reader back."""


class PlainStream(Lender, httpcore.AsyncNetworkStream):
    """One plain connection. It is watched as long as it is open and somebody wants to read.

    Args:
        sock: Does not block.
        loop: What the tasks run on.
        sockets: Its.
    """

    def __init__(self, sock: socket.socket, loop: Loop, sockets: Sockets) -> None:
        super().__init__(sock)
        self._loop = loop
        self._sockets = sockets
        self._timeout: float | None = None
        self._drained = True
        """The last read took all there was: to try again before a wait would be in vain."""
        self._reads = 0
        """Since the last wait."""
        self._watched = False
        self._handler: Handler | None = None
        self._reader = loop.make_nap()

    # The body, for whoever wants it past httpcore

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

    def take_back(self, *, clean: bool) -> None:
        """See `Lender`."""
        self._handler = None
        super().take_back(clean=clean)

    # For httpcore

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._unsent:
            with contextlib.suppress(httpcore.WriteError):  # there may be an answer all the same
                await self._flush()
        if kept := self._take_kept():
            return kept
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
        return self._keep_body(data)

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
        self._put(buffer)
        self._drained = True
        self._timeout = timeout
        if len(buffer) > GATHERED:
            await self._flush()

    async def _flush(self) -> None:
        """Send what is to be sent; not the rest of what is refused meanwhile."""
        data = memoryview(self._take_unsent())
        timeout = inf if self._timeout is None else self._timeout
        try:
            data = data[self._try_send(data) :]
            if data:
                scope = self._loop.open_scope(deadline=self._loop.current_time() + timeout)
                self.listen(lambda: self._look(scope))
                with scope:
                    while data and not self._refused:
                        await self._sockets.wait_writable(self._socket)
                        data = data[self._try_send(data) :]
        except OSError as exc:
            raise httpcore.WriteError(str(exc)) from exc
        finally:
            self.pause()
        if data and not self._refused:
            raise httpcore.WriteTimeout(f"nothing more was taken within {timeout:g} seconds")

    def _look(self, sending: Scope) -> None:
        """Something has come while a request is sent."""
        if not self._hear():
            self.pause()
        if self._refused:
            sending.cancel()

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
        """See `Lender`."""
        if self._socket.fileno() >= 0:
            self._unwatch()
            self._sockets.forget(self._socket)
        super().close()
        self._wake()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise NotImplementedError("plain connections are for plain origins")


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
