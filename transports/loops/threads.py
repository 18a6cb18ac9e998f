"""Waiting in threads: for whatever comes first, and no longer than until somebody interrupts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_LOOK = 0.2
"""Seconds between two looks whether the client is still there, where nobody would tell."""


class InterruptedWaitError(Exception):
    """Nobody wants what was waited for any more."""


class News:
    """Where one thread waits; others ring when there is something to see.

    Args:
        has_left: Looks whether the client has left, where that can be seen.
    """

    def __init__(self, has_left: Callable[[], bool] | None = None) -> None:
        self.condition = threading.Condition()
        self._has_left = has_left
        self._longest = threading.TIMEOUT_MAX if has_left is None else _LOOK
        self._for_client = True
        """What is waited for is for the client."""
        self._interrupted = False
        self._stopped = False

    def wait_for(self, look: Callable[[], T | None], deadline: float) -> T | None:
        """What `look` gives, as soon as that is something; None at the deadline.

        Args:
            look: Is called with the condition held, after every ring.
            deadline: `time.monotonic()`, seconds.

        Raises:
            InterruptedWaitError: Somebody has interrupted it, or the client has left.
        """
        with self.condition:
            while True:
                self.check()
                found = look()
                if found is not None:
                    return found
                if self.interrupted:
                    raise InterruptedWaitError
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self.condition.wait(min(left, self._longest))

    def check(self) -> None:
        """See that there is no need to wait in vain. Whether the client has left is not looked at.

        Raises:
            InterruptedWaitError: Somebody has interrupted it.
        """
        if self._stopped or self._interrupted:
            raise InterruptedWaitError

    @property
    def interrupted(self) -> bool:
        """Somebody has interrupted the waiting, or the client has left."""
        has_left = self._has_left
        return self._stopped or self._interrupted or (has_left is not None and has_left())

    @property
    def stopped(self) -> bool:
        """The waiting was interrupted because the host ends."""
        return self._stopped

    def forget_client(self) -> None:
        """The client has all that it wanted, and may leave."""
        with self.condition:
            self._for_client = self._interrupted = False
            self._has_left = None
            self._longest = threading.TIMEOUT_MAX

    def ring(self) -> None:
        """There is something to see."""
        with self.condition:
            self.condition.notify_all()

    def interrupt(self) -> None:
        """The client has left: end the waiting for it, now or whenever it begins."""
        with self.condition:
            self._interrupted = self._for_client
            self.condition.notify_all()

    def stop(self) -> None:
        """The host ends: end the waiting, for whatever it is, now or whenever it begins."""
        with self.condition:
            self._stopped = True
            self.condition.notify_all()


class Handover(Generic[T]):
    """Room for one thing, between threads that put and the one that waits.

    Args:
        news: Where the thread waits that takes.
    """

    def __init__(self, news: News) -> None:
        self._news = news
        self._content: T | None = None
        self._closed = False

    def put(self, thing: T) -> None:
        """Put something in, as soon as there is room.

        Raises:
            InterruptedWaitError: Nobody will take it.
        """
        condition = self._news.condition
        with condition:
            while self._content is not None and not self._closed:
                condition.wait()
            if self._closed:
                raise InterruptedWaitError
            self._content = thing
            condition.notify_all()

    def take(self, deadline: float) -> T | None:
        """What is there, or comes before `deadline`; see `News.wait_for`."""
        return self._news.wait_for(self._look, deadline)

    def _look(self) -> T | None:
        found, self._content = self._content, None
        if found is not None:
            self._news.condition.notify_all()
        return found

    @property
    def closed(self) -> bool:
        """Whether nothing will be taken any more."""
        return self._closed

    def close(self) -> None:
        """Nothing will be taken any more."""
        with self._news.condition:
            self._closed = True
            self._news.condition.notify_all()
