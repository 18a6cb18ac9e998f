"""Unix time as a host tells it, and spans of it that outlive a clock that is set.

What survives a restart can only be told in Unix time, and Unix time is set now and then: by a
person, or by a time service once it finds the network. The rules here are:

1. Looking never ends anything. A window that is over stays on record until a call opens the next
   one, so a clock that runs ahead for a while and is put right again costs nothing.
2. A span that began in the future was written down before the clock was set back. It lasts for its
   own length from where the clock landed: never less than was meant, and never for good. Where the
   clock returns to where it was, the span is as it was.
3. A step forward cannot be told from time that passed (a laptop's lid, an idle night), so it is
   taken for that: windows end. What Grok then refuses corrects the count.

A host that knows a steady clock can spare the pool most steps by adding the time that went by to
the Unix time at which it started.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

_MAX_LANDINGS = 8
"""Kept for one span. Each is earlier than the last; so many do not happen by chance."""


class Clock:
    """What time it is, by what was told last."""

    def __init__(self) -> None:
        self.now = 0.0
        """Unix seconds."""
        self._told = False

    def tell(self, unix_now: float) -> float | None:
        """Take note of the time.

        Returns:
            None as long as the clock goes forward. Where it was set back, what it said before; at
            first, what it says now. Every span there is must then `notice` it.
        """
        before = self.now if self._told else unix_now
        went_forward = self._told and unix_now >= before
        self._told = True
        self.now = unix_now
        return None if went_forward else before

    def doubt(self) -> None:
        """Spans were taken in that may have been made by another clock."""
        self._told = False


class Span(msgspec.Struct, frozen=True):
    """A length of time that began at some moment."""

    since: float
    """Unix seconds."""

    length: float
    """Seconds."""

    landings: tuple[float, ...] = ()
    """Where the clock landed when it was set back to before `since`, Unix seconds; each is earlier
    than the one before."""

    def end(self, now: float) -> float | None:
        """When it ends, Unix seconds; None when it is over."""
        since = self.since
        if since > now:
            since = next((landing for landing in self.landings if landing <= now), now)
        end = since + self.length
        return end if now < end else None

    def next_start(self, now: float) -> float | None:
        """When it may begin once more, Unix seconds: the clock returns to before it was set back.

        None where that cannot be.
        """
        if self.since <= now:
            return None
        return min(start for start in (self.since, *self.landings) if start > now)

    def notice(self, before: float, now: float) -> Span:
        """The same span, once the clock was set back from `before` to `now`.

        Where the clock had returned to before it was set back again, later landings are void.
        """
        if self.since <= now:
            return self
        kept: list[float] = []
        if self.since > before:
            for landing in self.landings:
                kept.append(landing)
                if landing <= before:
                    break
        if not kept or kept[-1] > now:
            kept[_MAX_LANDINGS - 1 :] = [now]
        return replace(self, landings=tuple(kept))
