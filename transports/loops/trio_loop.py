"""trio: the event loop of the server, and of a host that is run on it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TypeVar

import trio
from httpcore import TrioBackend

from . import MAX_LOOK_UPS, Handler, Loop
from .trio_pump import get_pump


class TrioNap:
    """See `loops.Nap`."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    async def sleep(self) -> None:
        """See `loops.Nap`."""
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._give_up)

    def wake(self) -> None:
        """See `loops.Nap`."""
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)

    def _give_up(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


class _Sockets:
    """See `loops.Sockets`."""

    async def connect(self, host: str, port: int) -> socket.socket:
        opened = (await trio.open_tcp_stream(host, port)).socket
        family, kind, protocol = opened.family, opened.type, opened.proto
        return socket.socket(family, kind, protocol, fileno=opened.detach())

    def watch(self, sock: socket.socket, handler: Handler) -> None:
        get_pump().watch(sock, handler)

    def unwatch(self, sock: socket.socket) -> None:
        get_pump().unwatch(sock)

    async def wait_writable(self, sock: socket.socket) -> None:
        try:
            await trio.lowlevel.wait_writable(sock)
        except trio.ClosedResourceError as exc:
            raise OSError("the connection was given up") from exc

    def forget(self, sock: socket.socket) -> None:
        trio.lowlevel.notify_closing(sock)


T = TypeVar("T")

_LOOK_UPS: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("look-ups")


async def _run_look_up(function: Callable[..., T], *args: object) -> T:
    try:
        limiter = _LOOK_UPS.get()
    except LookupError:
        limiter = trio.CapacityLimiter(MAX_LOOK_UPS)
        _LOOK_UPS.set(limiter)
    return await trio.to_thread.run_sync(function, *args, abandon_on_cancel=True, limiter=limiter)


TRIO = Loop(
    current_time=trio.current_time,
    sleep_until=trio.sleep_until,
    open_scope=trio.CancelScope,
    open_nursery=trio.open_nursery,
    make_bell=trio.Event,
    make_lock=trio.Lock,
    make_nap=TrioNap,
    run_in_thread=trio.to_thread.run_sync,
    run_look_up=_run_look_up,
    make_backend=TrioBackend,
    sockets=_Sockets(),
)
