"""What can go wrong between us and Grok, and what follows from it.

A failure is a value: a kind, and a sentence that says what came back and who can act. What follows
from a kind stands in one table, `POLICIES`, so that the questions "does the client see 429 or
502?", "does the account pay for it?" and "is it worth another try?" have one answer each.
"""

from __future__ import annotations

import enum

import msgspec

from .lease import Outcome


class FailureKind(enum.Enum):
    """Every way in which an attempt can fail; the value is the `code` that clients see."""

    # The credential's own.
    RATE_LIMITED = "rate_limited"
    """Grok says that this account has used up its calls."""
    UNAUTHORIZED = "unauthorized"
    """Grok does not know the cookie (any more)."""
    BLOCKED = "blocked"
    """Grok has blocked the account."""

    # Nobody's, or the operator's.
    ANTI_BOT = "anti_bot"
    """Grok's anti-bot rules refused the request's headers."""
    CLOUDFLARE = "cloudflare"
    """Cloudflare's challenge page came instead of an answer."""
    OVERLOADED = "overloaded"
    """Grok answered that it is overloaded or down for now; or the pool did not answer."""
    UPSTREAM = "upstream"
    """Grok answered with an error, or with something that is no answer."""
    TRUNCATED = "truncated"
    """The answer broke off in the middle."""
    NETWORK = "network"
    """No connection, or it broke."""
    TIMED_OUT = "timed_out"
    """Grok did not say anything for too long."""
    EMPTY = "empty"
    """Grok ended its answer without having said anything."""

    # The request's own.
    REJECTED = "rejected"
    """Grok took the request itself for wrong (an attachment, a moderated text)."""

    # Ours.
    NO_CREDENTIAL = "no_credential"
    """There is no credential that could be used now."""
    MISCONFIGURED = "misconfigured"
    """There is no credential that could ever be used for this model."""
    SHUTTING_DOWN = "shutting_down"
    """This server is stopping."""


class Failure(msgspec.Struct, frozen=True):
    """One failure, told so that a person knows what to do."""

    kind: FailureKind
    message: str
    """One sentence: what came back, and who can act. Never holds a secret or message text."""

    retry_after: float | None = None
    """Seconds until another try makes sense, where somebody said so."""

    status: int | None = None
    """Grok's HTTP status, where there was one."""


class Retry(enum.Enum):
    """Whether another attempt, with another credential, could end better."""

    NEVER = "never"
    """It would end the same."""
    ONCE = "once"
    """Perhaps; but the fault is not the credential's, so one more call is all it may cost."""
    FREELY = "freely"
    """Yes: the fault was this credential's, and another one does not have it."""


class Policy(msgspec.Struct, frozen=True):
    """What follows from a failure of one kind."""

    status: int
    """HTTP status for the client, where it may still be chosen."""
    type: str
    """OpenAI's `error.type`."""
    outcome: Outcome
    """What the credential's lease is given back with."""
    retry: Retry


POLICIES: dict[FailureKind, Policy] = {
    FailureKind.RATE_LIMITED: Policy(429, "rate_limit_error", Outcome.LIMITED, Retry.FREELY),
    FailureKind.UNAUTHORIZED: Policy(503, "server_error", Outcome.REFUSED, Retry.FREELY),
    FailureKind.BLOCKED: Policy(503, "server_error", Outcome.BLOCKED, Retry.FREELY),
    FailureKind.ANTI_BOT: Policy(503, "server_error", Outcome.UNUSED, Retry.NEVER),
    FailureKind.CLOUDFLARE: Policy(503, "server_error", Outcome.UNUSED, Retry.NEVER),
    FailureKind.OVERLOADED: Policy(503, "server_error", Outcome.UNUSED, Retry.ONCE),
    FailureKind.UPSTREAM: Policy(502, "server_error", Outcome.UNUSED, Retry.ONCE),
    FailureKind.TRUNCATED: Policy(502, "server_error", Outcome.SERVED, Retry.ONCE),
    FailureKind.NETWORK: Policy(502, "server_error", Outcome.UNUSED, Retry.ONCE),
    FailureKind.TIMED_OUT: Policy(504, "server_error", Outcome.SERVED, Retry.NEVER),
    FailureKind.EMPTY: Policy(502, "server_error", Outcome.SERVED, Retry.ONCE),
    FailureKind.REJECTED: Policy(400, "invalid_request_error", Outcome.SERVED, Retry.NEVER),
    FailureKind.NO_CREDENTIAL: Policy(429, "rate_limit_error", Outcome.UNUSED, Retry.NEVER),
    FailureKind.MISCONFIGURED: Policy(503, "server_error", Outcome.UNUSED, Retry.NEVER),
    FailureKind.SHUTTING_DOWN: Policy(503, "server_error", Outcome.SERVED, Retry.NEVER),
}
"""What follows from a failure of each kind. 401 is not in it: a client sees that for its own key
only, never for ours."""


_PASSING = frozenset(
    {
        *(FailureKind.RATE_LIMITED, FailureKind.NO_CREDENTIAL, FailureKind.OVERLOADED),
        *(FailureKind.UPSTREAM, FailureKind.NETWORK, FailureKind.TRUNCATED, FailureKind.EMPTY),
        FailureKind.SHUTTING_DOWN,
    }
)
"""Failures that may be over in a moment."""
_PATIENCE = 60.0
"""Seconds that clients of OpenAI's are willing to wait before they try again."""


def should_retry(failure: Failure) -> bool:
    """Whether a client does well to try again by itself, in the next minute."""
    return failure.kind in _PASSING and (failure.retry_after or 0.0) <= _PATIENCE
