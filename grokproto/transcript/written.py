"""What stands in the lines of a transcript, as far as anybody reads it: for checking it at once.

A file may be damaged, or written by somebody else. So each line is held against these shapes when
it is read, and nobody who goes through it later meets something else than they expect. Of commands
they have what `telling` tells; the rest of a command is only ever compared.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from ..failures import FailureKind
from ..lease import Outcome
from .form import to_bytes

Text: TypeAlias = str | int
"""A text, or its length where only that is known."""
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class WrittenHead(msgspec.Struct):
    """The first line."""

    text: Literal["kept", "filler"]
    whole: bool
    differs: Count | None
    dialect: str
    created: int
    headers: dict[str, str]
    ids: list[str]
    models: list[dict[str, Any]]
    aliases: dict[str, str]
    settings: dict[str, Any]
    body: str


class _Command(msgspec.Struct, tag_field="is", tag=True):
    """See `grokproto.commands`: they have the names that they have there."""


class AcquireCredential(_Command):
    group: Text
    exclude: list[Text]


class _Request(msgspec.Struct):
    method: str
    url: Text
    body: Text

    def __post_init__(self) -> None:
        _check_data(self.body)


class SendRequest(_Command):
    request: _Request


class FetchPreview(_Command):
    request: _Request


class ReceiveResponse(_Command):
    pass


class ReceiveData(_Command):
    pass


class CloseRequest(_Command):
    pass


class _Failure(msgspec.Struct):
    kind: FailureKind
    message: Text


class _Quota(msgspec.Struct):
    remaining: int
    total: int


class ReleaseCredential(_Command):
    outcome: Outcome
    failure: _Failure | None
    quota: _Quota | None


class SendResponse(_Command):
    status: int


class SendData(_Command):
    data: Text

    def __post_init__(self) -> None:
        _check_data(self.data)


class EndResponse(_Command):
    pass


class FetchPicture(_Command):
    url: Text


class StorePicture(_Command):
    data: Text

    def __post_init__(self) -> None:
        _check_data(self.data)


class Fork(_Command):
    branches: int


class Wait(_Command):
    pass


class _Summary(msgspec.Struct):
    status: int | None
    failure: _Failure | None
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    client_closed: bool


class Finish(_Command):
    summary: _Summary


Command: TypeAlias = (
    AcquireCredential
    | SendRequest
    | FetchPreview
    | ReceiveResponse
    | ReceiveData
    | CloseRequest
    | ReleaseCredential
    | SendResponse
    | SendData
    | EndResponse
    | FetchPicture
    | StorePicture
    | Fork
    | Wait
    | Finish
)


class _Account(msgspec.Struct):
    name: str
    state: str
    remaining: int | None
    total: int | None
    in_flight: int
    reason: str | None


class _Notes(msgspec.Struct):
    rotation: str
    accounts: list[_Account]


class _Timed(msgspec.Struct, forbid_unknown_fields=True):
    now: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.now):
            raise ValueError(f"{self.now} is no time")


class WrittenHandled(_Timed):
    """The line of an event, and of the command that came of it."""

    event: dict[str, Any]
    command: Command
    branch: Count | None = None
    notes: _Notes | None = None


class WrittenTaken(msgspec.Struct, forbid_unknown_fields=True):
    """The line of what the joint took."""

    branch: Count
    taken: list[Command]


class WrittenAbandoned(_Timed):
    """The line of what the host dropped."""

    abandoned: list[Command]
    branch: Count | None = None


def check(written: Any, kind: Any) -> None:
    """See whether a line has a shape.

    Raises:
        ValueError: It has another.
    """
    msgspec.convert(written, kind)


def _check_data(data: Text) -> None:
    """What was bytes must be such that it can become bytes again."""
    if isinstance(data, str):
        to_bytes(data)
