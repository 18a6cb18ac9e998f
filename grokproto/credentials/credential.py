"""One credential: an account's cookies or a guest's, and everything that is known about it."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

from ..secret import Secret
from .ledger import Ledger
from .quota import Quotas


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


@attrs.frozen
class Disabled:
    """Why a credential is out of service. Only a person can change it."""

    cause: Cause
    reason: str
    """One sentence."""

    since: float
    """Unix seconds."""


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
