"""`transports.connection`: HTTP/1.1 as clients speak it."""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import cut
from tests.transports.served import RawClient, encode_request
from transports.connection import (
    BadBodyError,
    BodyTooLargeError,
    ConnectionLimits,
    Connections,
    Handler,
    HTTPRequest,
)
from transports.server import Server
from transports.sockets import Transport

PATIENCE = 10.0
QUICK = ConnectionLimits(
    header_timeout=0.2, body_timeout=0.2, keepalive_timeout=0.2, write_timeout=0.3
)


async def echo(request: HTTPRequest) -> None:
    """Answer with what came."""
    try:
        body = await request.receive_body(10_000)
    except BodyTooLargeError:
        await request.respond(413, [], b"too large")
        return
    except BadBodyError as exc:
        await request.respond(400, [], str(exc).encode())
        return
    said = {"method": request.method, "path": request.path, "query": request.query}
    await request.respond(200, [], json.dumps({**said, "body": body.decode()}).encode())


async def ignore(request: HTTPRequest) -> None:
    """Answer without reading."""
    await request.respond(200, [], b"ignored")


async def stream(request: HTTPRequest) -> None:
    """Answer in pieces."""
    await request.receive_body(10_000)
    await request.send_response(200, [("content-type", "text/plain")])
    for piece in (b"one ", b"", b"two ", b"three"):
        await request.send_data(piece)
    await request.end_response()


def with_connection(
    check: Callable[[RawClient], Awaitable[None]],
    handler: Handler = echo,
    limits: ConnectionLimits | None = None,
) -> list[BaseException]:
    """Run a check against a server of one handler; give what the handler let out."""
    errors: list[BaseException] = []

    async def main() -> None:
        server = Server(handler, limits=limits, on_error=errors.append)
        async with trio.open_nursery() as nursery:
            listening = await nursery.start(server.run, "127.0.0.1", 0)
            with trio.fail_after(PATIENCE):
                tcp = await trio.open_tcp_stream("127.0.0.1", listening.port)
                async with tcp:
                    await check(RawClient(tcp))
            nursery.cancel_scope.cancel()

    trio.run(main)
    return errors


def test_bodies_by_length_and_chunked() -> None:
    async def check(client: RawClient) -> None:
        await client.send_request("POST", "/a?b=c", b"hello")
        answer = await client.read_response()
        assert answer.json == {"method": "POST", "path": "/a", "query": "b=c", "body": "hello"}
        await client.send_request("POST", "/", transfer_encoding="chunked")
        for piece in (b"5;ext=1\r\nhel", b"lo\r\n", b"1\r\n!\r\n", b"0\r\nTrailer: x\r\n\r\n"):
            await client.send(piece)
        assert (await client.read_response()).json["body"] == "hello!"

    with_connection(check)


def test_expect_continue() -> None:
    async def check(client: RawClient) -> None:
        await client.send_request("POST", "/", expect="100-continue", content_length="2")
        assert (await client.read_response()).status == 100
        await client.send(b"hi")
        assert (await client.read_response()).json["body"] == "hi"

    with_connection(check)


def test_expectation_that_is_not_wanted() -> None:
    async def check(client: RawClient) -> None:
        await client.send_request("POST", "/", expect="100-continue", content_length="2")
        assert (await client.read_response()).body == b"ignored"
        assert await client.is_closed()

    with_connection(check, ignore)


def test_chunks_to_1_1_and_close_to_1_0() -> None:
    async def check(client: RawClient) -> None:
        await client.send_request("GET", "/")
        answer = await client.read_response()
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.body == b"one two three"
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        answer = await client.read_response()
        assert "transfer-encoding" not in answer.headers
        assert answer.headers["connection"] == "close"
        assert answer.body == b"one two three"

    with_connection(check, stream)


def test_head_of_a_stream() -> None:
    async def check(client: RawClient) -> None:
        await client.send(encode_request("HEAD", "/") + encode_request("GET", "/"))
        assert (await client.read_response(head_only=True)).status == 200
        assert (await client.read_response()).body == b"one two three"

    with_connection(check, stream)


def test_absolute_targets() -> None:
    async def check(client: RawClient) -> None:
        await client.send_request("GET", "http://test/a/b?c")
        assert (await client.read_response()).json["path"] == "/a/b"
        await client.send_request("GET", "http://test")
        assert (await client.read_response()).json["path"] == "/"

    with_connection(check)


def test_unread_bodies() -> None:
    async def check(client: RawClient) -> None:
        await client.send(encode_request("POST", "/", b"x" * 5000) + encode_request("GET", "/"))
        assert (await client.read_response()).body == b"ignored"
        assert (await client.read_response()).body == b"ignored"
        await client.send_request("POST", "/", content_length="99999999")
        assert (await client.read_response()).body == b"ignored"

    with_connection(check, ignore)


