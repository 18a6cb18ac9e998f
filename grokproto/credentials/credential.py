"""What a credential may be: of which kind, from where, and why out of service."""

from __future__ import annotations

import enum

import msgspec


class Kind(enum.Enum):
    """What a credential is to Grok."""

    ACCOUNT = "account"
    GUEST = "guest"


class Origin(enum.Enum):
    """Where a credential came from."""

    CONFIGURED = "configured"
    """From the operator's settings; it comes again with each start."""

    ADDED = "added"
    """Added while the server was running."""

    FETCHED = "fetched"
    """A guest session that the site gave us."""


class Cause(enum.Enum):
    """Who put a credential out of service."""

    REFUSED = "refused"
    """Grok no longer knows the cookie."""

    BLOCKED = "blocked"
    """Grok has blocked the account."""

    OPERATOR = "operator"
    """A person did."""


class Disabled(msgspec.Struct, frozen=True):
    """Why a credential is out of service. Only a person can change it."""

    cause: Cause
    reason: str
    """One sentence."""

    since: float
    """Unix seconds."""
