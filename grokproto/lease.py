"""The loan of a credential to one attempt, and what the attempt says when it gives it back.

The pool grants leases, the exchange carries them, the host passes them back and forth. They are
plain values so that none of the three has to know the others.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from .secret import Secret


class Lease(msgspec.Struct, frozen=True):
    """One granted call: a credential, for one attempt at one request.

    It is given back exactly once, with an `Outcome`.
    """

    serial: int
    """Tells this grant from every other grant of the same pool."""

    credential: str
    """Short public name of the credential, for logs and for not asking the same one twice."""

    group: str
    """The quota group the call counts against, such as `grok-3`."""

    cookies: Mapping[str, Secret] = msgspec.field(default_factory=dict)
    """Cookies that make a request the account's own: `sso` and `sso-rw`, or a guest's three."""

    wants_quota: bool = False
    """The pool has only guessed this group's quota so far; if the exchange asks Grok and
    reports it with the release, later grants are exact."""


class Outcome(enum.Enum):
    """What became of a granted call. The pool decides what it means for the credential."""

    SERVED = "served"
    """Grok took the call; it counts, whether or not the answer was whole."""

    UNUSED = "unused"
    """The call cost no quota: network fault, block page, 5xx, client gone before it was sent."""

    LIMITED = "limited"
    """Grok says that this group of this credential is used up."""

    REFUSED = "refused"
    """Grok no longer knows the cookie, and said so twice."""

    BLOCKED = "blocked"
    """Grok has blocked the account."""


class Quota(msgspec.Struct, frozen=True):
    """What `rest/rate-limits` says of one group of one account.

    [recorded] `{"windowSizeSeconds":7200,"remainingQueries":46,"totalQueries":50}`,
    sometimes with `waitTimeSeconds`.
    """

    remaining: int
    """Calls left in this window."""

    total: int
    """Calls in a whole window."""

    window: float
    """Length of the window, seconds."""

    wait: float | None = None
    """Seconds until a call is possible again, where nothing remains."""
