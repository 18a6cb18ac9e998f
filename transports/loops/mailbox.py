"""Handing things from one task to another, one at a time, with deadlines that cost next to nothing.

A channel and a cancel scope for each wait would do the same, at several times the cost for a stream
of tokens. Here the two tasks wake each other, and one timer for all of the waits looks now and then
whose deadline has passed. Deadlines here are those of pings and silence, which may be late by a
moment.
"""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

from . import Loop

T = TypeVar("T")

LATENESS = 0.05
"""Seconds by which a deadline may be noticed late."""


class Waiter(Protocol):
    """Somebody who waits, but not for ever."""

    deadline: float
    """By the event loop's clock."""

    def expire(self) -> None:
        """It has passed."""


class Mailroom:
    """Has the mailboxes, and ends waits whose deadline has passed, theirs and others'.

    `run` must be running somewhere.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._waiting: set[Waiter] = set()
        self._begun = loop.make_bell()

    def open_mailbox(self) -> Mailbox[Any]:
        """A new one."""
        return Mailbox(self, self._loop)

    def make_nap(self) -> TimedNap:
        """A new one."""
        return TimedNap(self, self._loop)

    def add(self, waiter: Waiter) -> None:
        """Look after a wait."""
        self._waiting.add(waiter)
        self._begun.set()

    def discard(self, waiter: Waiter) -> None:
        """It is over."""
        self._waiting.discard(waiter)

    async def run(self) -> None:
        """Look after the waits, until cancelled."""
        loop = self._loop
        while True:
            if not self._waiting:
                self._begun = loop.make_bell()
                await self._begun.wait()
            await loop.sleep_until(loop.current_time() + LATENESS)
            now = loop.current_time()
            for waiter in [each for each in self._waiting if each.deadline <= now]:
                self._waiting.discard(waiter)
                waiter.expire()


class TimedNap:
    """Where one task sleeps until somebody wakes it, or a deadline passes."""

    def __init__(self, mailroom: Mailroom, loop: Loop) -> None:
        self._mailroom = mailroom
        self._nap = loop.make_nap()
        self.deadline = 0.0
        """Of the sleep that goes on; it may be moved meanwhile."""

    async def sleep(self, deadline: float) -> None:
        """Sleep until `wake`, or until the deadline."""
        self.deadline = deadline
        self._mailroom.add(self)
        try:
            await self._nap.sleep()
        finally:
            self._mailroom.discard(self)

    def wake(self) -> None:
        """Wake the task, if it sleeps."""
        self._nap.wake()

    expire = wake


class Mailbox(Generic[T]):
    """Room for one thing, between one task that puts and one that takes."""

    def __init__(self, mailroom: Mailroom, loop: Loop) -> None:
        self._content: list[T] = []
        self._putter = loop.make_nap()
        self._taker = mailroom.make_nap()

    async def put(self, thing: T) -> None:
        """Put something in, as soon as there is room."""
        while self._content:
            await self._putter.sleep()
        self._content.append(thing)
        self._taker.wake()

    async def take(self, deadline: float) -> T | None:
        """What is there, or comes before `deadline`; None where nothing does."""
        if not self._content:
            await self._taker.sleep(deadline)
            if not self._content:
                return None
        self._putter.wake()
        return self._content.pop()
