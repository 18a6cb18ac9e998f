"""Events: what the host tells an exchange.

The first is `Start`; each later one says how the last command ended. Which event may answer which
command stands in `grokproto.states.REPLIES`.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

import msgspec

from .lease import Lease
from .quiet import Quiet


class Start(msgspec.Struct, frozen=True):
    """Begin. The first event of every exchange, and only the first."""


class Completed(msgspec.Struct, frozen=True):
    """The command was carried out and had nothing to report."""


class CredentialAcquired(msgspec.Struct, frozen=True):
    """The pool granted a call."""

    lease: Lease


class NoCredential(msgspec.Struct, frozen=True):
    """The pool could grant nothing now."""

    message: str
    """One sentence for the client: how many are cooling, disabled or busy."""

    retry_after: float | None = None
    """Seconds until that may change; None where nothing but a person can change it."""

    busy: bool = False
    """A credential that only waits for a call in flight to end is among them, so waiting a
    little may help."""

    silent: bool = False
    """The pool did not answer at all, so nothing is known of the credentials: it is this server
    that is at fault, and no account is used up."""


class ResponseReceived(Quiet, frozen=True):
    """Status and headers of the upstream response came; its body follows by `ReceiveData`."""

    UNSHOWN: ClassVar = ("headers",)

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    """Names in lower case. May hold cookies."""


class DataReceived(Quiet, frozen=True):
    """A piece of the upstream body, with content codings already undone; never empty."""

    data: bytes


class EndOfMessage(msgspec.Struct, frozen=True):
    """The upstream body is over."""

    framed: bool = True
    """Its framing said so (length, last chunk, end of stream). False where the far end merely
    closed the connection, which might as well be a fault."""


class RequestFailed(msgspec.Struct, frozen=True):
    """The upstream call broke off; its connection is gone and there is nothing to close."""

    reason: str
    """What happened, in a few words, such as `connection refused`."""

    sent: bool = True
    """Whether Grok can have seen the request."""

    repeated: bool = False
    """The host has made the call twice, since the first had broken off without an answer."""


class PictureFetched(Quiet, frozen=True):
    """The picture that was to be fetched is here. Its bytes may still be anything."""

    UNSHOWN: ClassVar = ("data",)

    data: bytes


class PictureRefused(msgspec.Struct, frozen=True):
    """The picture that was to be fetched cannot be had."""

    reason: str
    """Why, in a few words that a client may see, such as `it is larger than 1 MiB`."""


class PictureStored(msgspec.Struct, frozen=True):
    """The picture is kept."""

    url: str
    """Where the client finds it."""


class TimedOut(msgspec.Struct, frozen=True):
    """The command's deadline passed. What it waits for is still outstanding."""


class ClientClosed(msgspec.Struct, frozen=True):
    """The client has left. May answer any command that waits, once."""


class ServerStopping(msgspec.Struct, frozen=True):
    """The host is about to end and will not wait for this exchange any longer. May answer any
    command that waits for something other than the client, once; the exchange tells the client,
    and finishes."""


Event: TypeAlias = (
    Start
    | Completed
    | CredentialAcquired
    | NoCredential
    | ResponseReceived
    | DataReceived
    | EndOfMessage
    | RequestFailed
    | PictureFetched
    | PictureRefused
    | PictureStored
    | TimedOut
    | ClientClosed
    | ServerStopping
)
