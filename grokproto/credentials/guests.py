"""Guest sessions: how many calls they may carry at once, and when a new one is to be fetched.

Guests serve the grok-2 group only. One that is used up keeps cooling down until another takes its
place; so where the site gives no more of them, those there are come back in time. Fetching is
bounded: as many as there are places at once, and then one for each `interval`.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from .clock import Clock, Span
from .refusal import BUSY_RETRY, Refusal, tell_duration

GUEST_GROUP = "grok-2"
"""The only quota group that guests serve."""


class GuestSettings(msgspec.Struct, frozen=True):
    """How guests are used."""

    level: int = 2
    """Sessions wanted, and calls with them at once."""

    interval: float = 30.0
    """Seconds for each session fetched, in the long run."""

    pause: float = 600.0
    """Seconds to leave the site alone once it gave none."""


class Guests:
    """The bounds on guest calls and on fetching guests."""

    def __init__(self, settings: GuestSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self.in_flight = 0
        """Calls with any guest."""
        self.expected = 0
        """Sessions that are being fetched."""
        self._tokens = float(settings.level)
        self._counted_at: float | None = None
        self._pause: Span | None = None
        self.unavailable: str | None = None
        """Why the site gives none; None as long as it may."""

    @property
    def level(self) -> int:
        """Sessions wanted, and calls with them at once."""
        return self._settings.level

    @property
    def full(self) -> bool:
        """Whether as many calls are in flight as may be."""
        return self.in_flight >= self.level

    def want(self, usable: int) -> int:
        """How many to fetch now; they are expected from now on."""
        self._refill()
        if self._pause is not None and self._pause.end(self._clock.now) is not None:
            return 0
        number = min(self.level - usable - self.expected, int(self._tokens))
        if self.unavailable is not None:
            number = min(number, 1 - self.expected)  # one is enough to find out
        number = max(0, number)
        self._tokens -= number
        self.expected += number
        return number

    def arrive(self) -> None:
        """A fetched session came."""
        self.expected = max(0, self.expected - 1)
        self.unavailable = None
        self._pause = None

    def fail(self, reason: str) -> None:
        """The site gave none."""
        self.expected = max(0, self.expected - 1)
        self.unavailable = reason
        self._pause = Span(self._clock.now, self._settings.pause)

    def refuse_full(self, usable: int, resting: int) -> Refusal:
        """The answer while as many calls are in flight as may be."""
        return Refusal(
            group=GUEST_GROUP,
            message=f"All {self.level} guest calls that may run at once are running; try again in "
            "a moment.",
            retry_after=BUSY_RETRY,
            cooling=resting,
            busy=usable,
            waiting=True,
        )

    def refuse(self, refusal: Refusal, usable: int) -> Refusal:
        """The answer when no guest can serve.

        Args:
            refusal: What the rota of guests said.
            usable: Guests that are not used up; this request may have tried them.
        """
        if self.unavailable is not None:
            return replace(
                refusal,
                message=f"No guest session can answer for {GUEST_GROUP}, and the site gives no new "
                f"one ({self.unavailable}); the operator of this server can set GUEST_SESSIONS, "
                "or SSO to the sso cookie of an account.",
            )
        if usable >= self.level:
            return refusal
        fetch = self._next_fetch()
        changes = [fetch or BUSY_RETRY, refusal.retry_after]
        return replace(
            refusal,
            message=f"No guest session is free for {GUEST_GROUP}; a new one is asked for "
            f"{f'in {tell_duration(fetch)}' if fetch else 'now'}.",
            retry_after=min(seconds for seconds in changes if seconds is not None),
            waiting=refusal.waiting or fetch == 0,
        )

    def _next_fetch(self) -> float:
        """Seconds until another session may be fetched; 0 when one is on its way."""
        self._refill()
        if self.expected:
            return 0.0
        return max(0.0, (1.0 - self._tokens) * self._settings.interval)

    def notice(self, before: float) -> None:
        """The clock was set back from `before`."""
        if self._pause is not None:
            self._pause = self._pause.notice(before, self._clock.now)

    def _refill(self) -> None:
        now = self._clock.now
        if self._counted_at is not None and now > self._counted_at:
            gained = (now - self._counted_at) / self._settings.interval
            self._tokens = min(float(self.level), self._tokens + gained)
        self._counted_at = now
