"""Listening, and stopping."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import attrs
import trio

from .connection import (
    ConnectionLimits,
    Connections,
    ErrorHook,
    Handler,
    encode_http_error,
)
from .sockets import Transport

_BACKLOG = 2048
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_SHORTAGE_PAUSE = 0.1
"""Seconds to wait when there are no descriptors left; some will be closed."""
_LAST_WORDS = 3.0
"""Seconds between telling the handlers to end and ending them."""


@attrs.frozen
class Listening:
    """Where a server can be reached."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """As a base address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


async def _open_listeners(host: str, port: int) -> list[socket.socket]:
    """Listen on every address of a host name.

    Raises:
        OSError: That cannot be done.
    """
    found = await trio.socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    listeners: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in found:
            listener = socket.socket(family, kind, protocol)
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if port == 0 and len(listeners) > 1:
                # One port for all addresses of the name.
                address = (address[0], listeners[0].getsockname()[1], *address[2:])  # noqa: PLW2901
            listener.bind(address)
            listener.listen(_BACKLOG)
            listener.setblocking(False)
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


class Server:
    """An HTTP server.

    Args:
        handler: Answers the requests.
        limits: What a client may cost.
        on_error: Is told of every exception that a handler lets out.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        limits: ConnectionLimits | None = None,
        on_error: ErrorHook = lambda _: None,
    ) -> None:
        self._handler = handler
        self._limits = limits or ConnectionLimits()
        self._on_error = on_error
        self._connections = Connections()
        self._stop = trio.Event()
        self._hurry = trio.CancelScope()

    @property
    def open_connections(self) -> int:
        """How many there are."""
        return len(self._connections)

    def stop(self) -> None:
        """Stop accepting, let running requests finish, then end. Twice: end at once."""
        if self._stop.is_set():
            self._hurry.cancel()
        self._stop.set()

    async def run(
        self,
        host: str,
        port: int,
        *,
        grace: float = 30.0,
        on_grace_over: Callable[[], None] = lambda: None,
        task_status: trio.TaskStatus[Listening] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `stop`.

        Args:
            host: Name or address to listen on.
            port: 0 for any that is free.
            grace: Seconds that running requests get when the server stops.
            on_grace_over: Called when these are over; after it, requests get a last moment.
            task_status: Is told where the server listens.

        Raises:
            OSError: It cannot listen there.
        """
        listeners = await _open_listeners(host, port)
        async with trio.open_nursery() as nursery:
            accepting = trio.CancelScope()
            for listener in listeners:
                nursery.start_soon(self._accept, listener, nursery, accepting)
            task_status.started(Listening(host, listeners[0].getsockname()[1]))
            await self._stop.wait()
            accepting.cancel()
            self._connections.stop()
            with self._hurry:
                await self._wait_for_end(grace)
                on_grace_over()
                await self._wait_for_end(_LAST_WORDS)
            nursery.cancel_scope.cancel()

    async def _wait_for_end(self, seconds: float) -> None:
        deadline = trio.current_time() + seconds
        while len(self._connections) and trio.current_time() < deadline:
            await trio.sleep(min(0.02, seconds))

    async def _accept(
        self, listener: socket.socket, nursery: trio.Nursery, accepting: trio.CancelScope
    ) -> None:
        with listener, accepting:
            while True:
                await trio.lowlevel.wait_readable(listener)
                try:
                    sock, _ = listener.accept()
                except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                    continue
                except OSError as exc:
                    if exc.errno not in _SHORTAGES:
                        raise
                    await trio.sleep(_SHORTAGE_PAUSE)
                    continue
                try:
                    transport = Transport(sock)
                except OSError:  # it was reset before we came to it
                    sock.close()
                    continue
                if len(self._connections) >= self._limits.max_connections:
                    _turn_away(transport)
                    continue
                nursery.start_soon(
                    self._connections.serve,
                    transport,
                    self._handler,
                    self._limits,
                    self._on_error,
                )


def _turn_away(transport: Transport) -> None:
    message = "The server has as many connections as it takes; try again in a moment."
    body = encode_http_error(message, "too_many_connections", "server_error")
    head = (
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nretry-after: 1\r\nconnection: close\r\n\r\n"
    )
    try:
        transport.try_send(head.encode() + body)
        transport.end()
    except OSError:
        pass
    transport.close()
