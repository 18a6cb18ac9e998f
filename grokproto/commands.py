"""Commands: what an exchange asks its host to do.

The host carries out one command and answers it with one event. Deadlines are in seconds of the
host's clock, the one it passes to `Exchange.handle` as `now`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, TypeAlias

import msgspec

from .answer import Unknown
from .failures import Failure
from .lease import Lease, Outcome, Quota
from .quiet import Quiet
from .upstream_request import UpstreamRequest

__all__ = [
    "AcquireCredential",
    "Branch",
    "CleanupCommand",
    "ClientCommand",
    "CloseRequest",
    "Command",
    "EndResponse",
    "FetchPicture",
    "FetchPreview",
    "Finish",
    "Fork",
    "Joint",
    "ReceiveData",
    "ReceiveResponse",
    "ReleaseCredential",
    "SendData",
    "SendRequest",
    "SendResponse",
    "StorePicture",
    "Summary",
    "UpstreamRequest",
    "Wait",
]


class AcquireCredential(msgspec.Struct, frozen=True):
    """Ask the pool for a call.

    Where every credential that could serve is busy with other calls, the host may wait in line for
    one until `deadline`. It does not wait for one that cools down.
    """

    group: str
    """Quota group of the model."""

    deadline: float
    exclude: frozenset[str] = frozenset()
    """Public names of credentials that this request has tried before."""

    avoid: frozenset[str] = frozenset()
    """Public names of credentials that are better left to others, if there is another one."""

    again: bool = False
    """The last call failed by nobody's fault. A second try is good where few calls fail, and bad
    where all do."""


class SendRequest(msgspec.Struct, frozen=True):
    """Send `request` and wait for the head of its response."""

    request: UpstreamRequest
    deadline: float


class ReceiveResponse(msgspec.Struct, frozen=True):
    """Go on waiting for the head of the response, after `SendRequest` timed out."""

    deadline: float


class ReceiveData(msgspec.Struct, frozen=True):
    """Wait for more of the open response's body."""

    deadline: float


class CloseRequest(msgspec.Struct, frozen=True):
    """Give up the open upstream request, wherever it is. Never waits."""


class ReleaseCredential(msgspec.Struct, frozen=True):
    """Give the lease back. Never waits."""

    lease: Lease
    outcome: Outcome
    failure: Failure | None = None
    """What went wrong, for the reason that people are shown; `failure.retry_after` is how long
    Grok wants this group to rest."""

    quota: Quota | None = None
    """What Grok said of the group, if it was asked."""


class SendResponse(msgspec.Struct, frozen=True):
    """Send the head of the response to the client."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """`content-type` and what the dialect wants; the framing is the host's."""


class SendData(Quiet, frozen=True):
    """Send a piece of the response's body, and wait until the client can take more."""

    data: bytes


class EndResponse(msgspec.Struct, frozen=True):
    """End the response to the client."""


class FetchPicture(Quiet, frozen=True):
    """Fetch a picture that the client has linked to, within `timeout` seconds.

    The address is a stranger's. A host that fetches it must see to it that it leads to a public
    address of the internet, and sends nothing of anybody's along.
    """

    UNSHOWN: ClassVar = ("url",)

    url: str
    timeout: float


class FetchPreview(msgspec.Struct, frozen=True):
    """Fetch an unfinished picture of Grok's, within `timeout` seconds, while the open response
    waits.

    It is one whole call beside the open one: what of it has not come in time is given up, and
    nothing of it stays open.
    """

    request: UpstreamRequest
    timeout: float
    limit: int
    """Bytes; a larger picture is not wanted."""


class StorePicture(Quiet, frozen=True):
    """Keep a picture where the client can fetch it."""

    UNSHOWN: ClassVar = ("data",)

    data: bytes
    media_type: str


class Branch(Protocol):
    """One of several exchanges that go on at once; see `grokproto.exchange.Exchange`."""

    def handle(self, event: Any, now: float) -> Command:
        """Take an event, give a command."""
        ...

    def abandon(self, now: float) -> list[CleanupCommand]:
        """End here and now."""
        ...


class Joint(Protocol):
    """Makes one response of those of the branches."""

    @property
    def over(self) -> bool:
        """Nothing more is wanted of any branch; those that go on are to be abandoned."""
        ...

    def take(self, index: int, command: Command) -> Sequence[ClientCommand]:
        """Take a `SendResponse`, `SendData`, `EndResponse` or `Finish` of a branch; give what is to
        be done for the client in its place, before anything else is."""
        ...


class Fork(msgspec.Struct, frozen=True):
    """Drive several exchanges to their ends, at once if that can be.

    Whatever a branch wants done for the client goes to `join` instead, as its `Finish` does. The
    answer is `Completed` when `join.over`; whichever branch still goes on is abandoned then.
    """

    branches: tuple[Branch, ...]
    join: Joint


class Wait(msgspec.Struct, frozen=True):
    """Do nothing until the host's clock reaches `until`."""

    until: float


class Summary(msgspec.Struct, frozen=True):
    """What became of an exchange, for a log line."""

    status: int | None
    """The status that the client saw; None where it saw none."""

    failure: Failure | None
    attempts: int
    credential: str | None
    """Public name of the last credential used."""

    prompt_tokens: int
    completion_tokens: int
    """Estimates, as the client was told; thinking included."""

    reasoning_tokens: int = 0

    client_closed: bool = False
    """The client left before the end."""

    model: str | None = None
    """The model, where the request named one that there is."""

    unknown: tuple[Unknown, ...] = ()
    """Names in Grok's answers that nobody here knows: its API may have changed."""


class Finish(msgspec.Struct, frozen=True):
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
    | FetchPicture
    | FetchPreview
    | StorePicture
    | Fork
    | Wait
    | Finish
)
ClientCommand: TypeAlias = SendResponse | SendData | EndResponse
CleanupCommand: TypeAlias = CloseRequest | ReleaseCredential
