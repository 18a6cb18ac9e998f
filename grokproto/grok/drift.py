"""Noticing that Grok's API has changed: names in frames that nobody here knows.

An unknown name is counted, and its shape is kept the first time: what kinds of values it has, and
the names in it, but never a value. Names that look as if they were data themselves are `?`.

    {"result":{"response":{"holoDeck":{"on":true,"layers":[{"depth":3}]}}}}
    holoDeck: {on: boolean, layers: [{depth: number}]}

Not every frame is looked at, since nearly all of them are alike: those that carry nothing known,
the first ones of those that do, unless they are large, and the first of each kind of token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from ..answer import Unknown
from .frames import KNOWN_NAMES, UNREADABLE

MAX_UNKNOWN = 64
"""Names that are kept."""
_FIRST = 8
"""Frames with something known in them that are looked at all the same."""
_MOST = 1000
"""Names of one frame that are looked at."""

_PLAIN = re.compile(r"(?!(?:\D*\d){4})[A-Za-z_][A-Za-z0-9_-]{0,47}")
"""What a name looks like, and no id does."""
_MAX_SHOWN = 160
"""Characters of a shape."""
_MAX_BYTES = 64 * 1024
_DEPTH = 3
_WIDTH = 8

_LEVELS = 3
"""A frame is wrapped twice at the most."""
_names = msgspec.json.Decoder(dict[str, msgspec.Raw])
_decode = msgspec.json.Decoder().decode


class Drift:
    """What was seen in one answer that nobody here knows."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        """How often each name came, in the frames that were looked at."""
        self._shapes: dict[str, str] = {}
        self._looks = _FIRST

    @property
    def seen(self) -> tuple[Unknown, ...]:
        """All of it."""
        return tuple(
            Unknown(name, times, self._shapes[name]) for name, times in self.counts.items()
        )

    def glance(self, data: bytes) -> None:
        """Look at a frame that has something known in it, if it is one of the first."""
        if self._looks and len(data) <= _MAX_BYTES:
            self._looks -= 1
            self.look(data)

    def look(self, data: bytes) -> None:
        """Look at a frame."""
        for name, value in islice(_list_unknown(data), _MOST):
            plain = _make_plain(name)
            if plain not in self.counts:
                if len(self.counts) >= MAX_UNKNOWN:
                    continue
                self._shapes[plain] = _describe(value)
            self.counts[plain] = self.counts.get(plain, 0) + 1


class _Result(msgspec.Struct):
    response: dict[str, msgspec.Raw] = {}


class _Wrapped(msgspec.Struct):
    """A frame wrapped twice. One pass finds what is in it, where levels take one each."""

    result: _Result


_wrapped = msgspec.json.Decoder(_Wrapped)


def _list_unknown(data: bytes) -> Iterator[tuple[str, msgspec.Raw]]:
    """The unknown names of a frame, however it is wrapped; none if it is damaged."""
    if len(data) > _MAX_BYTES and (found := _unwrap(data)):
        yield from ((name, value) for name, value in found.items() if name not in KNOWN_NAMES)
        return
    inner: bytes | msgspec.Raw | None = data
    for _ in range(_LEVELS):
        try:
            fields = {} if inner is None else _names.decode(inner)
        except UNREADABLE:
            return
        for name, value in fields.items():
            if name not in KNOWN_NAMES:
                yield name, value
        inner = fields.get("result", fields.get("response"))


def _unwrap(data: bytes) -> dict[str, msgspec.Raw]:
    """The fields of a frame that is wrapped twice; none if it is not."""
    try:
        return _wrapped.decode(data).result.response
    except UNREADABLE:
        return {}


def _make_plain(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else "?"


def _describe(raw: msgspec.Raw) -> str:
    data = bytes(raw)
    if len(data) > _MAX_BYTES:
        return f"{len(data)} bytes"
    try:
        shape = _shape(_decode(data), _DEPTH)
    except UNREADABLE:
        return "damaged"
    return shape if len(shape) <= _MAX_SHOWN else shape[: _MAX_SHOWN - 1] + "…"


def _shape(value: Any, depth: int) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return f"[{_shape(value[0], depth - 1) if value and depth else ''}]"
    if not depth:
        return "{}"
    shown = [f"{_make_plain(n)}: {_shape(v, depth - 1)}" for n, v in [*value.items()][:_WIDTH]]
    return "{" + ", ".join(shown) + (", …}" if len(value) > _WIDTH else "}")
