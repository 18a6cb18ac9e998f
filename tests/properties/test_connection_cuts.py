"""The same bytes, however they are cut on their way, get the same answer; and all bytes get one."""

from __future__ import annotations

import json
import re
import socket

import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.targets import answer_request
from tests.strategies import cuts
from transports.loops.sockets import Transport
from transports.server.connections import Connections
from transports.server.http_request import ConnectionLimits

PATIENCE = 10.0
LIMITS = ConnectionLimits(max_header_bytes=400)

HOST = b"Host: t\r\n"
WHOLE = [
    b"GET /one?x HTTP/1.1\r\n" + HOST + b"\r\n",
    b"HEAD /two HTTP/1.1\r\n" + HOST + b"\r\n",
    b"POST /three HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\nbody",
    b"POST /stream HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    b"3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nTrailer: t\r\n\r\n",
    b"POST /unread HTTP/1.1\r\n" + HOST + b"Content-Length: 6\r\n\r\nunread",
    b"\r\nGET /after-an-empty-line HTTP/1.1\r\n" + HOST + b"\r\n",
]
LAST = [
    b"GET /last HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
    b"GET /stream HTTP/1.0\r\n\r\n",
    b"",
]
SPOILERS = [
    b"\n",
    b"\r",
    b"\r\n",
    b"\r\n\r\n",
    b"\x00",
    b" ",
    b"\r\n ",
    b":",
    b"0\r\n\n",
    b"Host: u\r\n",
    b"Content-Length: 2\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: h2c\r\n",
    b"HTTP/2.0",
    b"CONNECT ",
    b"x" * 500,
    b"A: b\r\n" * 100,
]


async def talk(pieces: list[bytes]) -> bytes:
    """What a server says to these pieces, less its dates."""
    ours, theirs = socket.socketpair()
    client = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    errors: list[BaseException] = []
    said = b""
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            serve = Connections().serve
            nursery.start_soon(serve, Transport(theirs), answer_request, LIMITS, errors.append)
            async with client:
                try:
                    for piece in pieces:
                        await client.send_all(piece)
                        # Until the server has seen this piece and does not wait for its turn.
                        await trio.testing.wait_all_tasks_blocked()
                    await client.send_eof()
                except trio.BrokenResourceError:
                    pass  # it has heard enough
                while data := await client.receive_some(65536):
                    said += data
    assert errors == []
    return re.sub(rb"date: [^\r]*\r\n", b"", said)


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    """Some requests on one connection."""
    first = draw(st.lists(st.sampled_from(WHOLE), max_size=4))
    return b"".join([*first, draw(st.sampled_from(LAST))])


@st.composite
def spoiled_conversations(draw: st.DrawFn) -> bytes:
    """Requests with something taken out of them or put into them."""
    data = bytearray(draw(conversations()))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = start + draw(st.integers(0, 6))
        data[start:end] = draw(st.one_of(st.sampled_from(SPOILERS), st.binary(max_size=6)))
    return bytes(data)


@given(st.data())
def test_requests_in_any_cut(data: st.DataObject) -> None:
    requests = data.draw(conversations())
    whole = trio.run(talk, [requests] if requests else [])
    assert whole.count(b"HTTP/1.1 200") == whole.count(b"HTTP/1.1 ") == requests.count(b" HTTP/1.")
    assert trio.run(talk, data.draw(cuts(requests))) == whole


@given(st.data())
def test_what_is_spoiled_in_any_cut(data: st.DataObject) -> None:
    requests = data.draw(spoiled_conversations())
    whole = trio.run(talk, [requests] if requests else [])
    assert trio.run(talk, data.draw(cuts(requests))) == whole


@given(st.one_of(spoiled_conversations(), st.binary(max_size=200)))
@example(WHOLE[1] + b"\x00")
@example(b"HEAD / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
def test_anything_gets_a_clear_answer(data: bytes) -> None:
    said = trio.run(talk, [data] if data else [])
    statuses = {int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", said)}
    assert statuses <= {100, 200, 400, 413, 414, 431}
    for body in re.findall(rb"\r\n\r\n(\{\"error.*?\}\})", said):
        assert json.loads(body)["error"]["type"] == "invalid_request_error"
