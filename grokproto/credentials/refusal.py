"""The pool's answer when it can grant nothing: why, until when, and who can act."""

from __future__ import annotations

import msgspec

from ..events import NoCredential
from .credential import Kind

BUSY_RETRY = 5.0
"""Seconds after which a client may try again when all that could serve are busy. Nobody knows when
a call ends; an answer takes about so long."""


class Refusal(msgspec.Struct, frozen=True):
    """No call was granted. The counts are of credentials; each is in one of them."""

    group: str
    message: str
    """One sentence for the client."""

    retry_after: float | None = None
    """Seconds until that may change; None where nothing but a person can change it."""

    cooling: int = 0
    """Used up or limited in this group."""

    disabled: int = 0
    busy: int = 0
    """Have as many calls in flight as they may; waiting a little may help."""

    tried: int = 0
    """Could serve, but this request has tried them already."""

    waiting: bool = False
    """Waiting a little may help."""

    @property
    def helpless(self) -> bool:
        """Whether nothing but a person can ever change it."""
        return self.retry_after is None and not self.tried

    def as_event(self) -> NoCredential:
        """What the exchange is told."""
        return NoCredential(self.message, self.retry_after, busy=self.waiting)


class Tally(msgspec.Struct, frozen=True):
    """What became of all credentials of one kind, for one request."""

    cooling: int
    disabled: int
    busy: int
    tried: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.cooling + self.disabled + self.busy + self.tried


_NOUNS = {Kind.ACCOUNT: ("account", "accounts"), Kind.GUEST: ("guest session", "guest sessions")}


def refuse(kind: Kind, group: str, tally: Tally, next_change: float | None) -> Refusal:
    """Say why no credential of a kind can serve.

    Args:
        kind: Accounts or guests.
        group: The quota group that was asked for.
        tally: What became of all of them.
        next_change: Seconds until the first that cools is back.
    """
    waits = [
        seconds
        for seconds in (next_change, BUSY_RETRY if tally.busy else None)
        if seconds is not None
    ]
    retry_after = min(waits, default=None)
    return Refusal(
        group=group,
        message=_describe(kind, group, tally, next_change),
        retry_after=retry_after,
        cooling=tally.cooling,
        disabled=tally.disabled,
        busy=tally.busy,
        tried=tally.tried,
        waiting=tally.busy > 0,
    )


def refuse_again(group: str) -> Refusal:
    """Say why there is no second try after a fault that was nobody's."""
    return Refusal(
        group=group,
        message="So many calls to Grok have failed that this one is not tried again; try later.",
        tried=1,
    )


def _describe(kind: Kind, group: str, tally: Tally, next_change: float | None) -> str:
    one, many = _NOUNS[kind]
    if tally.total == 0:
        return (
            "This server has no account for Grok; its operator must set SSO to the sso cookie of "
            "one, or add one while it runs."
        )
    if tally.disabled == tally.total:
        return (
            f"No {one} can answer for {group}: {_count(tally.total, 'is', 'are')} disabled; the "
            "operator of this server must look why, and add or enable one."
        )
    said = [
        _count(number, singular, plural)
        for number, singular, plural in (
            (tally.cooling, "is cooling down", "are cooling down"),
            (tally.busy, "is busy", "are busy"),
            (tally.tried, "has failed this request", "have failed this request"),
            (tally.disabled, "is disabled", "are disabled"),
        )
        if number
    ]
    back = f"; the first is back in {tell_duration(next_change)}" if next_change else ""
    return f"None of the {many} can answer for {group} now: {', '.join(said)}{back}."


def _count(number: int, singular: str, plural: str) -> str:
    return f"{number} {singular if number == 1 else plural}"


def tell_duration(seconds: float) -> str:
    """A duration for people, rounded up: `40 s`, `12 min`, `3 h`."""
    for unit, length, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 72)):
        number = max(1, -int(-seconds // length))
        if number <= most:
            return f"{number} {unit}"
    return f"{-int(-seconds // 86400)} days"
