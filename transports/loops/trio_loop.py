"""The event loop of the server: trio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import trio

from . import MAX_LOOK_UPS, Loop
from .mailbox import Deadlines, Mailbox
from .trio_network import PlainBackend, TrioBackend


class _Mailroom(Deadlines):
    """See `loops.Mailroom`."""

    def open_mailbox(self) -> Mailbox[Any]:
        """See `loops.Mailroom`."""
        return Mailbox(self)


T = TypeVar("T")

_LOOK_UPS: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("look-ups")


async def _run_look_up(function: Callable[..., T], *args: Any) -> T:
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
    run_in_thread=trio.to_thread.run_sync,
    run_look_up=_run_look_up,
    open_mailroom=_Mailroom,
    make_backend=TrioBackend,
    make_plain_backend=PlainBackend,
)
