"""Listening, and stopping."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import trio

from ..loops.sockets import Transport
from .connections import Connections
from .errors import encode_http_error
from .http_request import ConnectionLimits, ErrorHook, Handler

_BACKLOG = 2048
_BAD_LISTENERS = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK})
_NO_SUCH_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
_ACCEPT_PAUSE = 0.1
"""Seconds to wait when nothing can be accepted: when descriptors ran out, some will be closed."""
_TURNED_AWAY = 128
"""So many may hear at a time why they are not served; the others find the door closed."""
_TURN_AWAY_SECONDS = 1.0
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


async def open_listeners(host: str, port: int, *, shared: bool = False) -> list[socket.socket]:
    """Listen on every address of a host name.

    Args:
        host: Name or address.
        port: 0 for any that is free.
        shared: Others listen there too, each with a queue of its own (`SO_REUSEPORT`).

    Raises:
        OSError: That cannot be done.
    """
    try:
        found = await trio.socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except UnicodeError as exc:
        raise socket.gaierror(socket.EAI_NONAME, "it is no name of a host") from exc
    listeners: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, kind, protocol, _, address in found:
            if port == 0 and listeners:
                # One port for all addresses of the name.
                address = (address[0], listeners[0].getsockname()[1], *address[2:])  # noqa: PLW2901
            try:
                listeners.append(_open_listener(family, kind, protocol, address, shared))
            except OSError as exc:
                # A name may have an IPv6 address on a machine that does not speak IPv6.
                if exc.errno not in _NO_SUCH_FAMILY:
                    raise
                missing = exc
        if missing is not None and not listeners:
            raise missing
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _open_listener(
    family: int, kind: int, protocol: int, address: Any, shared: bool
) -> socket.socket:
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


class Server:
    """An HTTP server.

    Args:
        handler: Answers the requests.
        limits: What a client may cost.
        on_error: Is told of every exception that a handler lets out.
        on_pause: Is told why nothing can be accepted for now: nobody's mistake.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        limits: ConnectionLimits | None = None,
        on_error: ErrorHook = lambda _: None,
        on_pause: Callable[[OSError], None] = lambda _: None,
    ) -> None:
        self._handler = handler
        self._limits = limits or ConnectionLimits()
        self._on_error = on_error
        self._on_pause = on_pause
        self._connections = Connections()
        self._turning_away = 0
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
        self._connections.stop()

    async def run(
        self,
        host: str,
        port: int,
        *,
        grace: float = 30.0,
        on_grace_over: Callable[[], None] = lambda: None,
        listeners: Sequence[socket.socket] | None = None,
        task_status: trio.TaskStatus[Listening] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `stop`.

        Args:
            host: Name or address to listen on.
            port: 0 for any that is free.
            grace: Seconds that running requests get when the server stops.
            on_grace_over: Called when these are over and requests are still running; after it,
                they get a last moment.
            listeners: Open ones to accept from, instead of opening some.
            task_status: Is told where the server listens.

        Raises:
            OSError: It cannot listen there.
        """
        if listeners is None:
            listeners = await open_listeners(host, port)
        async with trio.open_nursery() as nursery:
            accepting = trio.CancelScope()
            for listener in listeners:
                nursery.start_soon(self._accept, listener, nursery, accepting)
            task_status.started(Listening(host, listeners[0].getsockname()[1]))
            await self._stop.wait()
            accepting.cancel()
            with self._hurry:
                with trio.move_on_after(grace):
                    await self._connections.wait_for_none()
                if len(self._connections):
                    on_grace_over()
                with trio.move_on_after(_LAST_WORDS):
                    await self._connections.wait_for_none()
            nursery.cancel_scope.cancel()

    async def _accept(
        self, listener: socket.socket, nursery: trio.Nursery, accepting: trio.CancelScope
    ) -> None:
        with listener, accepting:
            reported = False
            while True:
                await trio.lowlevel.wait_readable(listener)
                try:
                    sock, _ = listener.accept()
                except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                    continue
                except OSError as exc:
                    if exc.errno in _BAD_LISTENERS:
                        raise
                    # Descriptors or memory ran out, or the network has a fault that accept() tells
                    # of in a connection's stead. Either passes; it is told of once.
                    if not reported:
                        self._on_pause(exc)
                    reported = True
                    await trio.sleep(_ACCEPT_PAUSE)
                    continue
                reported = False
                try:
                    transport = Transport(sock)
                except OSError:  # it was reset before we came to it
                    sock.close()
                    continue
                if len(self._connections) < self._limits.max_connections:
                    nursery.start_soon(
                        self._connections.serve,
                        transport,
                        self._handler,
                        self._limits,
                        self._on_error,
                    )
                elif self._turning_away < _TURNED_AWAY:
                    nursery.start_soon(self._turn_away, transport)
                else:
                    transport.close()

    async def _turn_away(self, transport: Transport) -> None:
        """Say why not. A socket closed with a request unread takes its last words with it."""
        self._turning_away += 1
        try:
            transport.try_send(_encode_turning_away())
            transport.end()
            with trio.move_on_after(_TURN_AWAY_SECONDS):
                while await transport.receive():
                    pass
        except OSError:
            pass
        finally:
            self._turning_away -= 1
            transport.close()


def _encode_turning_away() -> bytes:
    message = "The server has as many connections as it takes; try again in a moment."
    body = encode_http_error(message, "too_many_connections", "server_error")
    head = (
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nretry-after: 1\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
