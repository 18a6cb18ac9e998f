"""Server-sent events, read as a browser reads them, and stricter where clients are."""

from __future__ import annotations

import json
from typing import Any

import attrs


class FramingError(Exception):
    """The body is no proper stream of events; the text says why."""


@attrs.frozen
class Stream:
    """A stream of chunks."""

    chunks: tuple[dict[str, Any], ...]
    comments: int
    done: bool
    """It ended with `data: [DONE]`."""


def read_stream(body: bytes) -> Stream:
    """The chunks in a body.

    Raises:
        FramingError: It is no stream of JSON objects.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise FramingError(f"byte {exc.start} of the stream is no UTF-8") from exc
    if text.startswith("\ufeff"):
        raise FramingError("the stream begins with a byte order mark")
    text = text.replace("\r\n", "\n")
    if not text.endswith("\n\n"):
        raise FramingError(f"the last event has no blank line behind it: {text[-40:]!r}")
    chunks: list[dict[str, Any]] = []
    comments = 0
    done = False
    for block in text.removesuffix("\n\n").split("\n\n"):
        data = [line[5:].removeprefix(" ") for line in block.split("\n") if line[:5] == "data:"]
        for line in block.split("\n"):
            name = line.partition(":")[0]
            if name not in ("", "data", "event", "id", "retry"):
                raise FramingError(f"{line[:40]!r} is no line of an event")
        if not data:
            comments += 1
            continue
        if done:
            raise FramingError("something comes after [DONE]")
        if data == ["[DONE]"]:
            done = True
            continue
        if len(data) > 1:
            raise FramingError("an event has several lines of data, which few clients join")
        chunks.append(_read_object(data[0]))
    return Stream(tuple(chunks), comments, done)


def _read_object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise FramingError(f"{text[:60]!r} is no JSON") from None
    if not isinstance(found, dict):
        raise FramingError(f"{text[:60]!r} is no JSON object")
    return found
