"""A credential, and what it may still do in each quota group: the count, its window, and its limit.

The two are in one file since each has the other: a grant changes both.

A window is a span that opens with its first call. The count is of calls granted; a call that cost
nothing is taken off again, but only within the window in which it was counted. A limit that Grok
reported rests on top: while it lasts no call is granted, whatever the count says, and when it is
over the count is what it was. So a limit that Grok set too short never makes us oversell.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import msgspec
from msgspec.structs import replace

from ..lease import Quota
from ..secret import Secret
from .clock import Span
from .credential import Disabled, Kind, Origin
from .quota import MAX_TOTAL, MAX_WINDOW, Allowance, Quotas

MIN_REST = 1.0
"""Seconds that a limit lasts at least. A `retry_after` of 0 must not make a loop of refusals."""


class Limit(msgspec.Struct, frozen=True):
    """Grok's word that no more calls are possible for a while."""

    span: Span
    reason: str
    """One sentence."""


@attrs.define(eq=False)
class Ledger:
    """The account of one group of one credential."""

    credential: Credential
    group: str
    allowance: Allowance
    told: bool = False
    """Grok told the allowance; else it is our guess."""

    doubted: bool = False
    """Grok has shown since that it counts otherwise."""

    used: int = 0
    """Calls of the window on record, which may be over."""

    window: Span | None = None
    limit: Limit | None = None
    number: int = 0
    """Of the window: tells it from earlier ones, for calls that are given back late."""

    in_flight: int = 0
    last_used: int = 0
    """The pool's count of grants at the last grant from here."""

    # Looking

    def window_end(self, now: float) -> float | None:
        """When the open window ends, Unix seconds; None when none is open."""
        return None if self.window is None else self.window.end(now)

    def limit_end(self, now: float) -> float | None:
        """When Grok's limit ends, Unix seconds; None when there is none."""
        return None if self.limit is None else self.limit.span.end(now)

    def left(self, now: float) -> int:
        """Calls that the count leaves."""
        if self.window_end(now) is None:
            return self.allowance.total
        return max(0, self.allowance.total - self.used)

    def rest_end(self, now: float) -> float | None:
        """When a call is possible again, Unix seconds; None when it is possible now."""
        end = self.limit_end(now)
        if self.left(now) > 0:
            return end
        window_end = self.window_end(now)
        assert window_end is not None  # an allowance is never of no calls
        return window_end if end is None else max(end, window_end)

    def judge(self, now: float) -> tuple[int, float | None, float | None]:
        """Where it stands: `left`, `rest_end`, and when to look again though a call is possible.

        Where its window ends, it has more calls. Where the clock returns to what was written down
        before it was set back, it may have fewer.
        """
        window = self.window
        window_end = None if window is None else window.end(now)
        left = self.allowance.total
        if window_end is not None:
            left = max(0, left - self.used)
        if self.limit is None and (window is None or window.since <= now):
            return left, None if left else window_end, window_end  # as it nearly always is
        limit = None if self.limit is None else self.limit.span
        times = [span.next_start(now) for span in (window, limit) if span is not None]
        times.append(window_end)
        look = min((time for time in times if time is not None), default=None)
        return left, self.rest_end(now), look

    @property
    def asks_quota(self) -> bool:
        """Whether Grok's word on the allowance is wanted."""
        return self.doubted or not self.told

    # Counting

    def grant(self, now: float) -> bool:
        """Count a call; whether it opened a window."""
        opens = self.window_end(now) is None
        if opens:
            self._open(Span(now, self.allowance.window))
        self.used += 1
        self.in_flight += 1
        return opens

    def give_back(self, number: int, now: float) -> bool:
        """Take a call of window `number` off the count; whether there was something to take."""
        if number != self.number or self.used == 0 or self.window_end(now) is None:
            return False
        self.used -= 1
        if self.used == 0:
            self.window = None  # the call that opened it never was
        return True

    def learn(self, quota: Quota, now: float) -> bool:
        """Put what Grok told in the place of what we guessed; whether it could be right.

        Our count and Grok's may differ by the calls in flight, which Grok may or may not have
        counted yet, and by calls that others made with the account. Where ours is the larger, it
        holds both. Where Grok's is, others made some, and the calls in flight are added lest they
        be lost.
        """
        if not (1 <= quota.total <= MAX_TOTAL and 0 < quota.window <= MAX_WINDOW):
            return False
        remaining = min(max(0, quota.remaining), quota.total)
        counted = quota.total - remaining
        open_ = self.window_end(now) is not None
        own = self.used if open_ else 0
        self.told, self.doubted = True, False
        self.allowance = Allowance(quota.total, quota.window)
        used = own if own >= counted else counted + self.in_flight
        if remaining == 0 and quota.wait is not None and 0 < quota.wait <= MAX_WINDOW:
            window = Span(now, quota.wait)
        elif open_:
            assert self.window is not None
            window = replace(self.window, length=quota.window)
            if window.end(now) is None:  # shorter than we thought, and Grok's is still open
                window = Span(now, quota.window)
        else:
            window = Span(now, quota.window)
        if open_:
            self.window, self.used = window, used
        elif used:
            self._open(window)
            self.used = used
        return True

    def rest(self, seconds: float | None, reason: str, now: float) -> None:
        """Take Grok's word that the group is used up.

        Args:
            seconds: How long; None where Grok did not say, which means to the end of the window.
            reason: One sentence.
            now: Unix seconds.
        """
        if self.left(now) > 0:
            self.doubted = True  # ask again with the next window
        if seconds is None:
            end = self.window_end(now)
            seconds = self.allowance.window if end is None else end - now
        seconds = min(max(MIN_REST, seconds), MAX_WINDOW)
        end = self.limit_end(now)
        if end is None or end < now + seconds:
            self.limit = Limit(Span(now, seconds), reason)

    @property
    def blank(self) -> bool:
        """Whether there is nothing to keep: it never granted a call."""
        return self.last_used == 0

    def is_open(self, now: float) -> bool:
        """Whether calls made now would be counted together with earlier ones."""
        return self.window_end(now) is not None or self.limit_end(now) is not None

    def notice(self, before: float, now: float) -> bool:
        """Look at the spans once the clock was set back; whether there is something to keep."""
        window = None if self.window is None else self.window.notice(before, now)
        limit = self.limit
        if limit is not None:
            limit = Limit(limit.span.notice(before, now), limit.reason)
        changed = (window, limit) != (self.window, self.limit)
        self.window, self.limit = window, limit
        return changed

    def _open(self, window: Span) -> None:
        self.window = window
        self.used = 0
        self.number += 1


@attrs.define(eq=False)
class Credential:
    """A credential in a pool."""

    name: str
    """Public: a fingerprint."""

    kind: Kind
    origin: Origin
    cookies: Mapping[str, Secret]
    position: int
    """Counts up with each credential added."""

    disabled: Disabled | None = None
    in_flight: int = 0
    """Calls granted and not given back, over all groups."""

    last_used: int = 0
    """The pool's count of grants at the last grant of this credential."""

    ledgers: dict[str, Ledger] = attrs.field(factory=dict)
    """By group; those that were asked for."""

    def ledger(self, group: str, quotas: Quotas) -> Ledger:
        """The account of a group, opened where there is none."""
        ledger = self.ledgers.get(group)
        if ledger is None:
            ledger = self.ledgers[group] = Ledger(self, group, quotas.find(group))
        return ledger
