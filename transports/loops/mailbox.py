"""Handing things from one task to another, one at a time, with deadlines that cost next to nothing.

A channel of trio's and a cancel scope for each wait would do the same, at several times the cost
for a stream of tokens. Here the two tasks wake each other, and one timer for all of the waits looks
now and then whose deadline has passed. Deadlines here are those of pings and silence, which may be
late by a moment.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import trio

T = TypeVar("T")

LATENESS = 0.05
"""Seconds by which a deadline may be noticed late."""


class Deadlines:
    """Ends the waits whose deadline has passed. `run` must be running somewhere."""

    def __init__(self) -> None:
        self._waiting: set[Mailbox[Any]] = set()
        self._begun = trio.Event()

    def add(self, mailbox: Mailbox[Any]) -> None:
        """Look after a wait."""
        self._waiting.add(mailbox)
        self._begun.set()

    def discard(self, mailbox: Mailbox[Any]) -> None:
        """It is over."""
        self._waiting.discard(mailbox)

    async def run(self) -> None:
        """Look after the waits, until cancelled."""
        while True:
            if not self._waiting:
                self._begun = trio.Event()
                await self._begun.wait()
            await trio.sleep(LATENESS)
            now = trio.current_time()
            for mailbox in [each for each in self._waiting if each.deadline <= now]:
                mailbox.expire()


class Mailbox(Generic[T]):
    """Room for one thing, between one task that puts and one that takes."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._content: list[T] = []
        self._putter: trio.lowlevel.Task | None = None
        self._taker: trio.lowlevel.Task | None = None
        self.deadline = 0.0
        """Of the one who waits to take, by trio's clock."""

    async def put(self, thing: T) -> None:
        """Put something in, as soon as there is room."""
        while self._content:
            self._putter = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._forget_putter)
        self._content.append(thing)
        self._wake_taker()

    async def take(self, deadline: float) -> T | None:
        """What is there, or comes before `deadline`; None where nothing does."""
        if not self._content:
            self.deadline = deadline
            self._taker = trio.lowlevel.current_task()
            self._deadlines.add(self)
            await trio.lowlevel.wait_task_rescheduled(self._forget_taker)
            if not self._content:
                return None
        if self._putter is not None:
            putter, self._putter = self._putter, None
            trio.lowlevel.reschedule(putter)
        return self._content.pop()

    def expire(self) -> None:
        """The deadline has passed."""
        self._wake_taker()

    def _wake_taker(self) -> None:
        if self._taker is not None:
            taker, self._taker = self._taker, None
            self._deadlines.discard(self)
            trio.lowlevel.reschedule(taker)

    def _forget_putter(self, _: object) -> trio.lowlevel.Abort:
        self._putter = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _forget_taker(self, _: object) -> trio.lowlevel.Abort:
        self._taker = None
        self._deadlines.discard(self)
        return trio.lowlevel.Abort.SUCCEEDED
