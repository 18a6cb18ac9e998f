"""Sending an answer the way it is ordered: paced, cut, compressed, and broken where it shall be."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Protocol

import attrs
import brotli
import trio
import zstandard

from ..connection import HTTPRequest
from .faults import FaultKind

_GARBAGE = (b"<html>no json</html>\n", b'{"result":\n', b"\xff\xfe\x00\n", b"[1,2]\n", b"\n")
_ENDLESS = b"x" * 65536
_ERROR_LINE = b'{"error":{"code":13,"message":"the simulation ends here","details":[]}}\n'
_LIMIT_LINE = b'{"error":{"code":8,"message":"Too many requests","details":[]}}\n'
_ERROR_FRAME = (
    b'{"result":{"response":{"error":{"message":"simulated","internalError":{},'
    b'"severity":"STREAM_ERROR_SEVERITY_%b"}}}}\n'
)
_LAST_LINES = {
    FaultKind.ERROR_LINE: _ERROR_LINE,
    FaultKind.ERROR_FATAL: _ERROR_FRAME % b"FATAL",
    FaultKind.LIMIT_IN_STREAM: _LIMIT_LINE,
}


@attrs.frozen
class Delivery:
    """How the bytes of an answer are sent."""

    pace: float = 0.0
    """Seconds between two lines."""
    lines_per_write: int = 1
    """0 for all at once."""
    cut: int | None = None
    """Bytes in a write, instead of lines."""
    coding: str = "identity"
    """identity, gzip, br or zstd."""


class _Compressor(Protocol):
    def compress(self, data: bytes) -> bytes: ...
    def finish(self) -> bytes: ...


class _Identity:
    def compress(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class _Gzip:
    def __init__(self) -> None:
        self._object = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)

    def compress(self, data: bytes) -> bytes:
        return self._object.compress(data) + self._object.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._object.flush()


class _Brotli:
    def __init__(self) -> None:
        self._object = brotli.Compressor(quality=1)

    def compress(self, data: bytes) -> bytes:
        return bytes(self._object.process(data) + self._object.flush())

    def finish(self) -> bytes:
        return bytes(self._object.finish())


class _Zstd:
    def __init__(self) -> None:
        self._object = zstandard.ZstdCompressor().compressobj()

    def compress(self, data: bytes) -> bytes:
        return self._object.compress(data) + self._object.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def finish(self) -> bytes:
        return self._object.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)


_COMPRESSORS: dict[str, type[_Identity | _Gzip | _Brotli | _Zstd]] = {
    "identity": _Identity,
    "gzip": _Gzip,
    "br": _Brotli,
    "zstd": _Zstd,
}


async def send_answer(
    http: HTTPRequest, lines: Iterable[bytes], delivery: Delivery, fault: FaultKind | None
) -> None:
    """Send an answer, with a fault in it if one is given."""
    if fault in (FaultKind.RESET_BEFORE_HEAD, FaultKind.STALL_BEFORE_HEAD):
        await _break(http, fault)
        return
    coding = "gzip" if fault in (FaultKind.TRUNCATED_GZIP, FaultKind.BOMB) else delivery.coding
    headers = [("content-type", "application/json"), ("cache-control", "no-cache")]
    if coding != "identity":
        headers.append(("content-encoding", coding))
    if fault in (FaultKind.CUT, FaultKind.CLOSE, FaultKind.TRUNCATED_GZIP):
        headers.append(("connection", "close"))
    if fault is FaultKind.WRONG_LENGTH:
        headers.append(("content-length", "1000000"))
    if fault is FaultKind.HUGE_HEADERS:
        headers += [(f"x-filler-{n}", "x" * 4000) for n in range(64)]
    await http.send_response(200, headers)
    if fault in (FaultKind.RESET_AFTER_HEAD, FaultKind.STALL_AFTER_HEAD):
        await _break(http, fault)
        return
    if fault is FaultKind.DRIP:
        delivery = attrs.evolve(delivery, cut=1)
    compressor = _COMPRESSORS[coding]()
    async for data in _deliver(_damage(lines, fault), delivery):
        await http.send_data(compressor.compress(data))
    if fault in _ENDINGS:
        await _break(http, fault)
        return
    await http.send_data(compressor.finish())
    await http.end_response()


_ENDINGS = frozenset(
    {
        FaultKind.RESET,
        FaultKind.STALL,
        FaultKind.CUT,
        FaultKind.CLOSE,
        FaultKind.TRUNCATED_GZIP,
        FaultKind.WRONG_LENGTH,
    }
)


async def _break(http: HTTPRequest, fault: FaultKind) -> None:
    if fault.value.startswith("stall"):
        await trio.sleep_forever()  # until the client leaves
    http.abort(reset=fault.value.startswith("reset"))


def _damage(lines: Iterable[bytes], fault: FaultKind | None) -> Iterator[bytes]:
    """The lines up to where the fault is, or with the fault in them."""
    whole = list(lines)
    middle = max(4, len(whole) // 2)
    if fault in _LAST_LINES:
        yield from whole[:middle]
        yield _LAST_LINES[fault]
    elif fault is FaultKind.GARBAGE:
        for index, line in enumerate(whole):
            yield _GARBAGE[index % len(_GARBAGE)]
            yield line
    elif fault is FaultKind.ERROR_NORMAL:
        yield from whole[:middle]
        yield _ERROR_FRAME % b"NORMAL"
        yield from whole[middle:]
    elif fault in (FaultKind.ENDLESS_LINE, FaultKind.BOMB):
        yield from whole[:middle]
        while True:
            yield _ENDLESS
    elif fault is FaultKind.CUT:
        yield from whole[:middle]
        yield whole[middle][: len(whole[middle]) // 2]
    elif fault in _ENDINGS:
        yield from whole[:middle]
    else:
        yield from whole


async def _deliver(lines: Iterator[bytes], delivery: Delivery) -> AsyncIterator[bytes]:
    batch: list[bytes] = []
    for line in lines:
        batch.append(line)
        if delivery.lines_per_write and len(batch) >= delivery.lines_per_write:
            for data in _cut(b"".join(batch), delivery.cut):
                yield data
            batch.clear()
            if delivery.pace:
                await trio.sleep(delivery.pace)
            else:
                await trio.lowlevel.checkpoint()
    for data in _cut(b"".join(batch), delivery.cut):
        yield data


def _cut(data: bytes, size: int | None) -> Iterator[bytes]:
    if not data:
        return
    if size is None:
        yield data
        return
    for start in range(0, len(data), size):
        yield data[start : start + size]
