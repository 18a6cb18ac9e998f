"""The written form of a transcript's values: JSON, and how it becomes events again.

Commands are only ever compared, so they need no way back. Bytes are written as text; those that are
no UTF-8, such as half a character where a read ended, as lone surrogates (`\\udcNN`), which is
Python's `surrogateescape`. Of a header there is only its name.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from .. import events as e
from ..commands import Fork, UpstreamRequest
from ..secret import Secret

T = TypeVar("T")
JSON = dict[str, Any]

_EVENTS: dict[str, Any] = {
    kind.__name__: kind
    for kind in vars(e).values()
    if isinstance(kind, type) and kind.__module__ == e.__name__
}
_HOST = re.compile(r"^https?://[^/]*")
_WITH_DATA = frozenset({"DataReceived", "PictureFetched"})


def to_text(data: bytes) -> str:
    """Bytes as they are written."""
    return data.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """Bytes as they were."""
    return text.encode("utf-8", "surrogateescape")


def encode(value: object) -> Any:
    """A value as it is written."""
    return _walk(value, to_text, str)


def outline(value: object) -> Any:
    """What is left of a value where nothing counts of a text but its length, and of an address
    what comes behind its host.

    A value with filler in it has the outline of the one with the text.
    """
    return _walk(value, len, len)


def _walk(value: Any, on_bytes: Callable[[bytes], Any], on_text: Callable[[str], Any]) -> Any:
    def walk(each: Any) -> Any:
        return _walk(each, on_bytes, on_text)

    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return on_text(value)
    if isinstance(value, bytes):
        return on_bytes(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Secret):
        return "secret"
    if isinstance(value, Fork):
        return {"is": "Fork", "branches": len(value.branches)}
    if isinstance(value, UpstreamRequest):
        return {
            "method": value.method,
            "url": on_text(value.url if on_text is str else _HOST.sub("", value.url)),
            "headers": [name for name, _ in value.headers],
            "body": walk(value.body),
        }
    if isinstance(value, Mapping):
        return {str(key): walk(each) for key, each in value.items()}
    if isinstance(value, frozenset):
        return sorted(map(walk, value))
    if isinstance(value, tuple | list):
        return [walk(each) for each in value]
    return {
        "is": type(value).__name__,
        **{name: walk(getattr(value, name)) for name in value.__struct_fields__},
    }


def decode_event(written: JSON) -> e.Event:
    """An event, of its written form.

    Raises:
        ValueError: It is none.
    """
    fields = dict(written)
    name = fields.pop("is", None)
    if name not in _EVENTS:
        raise ValueError(f"there is no event {name!r}")
    if name in _WITH_DATA and isinstance(fields.get("data"), str):
        fields["data"] = to_bytes(fields["data"])
    event: e.Event = decode(fields, _EVENTS[name])
    return event


def decode(written: JSON, kind: type[T]) -> T:
    """A value of some class, of its written form.

    Raises:
        ValueError: It is none.
    """
    return msgspec.convert(written, kind, dec_hook=_make_secret, builtin_types=(bytes,))


def _make_secret(_: type, value: Any) -> Secret:
    """Secrets are the only values of a class of ours that are written as a text."""
    return Secret(str(value))
