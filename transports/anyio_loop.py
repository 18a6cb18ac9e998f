"""Event loops that somebody else has chosen: asyncio or trio, by way of anyio."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
import sniffio
import trio

from .loops import MAX_LOOK_UPS, Loop
from .upstream_anyio import AnyIOBackend, PlainBackend

T = TypeVar("T")

_LOOK_UPS: anyio.lowlevel.RunVar[anyio.CapacityLimiter] = anyio.lowlevel.RunVar("look-ups")


class _Mailbox(Generic[T]):
    """See `loops.Mailbox`. Only who must wait makes an event to wait for."""

    def __init__(self) -> None:
        self._content: list[T] = []
        self._room: anyio.Event | None = None
        self._news: anyio.Event | None = None

    async def put(self, thing: T) -> None:
        """See `loops.Mailbox`."""
        while self._content:
            self._room = anyio.Event()
            await self._room.wait()
        self._content.append(thing)
        if self._news is not None:
            self._news.set()

    async def take(self, deadline: float) -> T | None:
        """See `loops.Mailbox`."""
        if not self._content:
            self._news = anyio.Event()
            with anyio.CancelScope(deadline=deadline):
                await self._news.wait()
            self._news = None
            if not self._content:
                return None
        if self._room is not None:
            self._room.set()
            self._room = None
        return self._content.pop()


class _Mailroom:
    """See `loops.Mailroom`. Each mailbox looks after itself."""

    def open_mailbox(self) -> _Mailbox[Any]:
        """See `loops.Mailroom`."""
        return _Mailbox()

    async def run(self) -> None:
        """See `loops.Mailroom`."""


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
    open_mailroom=_Mailroom,
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
