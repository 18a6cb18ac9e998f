"""Sending an answer the way it is ordered: paced, cut, compressed, and broken where it shall be."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

import attrs
import trio

from ..server.http_request import HTTPRequest
from .coding import build_compressor
from .damage import ENDLESS, HALVED, Encode, damage
from .faults import FaultKind
from .framing import frame_bytes
from .refusals import JSON_HEADERS, Headers

_GZIPPED = frozenset({FaultKind.TRUNCATED_GZIP, FaultKind.BAD_GZIP, FaultKind.BOMB})
_NO_GZIP = b"\0" * 64
_PIECES = 10
"""Into as many an answer is cut that has no lines, so that it can break in its middle."""


@attrs.frozen
class Delivery:
    """How the bytes of an answer are sent."""

    pace: float = 0.0
    """Seconds between two writes of lines."""
    lines_per_write: int = 1
    """0 for all at once."""
    cut: int | None = None
    """Bytes in a write, instead of lines. They are cut after compression."""
    coding: str = "identity"
    """One of `coding.CODINGS`; used whether or not the client accepts it."""
    drip: float = 0.0
    """Seconds between two bytes where the fault `DRIP` is ordered."""


@attrs.frozen
class Answer:
    """What is to be sent, if nothing goes wrong."""

    lines: Iterable[bytes]
    status: int = 200
    headers: Headers = JSON_HEADERS
    encode: Encode = lambda frame: frame_bytes(frame, "lines")
    """Makes bytes of a frame, for faults that add some."""


def cut_body(body: bytes) -> list[bytes]:
    """A body without lines, in pieces that can stand for them."""
    size = max(1, -(-len(body) // _PIECES))
    return [body[start : start + size] for start in range(0, len(body), size)]


class _Outlet:
    """A response that may break HTTP's rules, and counts what it sends.

    Args:
        http: The request to answer.
        count: Told the bytes of body that were sent.
        raw: Send the head and the body as they are. Such a body ends with the connection.
    """

    def __init__(self, http: HTTPRequest, count: Callable[[int], None], *, raw: bool) -> None:
        self._http = http
        self._count = count
        self._raw = raw

    async def send_head(self, status: int, headers: list[tuple[str, str]]) -> None:
        if not self._raw:
            await self._http.send_response(status, headers)
            return
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
        await self._http.send_raw(f"HTTP/1.1 {status} Simulated\r\n{fields}\r\n".encode("latin-1"))

    async def send(self, data: bytes) -> None:
        if not data:
            return
        await (self._http.send_raw(data) if self._raw else self._http.send_data(data))
        self._count(len(data))

    async def end(self) -> None:
        if self._raw:
            self._http.abort()
        else:
            await self._http.end_response()


async def send_answer(
    http: HTTPRequest,
    answer: Answer,
    delivery: Delivery,
    kind: FaultKind | None,
    count: Callable[[int], None],
) -> None:
    """Send an answer, with a fault in it if one is given.

    Args:
        http: The request to answer. It is done with afterwards.
        answer: What to send.
        delivery: How to send it.
        kind: What shall go wrong.
        count: Told the bytes of body that were sent, write by write.
    """
    if await _break_before_head(http, kind):
        return
    lines = damage(answer.lines, kind, answer.encode)
    coding = "gzip" if kind in _GZIPPED else delivery.coding
    headers = [*answer.headers, ("cache-control", "no-cache")]
    raw = True
    match kind:
        case FaultKind.END_BY_CLOSE | FaultKind.EARLY_END_BY_CLOSE:
            headers.append(("connection", "close"))
        case FaultKind.WRONG_LENGTH:
            headers.append(("content-length", "1000000000"))
        case FaultKind.SHORT_LENGTH:
            coding = "identity"
            body = b"".join(lines)
            lines = iter((body,))
            headers.append(("content-length", str(len(body) // 2)))
        case _:
            raw = False
    if coding != "identity":
        headers.append(("content-encoding", coding))
    if kind is FaultKind.HUGE_HEADERS:
        headers += [(f"x-filler-{n}", "x" * 4000) for n in range(64)]
    if kind is FaultKind.DRIP:
        delivery = attrs.evolve(delivery, cut=1)
    outlet = _Outlet(http, count, raw=raw)
    await outlet.send_head(answer.status, headers)
    if kind in (FaultKind.RESET_AFTER_HEAD, FaultKind.STALL_AFTER_HEAD):
        await _break(http, kind)
        return
    compressor = build_compressor(coding)
    size = delivery.lines_per_write or int(kind in ENDLESS)  # nobody can wait for all of these
    for number, data in enumerate(_batch(lines, size)):
        if number and delivery.pace:
            await trio.sleep(delivery.pace)
        else:
            await trio.lowlevel.checkpoint()
        for piece in _cut(compressor.compress(data), delivery.cut):
            await outlet.send(piece)
            if kind is FaultKind.DRIP and delivery.drip:
                await trio.sleep(delivery.drip)
    if kind is FaultKind.BAD_GZIP:
        await outlet.send(_NO_GZIP)
    if kind in _BROKEN:
        await _break(http, kind)
        return
    if kind not in (FaultKind.TRUNCATED_GZIP, FaultKind.BAD_GZIP):
        await outlet.send(compressor.finish())
    await outlet.end()


_BROKEN = (HALVED | {FaultKind.CUT}) - {
    FaultKind.EARLY_END,
    FaultKind.EARLY_END_BY_CLOSE,
    FaultKind.TRUNCATED_GZIP,
    FaultKind.BAD_GZIP,
}


async def _break_before_head(http: HTTPRequest, kind: FaultKind | None) -> bool:
    match kind:
        case (
            FaultKind.RESET_BEFORE_BODY
            | FaultKind.STALL_BEFORE_BODY
            | FaultKind.RESET_BEFORE_HEAD
            | FaultKind.STALL_BEFORE_HEAD
        ):
            await _break(http, kind)
        case FaultKind.RESET_IN_HEAD:
            await http.send_raw(b"HTTP/1.1 200 OK\r\ncontent-ty")
            await _break(http, kind)
        case FaultKind.NOT_HTTP:
            await http.send_raw(b"\x15\x03\x01\x00\x02no HTTP\r\n\r\n")
            await _break(http, kind)
        case _:
            return False
    return True


async def _break(http: HTTPRequest, kind: FaultKind) -> None:
    if kind.value.startswith("stall"):
        await trio.sleep_forever()  # until the client leaves
    http.abort(reset=kind.value.startswith("reset"))


async def break_unread(http: HTTPRequest, kind: FaultKind) -> None:
    """Carry out a fault that comes before the request was read."""
    await _break(http, kind)


def _batch(lines: Iterator[bytes], size: int) -> Iterator[bytes]:
    if not size:
        yield b"".join(lines)
    while batch := list(itertools.islice(lines, size)):
        yield b"".join(batch)


def _cut(data: bytes, size: int | None) -> Iterator[bytes]:
    size = size or max(1, len(data))
    for start in range(0, len(data), size):
        yield data[start : start + size]
