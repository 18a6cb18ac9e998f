"""The event loop that a host is run on, where somebody else has chosen it: asyncio's or trio's."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable

import sniffio
import trio

from . import Loop
from .asyncio_loop import build_loop
from .trio_loop import TRIO


def current_loop() -> object:
    """The event loop of the running task, for comparing."""
    if sniffio.current_async_library() == "trio":
        return trio.lowlevel.current_trio_token()
    return asyncio.get_running_loop()


def find_loop() -> Loop:
    """What tasks have on the event loop that runs; a new one for each who asks."""
    if sniffio.current_async_library() == "trio":
        return TRIO
    return build_loop(asyncio.get_running_loop())


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
