"""What people are shown of a credential, in pages and logs. No cookie is in it."""

from __future__ import annotations

import enum

import msgspec

from .credential import Cause, Kind, Origin
from .ledger import Credential, Ledger


class State(enum.Enum):
    """How a credential is."""

    READY = "ready"
    COOLING = "cooling"
    """In one of its groups at least."""

    BUSY = "busy"
    """It has as many calls in flight as it may."""

    DISABLED = "disabled"


class GroupStatus(msgspec.Struct, frozen=True):
    """One quota group of a credential."""

    group: str
    remaining: int
    total: int
    known: bool
    """Grok told the total; else it is our guess."""

    window_end: float | None
    """When it refills, Unix seconds; None while no window is open."""

    reason: str | None
    """Why no call is possible, one sentence; None when one is."""

    until: float | None
    """How long, Unix seconds."""


class CredentialStatus(msgspec.Struct, frozen=True):
    """One credential."""

    name: str
    kind: Kind
    origin: Origin
    state: State
    reason: str | None
    """Why it is out, one sentence; None when it is ready."""

    until: float | None
    """When that ends, Unix seconds; None when nobody knows, or only a person can end it."""

    cause: Cause | None
    """Who disabled it."""

    in_flight: int
    groups: tuple[GroupStatus, ...]
    """Those that were used."""


def describe(credential: Credential, concurrency: int, now: float) -> CredentialStatus:
    """The status of a credential."""
    used = [ledger for _, ledger in sorted(credential.ledgers.items()) if not ledger.blank]
    groups = tuple(_describe_group(ledger, now) for ledger in used)
    cooling = [group for group in groups if group.until is not None]
    disabled = credential.disabled
    reason: str | None = None
    until: float | None = None
    if disabled is not None:
        state, reason = State.DISABLED, disabled.reason
    elif credential.in_flight >= concurrency:
        state = State.BUSY
        reason = f"It has {credential.in_flight} calls in flight, which is as many as it may."
    elif cooling:
        first = min(cooling, key=lambda group: group.until or 0.0)
        state, reason, until = State.COOLING, first.reason, first.until
    else:
        state = State.READY
    return CredentialStatus(
        name=credential.name,
        kind=credential.kind,
        origin=credential.origin,
        state=state,
        reason=reason,
        until=until,
        cause=None if disabled is None else disabled.cause,
        in_flight=credential.in_flight,
        groups=groups,
    )


def _describe_group(ledger: Ledger, now: float) -> GroupStatus:
    until = ledger.rest_end(now)
    reason: str | None = None
    if until is not None:
        if ledger.limit is not None and ledger.limit_end(now) is not None:
            reason = ledger.limit.reason
        else:
            reason = f"All {ledger.allowance.total} calls of {ledger.group} are used."
    return GroupStatus(
        group=ledger.group,
        remaining=ledger.left(now),
        total=ledger.allowance.total,
        known=ledger.told,
        window_end=ledger.window_end(now),
        reason=reason,
        until=until,
    )
