"""Event loops that somebody else has chosen: asyncio or trio, by way of anyio."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

import sniffio
import trio

try:
    import anyio
    import anyio.lowlevel
    import anyio.to_thread
except ImportError as exc:
    raise ImportError("this host needs anyio: install grokproto[asgi]") from exc

from . import MAX_LOOK_UPS, Loop
from .anyio_network import AnyIOBackend, PlainBackend

T = TypeVar("T")

_LOOK_UPS: anyio.lowlevel.RunVar[anyio.CapacityLimiter] = anyio.lowlevel.RunVar("look-ups")


LATENESS = 0.05
"""Seconds by which a deadline may be noticed late."""


class Waiter(Protocol):
    """Somebody who waits, but not for ever."""

    deadline: float
    """By the event loop's clock."""

    def expire(self) -> None:
        """It has passed."""


class Deadlines:
    """One timer for many waits, since a cancel scope costs more than most of them take.

    As `mailbox.Deadlines` has it for the server. `run` must be running somewhere.
    """

    def __init__(self) -> None:
        self._waiting: set[Waiter] = set()
        self._begun = anyio.Event()

    def add(self, waiter: Waiter) -> None:
        """Look after a wait."""
        self._waiting.add(waiter)
        self._begun.set()

    def discard(self, waiter: Waiter) -> None:
        """It is over."""
        self._waiting.discard(waiter)

    async def run(self) -> None:
        """Look after the waits, until cancelled."""
        while True:
            if not self._waiting:
                self._begun = anyio.Event()
                await self._begun.wait()
            await anyio.sleep(LATENESS)
            now = anyio.current_time()
            for waiter in [each for each in self._waiting if each.deadline <= now]:
                self._waiting.discard(waiter)
                waiter.expire()


class _Mailbox(Generic[T]):
    """See `loops.Mailbox`. Only who must wait makes an event to wait for."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._content: list[T] = []
        self._room: anyio.Event | None = None
        self._news: anyio.Event | None = None
        self.deadline = 0.0

    async def put(self, thing: T) -> None:
        """See `loops.Mailbox`."""
        while self._content:
            self._room = anyio.Event()
            await self._room.wait()
        self._content.append(thing)
        self.expire()

    async def take(self, deadline: float) -> T | None:
        """See `loops.Mailbox`."""
        if not self._content:
            self._news = anyio.Event()
            self.deadline = deadline
            self._deadlines.add(self)
            try:
                await self._news.wait()
            finally:
                self._deadlines.discard(self)
                self._news = None
            if not self._content:
                return None
        if self._room is not None:
            self._room.set()
            self._room = None
        return self._content.pop()

    def expire(self) -> None:
        """There is something in it, or the deadline has passed."""
        if self._news is not None:
            self._news.set()


class Mailroom(Deadlines):
    """See `loops.Mailroom`."""

    def open_mailbox(self) -> _Mailbox[Any]:
        """See `loops.Mailroom`."""
        return _Mailbox(self)


async def _run_look_up(function: Callable[..., T], *args: Any) -> T:
    try:
        limiter = _LOOK_UPS.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(MAX_LOOK_UPS)
        _LOOK_UPS.set(limiter)
    return await anyio.to_thread.run_sync(function, *args, abandon_on_cancel=True, limiter=limiter)


async def _sleep_until(deadline: float) -> None:
    await anyio.sleep_until(deadline)


ANYIO = Loop(
    current_time=anyio.current_time,
    sleep_until=_sleep_until,
    open_scope=anyio.CancelScope,
    open_nursery=anyio.create_task_group,
    make_bell=anyio.Event,
    make_lock=anyio.Lock,
    run_in_thread=anyio.to_thread.run_sync,
    run_look_up=_run_look_up,
    open_mailroom=Mailroom,
    make_backend=AnyIOBackend,
    make_plain_backend=PlainBackend,
)


def current_loop() -> object:
    """The event loop of the running task, for comparing."""
    if sniffio.current_async_library() == "trio":
        return trio.lowlevel.current_trio_token()
    return asyncio.get_running_loop()


def start_in_background(function: Callable[[], Awaitable[None]]) -> object:
    """Start a task that belongs to no other; it is cancelled when the event loop ends.

    Args:
        function: Must let no exception out.

    Returns:
        The task, to be kept while it runs: an event loop need not keep it.
    """
    if sniffio.current_async_library() == "trio":
        return trio.lowlevel.spawn_system_task(function, context=contextvars.Context())

    async def run() -> None:
        await function()

    return asyncio.get_running_loop().create_task(run(), context=contextvars.Context())
