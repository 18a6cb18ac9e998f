"""Commands: what an exchange asks its host to do.

The host carries out one command and answers it with one event. Deadlines are in seconds of the
host's clock, the one it passes to `Exchange.handle` as `now`.
"""

from __future__ import annotations

from typing import TypeAlias

import attrs

from .failures import Failure
from .lease import Lease, Outcome, Quota


@attrs.frozen
class UpstreamRequest:
    """An HTTP request to one of the far ends. Its body is complete; its answer is streamed."""

    method: str
    url: str
    """Absolute, http or https."""

    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    """Without host and content-length, which the host of the exchange adds. May hold cookies
    and keys."""

    body: bytes = attrs.field(default=b"", repr=False)


@attrs.frozen
class AcquireCredential:
    """Ask the pool for a call.

    Where every credential that could serve is busy with other calls, the host may wait in line for
    one until `deadline`. It does not wait for one that cools down.
    """

    group: str
    """Quota group of the model."""

    deadline: float
    exclude: frozenset[str] = frozenset()
    """Public names of credentials that this request has tried before."""


@attrs.frozen
class SendRequest:
    """Send `request` and wait for the head of its response."""

    request: UpstreamRequest
    deadline: float


@attrs.frozen
class ReceiveResponse:
    """Go on waiting for the head of the response, after `SendRequest` timed out."""

    deadline: float


@attrs.frozen
class ReceiveData:
    """Wait for more of the open response's body."""

    deadline: float


@attrs.frozen
class CloseRequest:
    """Give up the open upstream request, wherever it is. Never waits."""


@attrs.frozen
class ReleaseCredential:
    """Give the lease back. Never waits."""

    lease: Lease
    outcome: Outcome
    failure: Failure | None = None
    """What went wrong, for the reason that people are shown; `failure.retry_after` is how long
    Grok wants this group to rest."""

    quota: Quota | None = None
    """What Grok said of the group, if it was asked."""


@attrs.frozen
class SendResponse:
    """Send the head of the response to the client."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """`content-type` and what the dialect wants; the framing is the host's."""


@attrs.frozen
class SendData:
    """Send a piece of the response's body, and wait until the client can take more."""

    data: bytes


@attrs.frozen
class EndResponse:
    """End the response to the client."""


@attrs.frozen
class Wait:
    """Do nothing until the host's clock reaches `until`."""

    until: float


@attrs.frozen
class Summary:
    """What became of an exchange, for a log line."""

    status: int | None
    """The status that the client saw; None where it saw none."""

    failure: Failure | None
    attempts: int
    credential: str | None
    """Public name of the last credential used."""

    prompt_tokens: int
    completion_tokens: int
    """Estimates, as the client was told."""

    client_closed: bool = False
    """The client left before the end."""

    model: str | None = None
    """The model, where the request named one that there is."""


@attrs.frozen
class Finish:
    """The exchange is over; nothing is owed. The last command, and it takes no answer."""

    summary: Summary


Command: TypeAlias = (
    AcquireCredential
    | SendRequest
    | ReceiveResponse
    | ReceiveData
    | CloseRequest
    | ReleaseCredential
    | SendResponse
    | SendData
    | EndResponse
    | Wait
    | Finish
)
CleanupCommand: TypeAlias = CloseRequest | ReleaseCredential
