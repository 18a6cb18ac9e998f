"""Taking out of a recording what people said and what is secret, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeGuard

from msgspec.structs import replace

from ..events import (
    CredentialAcquired,
    DataReceived,
    Event,
    NoCredential,
    PictureFetched,
    PictureRefused,
    PictureStored,
    RequestFailed,
    ResponseReceived,
)
from ..secret import Secret
from ..settings import ImageHost, Settings
from .filler import Filler
from .recording import Handled, Notes, Opening, Step
from .redaction import Redaction

_KEPT_HEADERS = frozenset({"content-type", "retry-after"})
"""Of Grok's responses: those that anybody reads."""
_DEFAULTS = Settings()


class _Data(Protocol):
    """A step at which data came."""

    @property
    def branch(self) -> int | None: ...

    @property
    def event(self) -> DataReceived: ...


def redact_opening(opening: Opening, *, keep_text: bool) -> tuple[Redaction | None, Opening]:
    """What an exchange was made of, and what redacts the rest; None where text is kept."""
    settings = replace(
        opening.settings,
        base_url=_move(opening.settings.base_url, _DEFAULTS.base_url),
        assets_url=_move(opening.settings.assets_url, _DEFAULTS.assets_url),
        user_agent=_DEFAULTS.user_agent,
        headers=_hide(opening.settings.headers),
        cookies=_hide(opening.settings.cookies),
        image_hosts=tuple(
            ImageHost(
                host.kind, _move(host.base_url, f"https://{host.kind}.example"), Secret("secret")
            )
            for host in opening.settings.image_hosts
        ),
    )
    if keep_text:
        return None, replace(opening, settings=settings)
    redaction = Redaction(opening.body, opening.models)
    return redaction, replace(
        opening,
        body=redaction.request(opening.body),
        headers={name: redaction.header(value) for name, value in opening.headers.items()},
        settings=settings,
    )


def _move(url: str, host: str) -> str:
    """An operator's address, with another host and filler for its path."""
    path = "/".join(url.split("/")[3:])
    return f"{host}/{Filler().fill(path)}" if path else host


def _hide(secrets: Mapping[str, Secret]) -> dict[str, Secret]:
    return {name: Secret("secret") for name in secrets}


def redact_events(steps: Sequence[Step], redaction: Redaction | None) -> list[Event | None]:
    """The events of a recording, less what people said; None where a step has none."""
    data = {} if redaction is None else _redact_bodies(steps, redaction)
    events: list[Event | None] = []
    for number, step in enumerate(steps):
        if not isinstance(step, Handled):
            events.append(None)
        elif number in data:
            events.append(DataReceived(data[number]))
        else:
            events.append(_redact(step.event, redaction))
    return events


def _redact_bodies(steps: Sequence[Step], redaction: Redaction) -> dict[int, bytes]:
    """By the number of the step: the data that came. A body is redacted whole, and cut again."""
    bodies: dict[int | None, list[int]] = {}
    redacted: dict[int, bytes] = {}

    def end(numbers: list[int]) -> None:
        pieces = [step.event.data for step in map(steps.__getitem__, numbers) if _has_data(step)]
        body = redaction.answer(b"".join(pieces))
        position = 0
        for number, piece in zip(numbers, pieces, strict=True):
            redacted[number] = body[position : position + len(piece)]
            position += len(piece)

    for number, step in enumerate(steps):
        if _has_data(step):
            bodies.setdefault(step.branch, []).append(number)
        elif isinstance(step, Handled) and isinstance(step.event, ResponseReceived):
            end(bodies.pop(step.branch, []))
    for numbers in bodies.values():
        end(numbers)
    return redacted


def _has_data(step: Step) -> TypeGuard[_Data]:
    return isinstance(step, Handled) and isinstance(step.event, DataReceived)


def _redact(event: Event, redaction: Redaction | None) -> Event:
    match event:
        case CredentialAcquired(lease):
            return replace(event, lease=replace(lease, cookies=_hide(lease.cookies)))
        case ResponseReceived(_, headers):
            kept = tuple(
                (name, value if redaction is None else redaction.grok_header(value))
                for name, value in headers
                if name in _KEPT_HEADERS
            )
            return replace(event, headers=kept)
    if redaction is None:
        return event
    match event:
        case NoCredential(message):
            return replace(event, message=redaction.reason(message))
        case PictureFetched(data):
            return replace(event, data=redaction.picture(data))
        case PictureRefused(reason) | RequestFailed(reason):
            return replace(event, reason=redaction.reason(reason))
        case PictureStored(url):
            return replace(event, url=redaction.name(url))
    return event


def redact_notes(notes: Notes | None, redaction: Redaction | None) -> Notes | None:
    """What the host told of its credentials, less what it quotes of Grok's words."""
    if notes is None or redaction is None:
        return notes
    accounts = [
        {**each, "reason": each["reason"] and redaction.reason(each["reason"])}
        for each in notes["accounts"]
    ]
    return {**notes, "accounts": accounts}
