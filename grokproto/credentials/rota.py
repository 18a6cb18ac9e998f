"""Whose turn it is: the credentials that serve one quota group, in the order of their use.

A ledger whose credential is in service is in exactly one of three places:

  ready    a call is possible now; ordered by the rotation
  parked   a call would be possible, but the credential has as many in flight as it may
  resting  used up or limited; ordered by the time at which that ends

The queues are hints. A key grows stale when the credential is used in another group, or when time
passes; so what comes to the top is looked at again, and put where it belongs. What gets *better*
with time (a rest that ends, a window that refills) has a timer. Every move costs O(log n), and is
owed to one grant, one release or one timer.

A clock that was set back voids the timers; the pool then builds its rotas anew.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TypeAlias

from .clock import Clock
from .ledger import Ledger
from .priority import PriorityQueue


class Rotation(enum.Enum):
    """Which of several credentials that could serve is used."""

    BALANCED = "balanced"
    """The one with most calls left in the group; among equals, the one used longest ago."""

    ROUND_ROBIN = "round-robin"
    """Each in turn: the one used longest ago in the group."""

    FILL_FIRST = "fill-first"
    """The one that was added first, until it can do no more."""


_Key: TypeAlias = tuple[int, int]

_KEYS: dict[Rotation, Callable[[Ledger, int], _Key]] = {
    Rotation.BALANCED: lambda ledger, left: (-left, ledger.credential.last_used),
    Rotation.ROUND_ROBIN: lambda ledger, _: (ledger.last_used, ledger.credential.position),
    Rotation.FILL_FIRST: lambda ledger, _: (ledger.credential.position, 0),
}
"""By the ledger, and how many calls it has left."""


class Rota:
    """The credentials of one group.

    Args:
        rotation: The order of use.
        concurrency: Calls that a credential may have in flight.
        clock: The pool's.
    """

    def __init__(self, rotation: Rotation, concurrency: int, clock: Clock) -> None:
        self._key = _KEYS[rotation]
        self._concurrency = concurrency
        self._clock = clock
        self._ready: PriorityQueue[_Key, Ledger] = PriorityQueue()
        self._parked: set[Ledger] = set()
        self._resting: PriorityQueue[float, Ledger] = PriorityQueue()
        self._looks: PriorityQueue[float, Ledger] = PriorityQueue()
        """Those that are not resting, by the time at which they may change: a window ends."""

    def __len__(self) -> int:
        return len(self._ready) + len(self._parked) + len(self._resting)

    @property
    def resting(self) -> int:
        """How many are used up or limited. True after `choose` or `settle`."""
        return len(self._resting)

    @property
    def usable(self) -> int:
        """How many are not. True after `choose` or `settle`."""
        return len(self._ready) + len(self._parked)

    @property
    def parked(self) -> int:
        """How many were seen to have as many calls in flight as they may.

        All of these are known once `choose` found nothing.
        """
        return len(self._parked)

    def is_parked(self, ledger: Ledger) -> bool:
        """Whether this one was."""
        return ledger in self._parked

    def is_usable(self, ledger: Ledger) -> bool:
        """Whether this one is not used up, nor limited, nor out of service."""
        return ledger in self._ready or ledger in self._parked

    def resting_ledgers(self) -> list[Ledger]:
        """Those that are used up or limited, in no order."""
        self.settle()
        return list(self._resting)

    def place(self, ledger: Ledger) -> None:
        """Put a ledger where it belongs, wherever it was."""
        left, end, look = ledger.judge(self._clock.now)
        if end is not None:
            self.remove(ledger)
            self._resting.push(ledger, end)
            return
        self._resting.discard(ledger)
        if look is None:
            self._looks.discard(ledger)
        else:
            self._looks.push(ledger, look)
        if ledger.credential.in_flight >= self._concurrency:
            self._ready.discard(ledger)
            self._parked.add(ledger)
        else:
            self._parked.discard(ledger)
            self._ready.push(ledger, self._key(ledger, left))

    def remove(self, ledger: Ledger) -> None:
        """Take a ledger out, wherever it was."""
        self._ready.discard(ledger)
        self._parked.discard(ledger)
        self._resting.discard(ledger)
        self._looks.discard(ledger)

    def settle(self) -> None:
        """Move what time has moved."""
        for timers in (self._resting, self._looks):
            while (top := timers.peek()) is not None and top[0] <= self._clock.now:
                timers.discard(top[1])
                self.place(top[1])

    def choose(self, exclude: frozenset[str]) -> Ledger | None:
        """The ledger whose turn it is; None when no call is possible.

        Args:
            exclude: Names of credentials that are out of the question; a few.
        """
        self.settle()
        chosen: Ledger | None = None
        passed_over: list[Ledger] = []
        while (top := self._ready.peek()) is not None:
            key, ledger = top
            left, end, _ = ledger.judge(self._clock.now)
            if (
                end is not None
                or ledger.credential.in_flight >= self._concurrency
                or key != self._key(ledger, left)
            ):
                self.place(ledger)
            elif ledger.credential.name in exclude:
                self._ready.discard(ledger)
                passed_over.append(ledger)
            else:
                chosen = ledger
                break
        for ledger in passed_over:
            self.place(ledger)
        return chosen

    def next_change(self) -> float | None:
        """When the next of those that rest is back, Unix seconds; None when none rests."""
        self.settle()
        while (top := self._resting.peek()) is not None:
            key, ledger = top
            if key == ledger.rest_end(self._clock.now):
                return key
            self.place(ledger)  # a clock that was set back has returned: it rests for longer
        return None
