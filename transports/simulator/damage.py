"""Lines of an answer, with a fault in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .faults import FaultKind

Encode = Callable[[dict[str, Any]], bytes]
"""Makes bytes of a frame, in the framing of the answer."""

_GARBAGE = (b"<html>no json</html>\n", b'{"result":\n', b"\xff\xfe\x00\n", b"[1,2]\n", b"\n")
_BLOCK = b"x" * (1024 * 1024)
_LONG = 5_000_000
_DEEP = 100_000

HALVED = frozenset(
    {
        FaultKind.RESET,
        FaultKind.STALL,
        FaultKind.CLOSE,
        FaultKind.EARLY_END,
        FaultKind.EARLY_END_BY_CLOSE,
        FaultKind.WRONG_LENGTH,
        FaultKind.TRUNCATED_GZIP,
        FaultKind.BAD_GZIP,
    }
)
"""Faults that come after half of the lines."""
ENDLESS = frozenset({FaultKind.BOMB, FaultKind.ENDLESS_LINE, FaultKind.ENDLESS_ANSWER})
"""Faults whose lines have no end."""


def response_frame(**fields: Any) -> dict[str, Any]:
    """A frame of a new conversation."""
    return {"result": {"response": {"isThinking": False, "isSoftStop": False, **fields}}}


def _stream_error(severity: str) -> dict[str, Any]:
    return response_frame(
        error={
            "message": "a simulated fault",
            "internalError": {},
            "severity": f"STREAM_ERROR_SEVERITY_{severity}",
        }
    )


def _error_line(code: int, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "details": []}}


_LAST_FRAMES: dict[FaultKind, dict[str, Any]] = {
    FaultKind.ERROR_LINE: _error_line(13, "the simulation ends here"),
    FaultKind.LIMIT_IN_STREAM: _error_line(8, "Too many requests"),
    FaultKind.ERROR_FATAL: _stream_error("FATAL"),
}


def _make_odd_line(kind: FaultKind | None, encode: Encode) -> bytes | None:
    """A line that a reader must get past."""
    match kind:
        case FaultKind.ERROR_NORMAL:
            return encode(_stream_error("NORMAL"))
        case FaultKind.LONG_LINE:
            return encode(response_frame(novelty="x" * _LONG))
        case FaultKind.DEEP_NESTING:
            return b'{"result":{"response":{"novelty":%b%b}}}\n' % (b"[" * _DEEP, b"]" * _DEEP)
        case FaultKind.NAN:
            return b'{"result":{"response":{"novelty":NaN}}}\n'
        case FaultKind.INVALID_UTF8:
            return encode(response_frame(token="?")).replace(b'"?"', b'"\xff"')
    return None


def damage(lines: Iterable[bytes], kind: FaultKind | None, encode: Encode) -> Iterator[bytes]:
    """The lines up to where the fault is, or with the fault in them."""
    whole = list(lines)
    middle = min(max(4, len(whole) // 2), max(0, len(whole) - 1))
    odd = _make_odd_line(kind, encode)
    if kind in _LAST_FRAMES:
        yield from whole[:middle]
        yield encode(_LAST_FRAMES[kind])
    elif odd is not None:
        yield from whole[:middle]
        yield odd
        yield from whole[middle:]
    elif kind is FaultKind.GARBAGE:
        for index, line in enumerate(whole):
            yield _GARBAGE[index % len(_GARBAGE)]
            yield line
    elif kind in (FaultKind.ENDLESS_LINE, FaultKind.BOMB):
        yield from whole[:middle]
        while True:
            yield _BLOCK
    elif kind is FaultKind.ENDLESS_ANSWER:
        yield from whole[:middle]
        token = encode(response_frame(token="more "))
        while True:
            yield token
    elif kind is FaultKind.CUT:
        yield from whole[:middle]
        yield from (line[: len(line) // 2] for line in whole[middle : middle + 1])
    elif kind in HALVED:
        yield from whole[:middle]
    else:
        yield from whole
