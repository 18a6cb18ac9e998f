"""One watch over many sockets, so that a token needs no task of its own to be noticed.

trio wakes a task for each socket that has something to read. For a server that passes on a token
here and a token there, waking is most of the work: the way through the scheduler costs several
times what the token does. Here one task waits for all of the sockets and calls a function for each
that has something. What can be done at once is done there and then; only what has to wait for
something else wakes the task whose business it is.

Handlers are plain functions. They read once and return: what is left is told of again, after the
others had their turn.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

import trio

from ..logs import get_logger

Handler = Callable[[], None]

_AT_ONCE = 64
"""Sockets that are served before it is looked who else has something."""
_TURN = 0.002
"""Seconds after which the tasks get their turn."""


class Pump:
    """See above; for systems that have epoll. One for each run of trio."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}

    def watch(self, sock: socket.socket, handler: Handler) -> None:
        """Call `handler` whenever the socket has something to read, or has ended.

        It may be called in vain. `unwatch` must come before the socket is closed.
        """
        fd = sock.fileno()
        self._handlers[fd] = handler
        self._epoll.register(fd, select.EPOLLIN)

    def unwatch(self, sock: socket.socket) -> None:
        """Call no more."""
        fd = sock.fileno()
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    async def run(self) -> None:
        """Watch, until cancelled."""
        poll, handlers = self._epoll.poll, self._handlers
        try:
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                turn_ends = trio.current_time() + _TURN
                while ready := poll(0, _AT_ONCE):
                    for fd, _ in ready:
                        handler = handlers.get(fd)  # one before may have unwatched it
                        if handler is not None:
                            _call(handler)
                    if trio.current_time() >= turn_ends:
                        break
        finally:
            self._epoll.close()


class TaskPump:
    """The same with a task for each socket; for systems that have no epoll."""

    def __init__(self) -> None:
        self._scopes: dict[int, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        self._waiting: list[tuple[socket.socket, Handler, trio.CancelScope]] = []

    def watch(self, sock: socket.socket, handler: Handler) -> None:
        """See `Pump.watch`."""
        scope = self._scopes[sock.fileno()] = trio.CancelScope()
        if self._nursery is None:
            self._waiting.append((sock, handler, scope))
        else:
            self._nursery.start_soon(self._serve, sock, handler, scope)

    def unwatch(self, sock: socket.socket) -> None:
        """See `Pump.unwatch`."""
        scope = self._scopes.pop(sock.fileno(), None)
        if scope is not None:
            scope.cancel()

    async def run(self) -> None:
        """See `Pump.run`."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for each in self._waiting:
                nursery.start_soon(self._serve, *each)
            self._waiting.clear()
            await trio.sleep_forever()

    async def _serve(self, sock: socket.socket, handler: Handler, scope: trio.CancelScope) -> None:
        with scope:
            while not scope.cancel_called:
                await trio.lowlevel.wait_readable(sock)
                if scope.cancel_called:  # by another's handler, when this one was awake already
                    return
                _call(handler)


def _call(handler: Handler) -> None:
    try:
        handler()
    except Exception as exc:  # a mistake of ours must not leave all the others without a watch
        get_logger().error("a socket was not read by our own fault", exc_info=exc)


def build_pump() -> Pump | TaskPump:
    """The pump for this system."""
    return Pump() if hasattr(select, "epoll") else TaskPump()


_PUMP: trio.lowlevel.RunVar[Pump | TaskPump] = trio.lowlevel.RunVar("pump")


def get_pump() -> Pump | TaskPump:
    """The pump of this run of trio; it runs as long as that."""
    try:
        return _PUMP.get()
    except LookupError:
        pump = build_pump()
        _PUMP.set(pump)
        trio.lowlevel.spawn_system_task(pump.run)
        return pump
