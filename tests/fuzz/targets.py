"""What is fuzzed: functions that take any bytes, and let an exception out where a rule is broken.

The first bytes of an input say how the rest is used (`Knobs`), so that a fuzzer that knows nothing
of our formats can choose cuts, limits and dialects too.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable

import trio
import trio.testing

from grokproto import answer
from grokproto import commands as c
from grokproto import events as e
from grokproto.dialects import DIALECTS
from grokproto.errors import InvalidRequestError
from tests.playbook import make_exchange
from tests.proto.reading import read
from tests.strategies import cut, single_bytes
from transports.server.connections import Connections
from transports.server.errors import BadBodyError, BodyTooLargeError
from transports.server.http_request import ConnectionLimits, HTTPRequest

KNOBS = 4
"""Bytes in front of the input proper."""
_SHORT = 400
"""Bytes of an input that is also cut into single ones."""
_DIALECTS = sorted(DIALECTS)
_LINES = (16 * 1024 * 1024, 20, 100, 1000)


class Knobs:
    """An input taken apart.

    Args:
        data: Any bytes. The first chooses among things, the next three how the rest is cut.
    """

    def __init__(self, data: bytes) -> None:
        head = data[:KNOBS].ljust(KNOBS, b"\0")
        self.choice = head[0]
        self.data = data[KNOBS:]
        places = random.Random(head[1:])
        self.pieces = cut(
            self.data, [places.randrange(len(self.data) + 1) for _ in range(head[1] % 12)]
        )


def fuzz_reader(data: bytes) -> None:
    """Grok's bytes: the same events however they are cut, the last of them an ending."""
    knobs = Knobs(data)
    framed = bool(knobs.choice & 1)
    limit = _LINES[knobs.choice >> 1 & 3]
    whole = read([knobs.data], framed=framed, max_line_bytes=limit)
    assert read(knobs.pieces, framed=framed, max_line_bytes=limit) == whole
    if len(knobs.data) <= _SHORT:
        assert read(single_bytes(knobs.data), framed=framed, max_line_bytes=limit) == whole
    assert isinstance(whole[-1], answer.Ended | answer.Failed)
    for event in whole[:-1]:
        assert not isinstance(event, answer.Ended | answer.Failed)
        if isinstance(event, answer.Text | answer.Reasoning):
            assert event.text.encode()


def fuzz_request(data: bytes) -> None:
    """A client's body: it is read, or refused with an error that is the client's."""
    knobs = Knobs(data)
    dialect = _DIALECTS[knobs.choice % len(_DIALECTS)]
    refused: InvalidRequestError | None = None
    try:
        DIALECTS[dialect].decode_request(knobs.data, {})
    except InvalidRequestError as exc:
        refused = exc
    exchange = make_exchange(knobs.data, dialect=dialect)
    command = exchange.handle(e.Start(), 0.0)
    if refused is None:
        assert not isinstance(command, c.Finish)
    else:
        assert 400 <= refused.status < 500
        assert refused.message.encode()
        assert len(refused.message) < 2000
        assert isinstance(command, c.SendResponse)
        assert command.status == refused.status
    for owed in exchange.abandon(0.0):
        raise AssertionError(f"{owed} is owed, and nothing was granted")


LIMITS = ConnectionLimits(max_header_bytes=400)
STATUSES = {100, 200, 400, 408, 413, 414, 431}


class FakeTransport:
    """A connection in memory, in the place of `transports.loops.sockets.Transport`.

    Args:
        pieces: What the client sends, read by read; then it ends its side.
    """

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = [piece for piece in pieces if piece]
        self._handler: Callable[[], None] | None = None
        self._watched = trio.Event()
        self.sent = b""
        self.closed = False

    async def run(self) -> None:
        """Send the next piece whenever the server has done all it can with those before."""
        while not self.closed:
            await self._watched.wait()
            await trio.testing.wait_all_tasks_blocked()
            if self._handler is not None:
                self._handler()

    def watch(self, handler: Callable[[], None]) -> None:
        """Tell of every piece."""
        self._handler = handler
        self._watched.set()

    def unwatch(self) -> None:
        """Tell of none."""
        self._handler = None
        self._watched = trio.Event()

    def try_receive(self) -> bytes:
        """The next piece, or the end."""
        return self._pieces.pop(0) if self._pieces else b""

    def try_send(self, data: bytes | memoryview) -> int:
        """Take everything."""
        if self.closed:
            raise OSError("closed")
        self.sent += data
        return len(data)

    async def wait_writable(self) -> None:
        """Nobody waits for what takes everything."""
        raise AssertionError

    def end(self) -> None:
        """Nothing more is sent."""

    def close(self, *, reset: bool = False) -> None:
        """Close."""
        self.unwatch()
        self.closed = True


async def answer_request(request: HTTPRequest) -> None:
    """Answer with what came, in one of the shapes there are."""
    body = b""
    if request.path != "/unread":
        try:
            body = await request.receive_body(50)
        except BodyTooLargeError:
            await request.respond(413, [], b"")
            return
        except BadBodyError as exc:
            await request.respond(400, [], str(exc).encode())
            return
    said = [request.method, request.path, request.query, request.headers.items(), body.hex()]
    if request.path != "/stream":
        await request.respond(200, [], json.dumps(said).encode())
        return
    await request.send_response(200, [])
    for word in said:
        await request.send_data(json.dumps(word).encode())
    await request.end_response()


async def _talk(pieces: list[bytes]) -> bytes:
    """What a server says to these pieces, less its dates."""
    transport = FakeTransport(pieces)
    errors: list[BaseException] = []
    serve = Connections().serve
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.run)
        await serve(transport, answer_request, LIMITS, errors.append)  # type: ignore[arg-type]
        nursery.cancel_scope.cancel()
    assert errors == []
    assert transport.closed
    return re.sub(rb"date: [^\r]*\r\n", b"", transport.sent)


async def _talk_twice(knobs: Knobs) -> tuple[bytes, bytes]:
    return await _talk([knobs.data]), await _talk(knobs.pieces)


def fuzz_connection(data: bytes) -> None:
    """A client's bytes: the same answers however they are cut, and none that is our fault."""
    knobs = Knobs(data)
    clock = trio.testing.MockClock(autojump_threshold=0)  # timeouts pass at once
    whole, parts = trio.run(_talk_twice, knobs, clock=clock)
    assert parts == whole
    statuses = {int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", whole)}
    assert statuses <= STATUSES, statuses


TARGETS: dict[str, Callable[[bytes], None]] = {
    "reader": fuzz_reader,
    "request": fuzz_request,
    "connection": fuzz_connection,
}
