"""The event loop of the server: trio."""

from __future__ import annotations

from typing import Any

import trio

from .loops import Loop
from .mailbox import Deadlines, Mailbox


class _Mailroom(Deadlines):
    """See `loops.Mailroom`."""

    def open_mailbox(self) -> Mailbox[Any]:
        """See `loops.Mailroom`."""
        return Mailbox(self)


TRIO = Loop(
    current_time=trio.current_time,
    sleep_until=trio.sleep_until,
    open_scope=trio.CancelScope,
    open_nursery=trio.open_nursery,
    make_bell=trio.Event,
    make_lock=trio.Lock,
    run_in_thread=trio.to_thread.run_sync,
    open_mailroom=_Mailroom,
)
