"""The pump in a run of trio: the task that serves it, and a pump for systems without epoll."""

from __future__ import annotations

import socket

import trio

from . import Handler
from .pump import HAS_EPOLL, Pump, tell_fault


class TrioPump(Pump):
    """A pump with a task."""

    async def run(self) -> None:
        """Watch, until cancelled."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self.fileno())
                self.serve()
        finally:
            self.close()


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
        """See `TrioPump.run`."""
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
                try:
                    handler()
                except Exception as exc:
                    tell_fault(exc)


def build_pump() -> TrioPump | TaskPump:
    """The pump for this system."""
    return TrioPump() if HAS_EPOLL else TaskPump()


_PUMP: trio.lowlevel.RunVar[TrioPump | TaskPump] = trio.lowlevel.RunVar("pump")


def get_pump() -> TrioPump | TaskPump:
    """The pump of this run of trio; it runs as long as that."""
    try:
        return _PUMP.get()
    except LookupError:
        pump = build_pump()
        _PUMP.set(pump)
        trio.lowlevel.spawn_system_task(pump.run)
        return pump