def test_body_that_is_too_large_is_told_early() -> None:
    async def check(client: RawClient) -> None:
        await client.send_request("POST", "/", content_length="99999999")
        answer = await client.read_response()
        assert (answer.status, answer.headers["connection"]) == (413, "close")

    with_connection(check)


def test_chunked_body_that_is_too_large() -> None:
    async def check(client: RawClient) -> None:
        await client.send_request("POST", "/", transfer_encoding="chunked")
        await client.send(b"2800\r\n" + b"x" * 0x2800 + b"\r\n")
        assert (await client.read_response()).status == 413

    with_connection(check)


POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20_000, 431),
    ],
)
def test_what_is_no_request(raw: bytes, status: int) -> None:
    async def check(client: RawClient) -> None:
        await client.send(raw)
        answer = await client.read_response()
        assert answer.status == status
        assert answer.error["code"] == "bad_http"
        assert answer.headers["connection"] == "close"
        assert await client.is_closed()

    assert with_connection(check) == []


def test_broken_chunks() -> None:
    async def check(client: RawClient) -> None:
        await client.send_request("POST", "/", transfer_encoding="chunked")
        await client.send(b"xyz\r\n")
        answer = await client.read_response()
        assert answer.status == 400
        assert b"body of the request is broken" in answer.body

    with_connection(check)


def test_slow_heads_and_bodies() -> None:
    async def head(client: RawClient) -> None:
        await client.send(b"GET / HT")
        assert (await client.read_response()).status == 408
        assert await client.is_closed()

    async def body(client: RawClient) -> None:
        await client.send_request("POST", "/", content_length="5")
        await client.send(b"he")
        answer = await client.read_response()
        assert b"did not come in time" in answer.body

    async def idle(client: RawClient) -> None:
        await client.send_request("GET", "/")
        await client.read_response()
        assert await client.is_closed()

    for check in (head, body, idle):
        with_connection(check, limits=QUICK)


def test_client_that_does_not_read() -> None:
    left: list[bool] = []

    async def pour(request: HTTPRequest) -> None:
        await request.send_response(200, [])
        try:
            while True:
                await request.send_data(b"x" * 100_000)
        finally:
            left.append(True)

    async def check(client: RawClient) -> None:
        await client.send_request("GET", "/")
        await client.read_some()
        while not left:
            await trio.sleep(0.01)

    assert with_connection(check, pour, QUICK) == []


def test_mistakes_of_a_handler() -> None:
    async def early(_: HTTPRequest) -> None:
        raise RuntimeError("early")

    async def late(request: HTTPRequest) -> None:
        await request.send_response(200, [])
        await request.send_data(b"begun")
        raise RuntimeError("late")

    async def unfinished(request: HTTPRequest) -> None:
        await request.send_response(200, [])
        await request.send_data(b"begun")

    async def check_early(client: RawClient) -> None:
        await client.send_request("GET", "/")
        answer = await client.read_response()
        assert (answer.status, answer.error["code"]) == (500, "internal_error")
        assert "early" not in answer.error["message"]

    async def check_late(client: RawClient) -> None:
        await client.send_request("GET", "/")
        answer = await client.read_response()
        assert not answer.whole

    assert [str(e) for e in with_connection(check_early, early)] == ["early"]
    assert [str(e) for e in with_connection(check_late, late)] == ["late"]
    assert with_connection(check_late, unfinished) == []


def test_too_many_connections() -> None:
    async def check(client: RawClient) -> None:
        await client.send_request("GET", "/")
        assert (await client.read_response()).status == 200
        host, port = client.stream.socket.getpeername()
        async with await trio.open_tcp_stream(host, port) as second:
            answer = await RawClient(second).read_response()
            assert answer.status == 503
            assert answer.error["code"] == "too_many_connections"

    with_connection(check, limits=ConnectionLimits(max_connections=1))


REQUESTS = (
    encode_request("POST", "/one?x", b"body")
    + encode_request("HEAD", "/two")
    + b"POST /three HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"3\r\nabc\r\n0\r\n\r\n"
    + b"GET /four HTTP/1.0\r\n\r\n"
)


async def talk(pieces: list[bytes]) -> bytes:
    """What a server says to these pieces, less its dates."""
    ours, theirs = socket.socketpair()
    client = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    said = b""
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            serve = Connections().serve
            nursery.start_soon(serve, Transport(theirs), echo, ConnectionLimits(), print)
            async with client:
                for piece in pieces:
                    await client.send_all(piece)
                    await trio.testing.wait_all_tasks_blocked()
                while data := await client.receive_some(65536):
                    said += data
    lines = said.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.startswith(b"date:"))


@settings(max_examples=25)
@given(st.lists(st.integers(0, len(REQUESTS)), max_size=12))
def test_requests_in_any_cut(places: list[int]) -> None:
    whole = trio.run(talk, [REQUESTS])
    assert whole.count(b"HTTP/1.1 200") == 4
    assert trio.run(talk, cut(REQUESTS, places)) == whole
