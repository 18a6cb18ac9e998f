"""asyncio and what is like it (uvloop): the event loop of a host that somebody else runs.

Cancel scopes and task groups are anyio's. What happens with every token is asyncio's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
import socket
from collections.abc import Callable
from typing import Any, TypeVar

try:
    import anyio
    import anyio.lowlevel
    import anyio.to_thread
except ImportError as exc:
    raise ImportError("this host needs anyio: install grokproto[asgi]") from exc

from httpcore import AnyIOBackend

from . import MAX_LOOK_UPS, Handler, Loop
from .pump import HAS_EPOLL, Pump

T = TypeVar("T")

_SLEEPS_AT_A_TURN = 8
"""Sleeps until a task yields once before it sleeps; rarely enough to cost next to nothing."""

_LOOK_UPS: anyio.lowlevel.RunVar[anyio.CapacityLimiter] = anyio.lowlevel.RunVar("look-ups")


class AsyncioNap:
    """See `loops.Nap`.

    anyio cancels no task whose wait is over, and looks again a turn of the event loop later. By
    then the task may wait anew, and that be over too: uvloop calls whoever watches a socket between
    the task and anyio, where asyncio calls them in line. A far end that never rests would keep its
    reader from being cancelled for ever. A task that yields waits for nothing, and is cancelled.
    """

    __slots__ = ("_future", "_loop", "_sleeps")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future: asyncio.Future[None] | None = None
        self._sleeps = 0
        """Since it yielded."""

    async def sleep(self) -> None:
        """See `loops.Nap`."""
        self._future = self._loop.create_future()
        self._sleeps += 1
        try:
            if self._sleeps >= _SLEEPS_AT_A_TURN:
                self._sleeps = 0
                await asyncio.sleep(0)  # who wakes it meanwhile has done so
            await self._future
        finally:
            self._future = None

    def wake(self) -> None:
        """See `loops.Nap`."""
        if self._future is not None:
            _resolve(self._future)


class _Sockets:
    """See `loops.Sockets`. Readers and writers of the event loop's own would do, but uvloop gives
    them up without a word where a connection is reset."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pump: Pump | None = None
        """There is one while anything is watched."""
        self._writers: dict[int, asyncio.Future[None]] = {}

    async def connect(self, host: str, port: int) -> socket.socket:
        """See `loops.Sockets`. Each address has its share of the time that is left."""
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        ends = anyio.current_effective_deadline()
        fault: OSError = TimeoutError("no address answered in time")
        for number, (family, kind, protocol, _, address) in enumerate(found):
            share = (ends - self._loop.time()) / (len(found) - number)
            try:
                sock = socket.socket(family, kind, protocol)  # there may be no such family here
            except OSError as exc:
                fault = exc
                continue
            try:
                with anyio.move_on_after(share):
                    await self._connect(sock, address)
                    return sock
            except OSError as exc:
                fault = exc
            except BaseException:
                sock.close()
                raise
            sock.close()
        raise fault

    async def _connect(self, sock: socket.socket, address: Any) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(BlockingIOError):
            sock.connect(address)
            return
        await self.wait_writable(sock)
        if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error))

    def watch(self, sock: socket.socket, handler: Handler) -> None:
        self._open().watch(sock, handler)

    def unwatch(self, sock: socket.socket) -> None:
        if self._pump is not None:
            self._pump.unwatch(sock)
            self._close_if_idle(self._pump)

    async def wait_writable(self, sock: socket.socket) -> None:
        fd = sock.fileno()
        writer = self._writers[fd] = self._loop.create_future()
        self._open().watch_writable(sock, functools.partial(_resolve, writer))
        try:
            await writer
        finally:
            self._unwatch_writable(sock)

    def forget(self, sock: socket.socket) -> None:
        writer = self._writers.get(sock.fileno())
        if writer is not None:
            self._unwatch_writable(sock)
            if not writer.done():
                writer.set_exception(OSError("the connection was given up"))

    def _unwatch_writable(self, sock: socket.socket) -> None:
        if self._pump is not None and self._writers.pop(sock.fileno(), None) is not None:
            self._pump.unwatch_writable(sock)
            self._close_if_idle(self._pump)

    def _open(self) -> Pump:
        if self._pump is None:
            self._pump = Pump()
            self._loop.add_reader(self._pump.fileno(), self._pump.serve)
        return self._pump

    def _close_if_idle(self, pump: Pump) -> None:
        if not pump:
            self._loop.remove_reader(pump.fileno())
            pump.close()
            self._pump = None


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _run_in_thread(function: Callable[..., T], *args: Any) -> T:
    """See `loops.Loop`. `Task.cancel` is asyncio's own, and goes through anyio's shields: whoever
    it cancels here learns of it when the thread has ended."""
    work = contextvars.copy_context().run
    future = asyncio.get_running_loop().run_in_executor(None, work, function, *args)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as exc:
                cancelled = exc
    if cancelled is None:
        return future.result()
    future.exception()  # nobody will ask for it
    raise cancelled


async def _run_look_up(function: Callable[..., T], *args: Any) -> T:
    try:
        limiter = _LOOK_UPS.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(MAX_LOOK_UPS)
        _LOOK_UPS.set(limiter)
    return await anyio.to_thread.run_sync(function, *args, abandon_on_cancel=True, limiter=limiter)


def build_loop(loop: asyncio.AbstractEventLoop) -> Loop:
    """What tasks on an event loop of asyncio's have."""

    async def sleep_until(deadline: float) -> None:
        await asyncio.sleep(max(0.0, deadline - loop.time()))

    return Loop(
        current_time=loop.time,
        sleep_until=sleep_until,
        open_scope=anyio.CancelScope,
        open_nursery=anyio.create_task_group,
        make_bell=asyncio.Event,
        make_lock=asyncio.Lock,
        make_nap=lambda: AsyncioNap(loop),
        run_in_thread=_run_in_thread,
        run_look_up=_run_look_up,
        make_backend=AnyIOBackend,
        sockets=_Sockets(loop) if HAS_EPOLL else None,
    )
