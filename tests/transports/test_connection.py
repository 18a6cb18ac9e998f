"""`transports.server.connection`: HTTP/1.1 as clients speak it."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from tests.transports.served import RawClient, encode_request
from transports.server.errors import BadBodyError, BodyTooLargeError, ClientLeftError
from transports.server.http_request import ConnectionLimits, Handler, HTTPRequest
from transports.server.listening import Server

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


async def receive_all(client: RawClient) -> bytes:
    """What comes until the connection is closed; a reset is an error."""
    said = b""
    while data := await client.stream.receive_some(65536):
        said += data
    return said


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
        answer = await client.read_response()
        assert (answer.body, answer.headers["connection"]) == (b"ignored", "close")
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
        for target in ("HTTP://test", "https://test?a/b"):
            await client.send_request("GET", target)
            assert (await client.read_response()).json["path"] == "/"
        await client.send_request("OPTIONS", "*")
        assert (await client.read_response()).json["path"] == "*"

    with_connection(check)


def test_unread_bodies() -> None:
    async def check(client: RawClient) -> None:
        await client.send(encode_request("POST", "/", b"x" * 5000) + encode_request("GET", "/"))
        assert (await client.read_response()).body == b"ignored"
        assert (await client.read_response()).body == b"ignored"
        await client.send_request("POST", "/", content_length="99999999")
        assert (await client.read_response()).body == b"ignored"

    with_connection(check, ignore)


def test_unread_body_without_end() -> None:
    async def check(client: RawClient) -> None:
        await client.send_request("POST", "/", transfer_encoding="chunked")
        taken = 0

        async def send_all() -> None:
            nonlocal taken
            while True:
                await client.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                taken += 0x10000

        with trio.fail_after(1), pytest.raises(trio.BrokenResourceError):
            await send_all()
        assert taken < 32_000_000  # most of it in the kernel's buffers

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
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n", 400),
        (POST + b"Content-Length: +1\r\n\r\n", 400),
        (POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization : Bearer sk-canary\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20_000, 431),
        (b"GET /" + b"x" * 100_000, 414),
    ],
)
def test_what_is_no_request(raw: bytes, status: int) -> None:
    async def check(client: RawClient) -> None:
        await client.send(raw)
        answer = await client.read_response()
        assert answer.status == status
        assert answer.error["code"] == "bad_http"
        assert answer.headers["connection"] == "close"
        assert b"canary" not in answer.body
        with trio.fail_after(1):
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


@pytest.mark.parametrize(
    "end", [b"0\r\n\n", b"0\r\nA: b\n\n", b"0\r\nA: b\r\n\n", b"0\r\nA: b\n\r\n"]
)
def test_chunks_whose_end_is_not_clear(end: bytes) -> None:
    async def check(client: RawClient) -> None:
        head = encode_request("POST", "/", transfer_encoding="chunked")
        await client.send(head + b"1\r\nx\r\n" + end + encode_request("GET", "/hidden"))
        answer = await client.read_response()
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert b"CR LF" in answer.body
        assert await client.is_closed()

    with_connection(check)


def test_what_may_stand_around_requests() -> None:
    async def check(client: RawClient) -> None:
        chunked = encode_request("POST", "/", transfer_encoding="chunked")
        await client.send(b"\r\n" + chunked + b"0\r\n\r\n\r\n" + encode_request("GET", "/next"))
        assert (await client.read_response()).status == 200
        assert (await client.read_response()).json["path"] == "/next"
        await client.send_request("GET", "/up", upgrade="h2c", connection="upgrade")
        assert (await client.read_response()).json["path"] == "/up"
        await client.send(encode_request("HEAD", "/") + b"garbage\r\n\r\n")
        assert (await client.read_response(head_only=True)).status == 200
        answer = await client.read_response()
        assert (answer.status, answer.error["code"]) == (400, "bad_http")
        assert await client.is_closed()

    assert with_connection(check) == []


def test_body_is_read_once() -> None:
    bodies: list[bytes] = []

    async def twice(request: HTTPRequest) -> None:
        bodies.extend([await request.receive_body(10), await request.receive_body(10)])
        await request.respond(204, [], b"")

    async def check(client: RawClient) -> None:
        await client.send(encode_request("POST", "/", b"once") + encode_request("GET", "/"))
        assert (await client.read_response()).status == 204
        assert (await client.read_response()).status == 204

    with_connection(check, twice)
    assert bodies == [b"once", b"", b"", b""]


def test_many_tiny_chunks_leave_room_for_others() -> None:
    async def count(request: HTTPRequest) -> None:
        body = await request.receive_body(1_000_000)
        await request.respond(200, [], b"%d" % len(body))

    async def check(client: RawClient) -> None:
        turns = 0

        async def tick() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        await client.send_request("POST", "/", transfer_encoding="chunked")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n")
            nursery.start_soon(tick)
            assert (await client.read_response()).body == b"20000"
            nursery.cancel_scope.cancel()
        assert turns > 14  # 120,000 bytes in pieces of 8 KiB

    with_connection(check, count)


def test_client_that_leaves_is_noticed_while_nothing_is_sent() -> None:
    async def with_close(client: RawClient) -> None:
        await client.stream.aclose()

    async def with_end(client: RawClient) -> None:
        await client.stream.send_eof()

    async def with_reset(client: RawClient) -> None:
        client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await client.stream.aclose()

    async def with_more_requests(client: RawClient) -> None:
        await client.send(encode_request("GET", "/") * 3)
        await client.stream.aclose()

    async def with_a_flood(client: RawClient) -> None:
        await client.send(encode_request("GET", "/", x="y" * 50_000) * 200)
        await client.stream.aclose()

    for leave in (with_close, with_end, with_reset, with_more_requests, with_a_flood):
        began, noticed = trio.Event(), trio.Event()

        async def wait_forever(
            request: HTTPRequest, began: trio.Event = began, noticed: trio.Event = noticed
        ) -> None:
            with trio.CancelScope() as scope:
                request.watch(scope)
                began.set()
                await trio.sleep_forever()
            noticed.set()

        async def check(
            client: RawClient,
            leave: Callable[[RawClient], Awaitable[None]] = leave,
            began: trio.Event = began,
            noticed: trio.Event = noticed,
        ) -> None:
            await client.send_request("GET", "/")
            await began.wait()
            await leave(client)
            with trio.fail_after(0.5):
                await noticed.wait()

        assert with_connection(check, wait_forever) == []


def test_watching_a_client_that_has_left() -> None:
    cancelled: list[bool] = []

    async def late(request: HTTPRequest) -> None:
        with pytest.raises(ClientLeftError):
            await request.receive_body(10)
        with trio.CancelScope() as scope:
            request.watch(scope)
            await trio.sleep_forever()
        cancelled.append(scope.cancelled_caught)

    async def check(client: RawClient) -> None:
        await client.send_request("POST", "/", content_length="5")
        await client.stream.send_eof()
        assert await client.is_closed()

    assert with_connection(check, late) == []
    assert cancelled == [True]


def test_requests_before_the_end_of_the_clients_side_are_answered() -> None:
    async def check(client: RawClient) -> None:
        await client.send(encode_request("GET", "/1") + encode_request("GET", "/2"))
        await client.stream.send_eof()
        assert [(await client.read_response()).json["path"] for _ in range(2)] == ["/1", "/2"]
        assert await client.is_closed()

    with_connection(check)


def test_pipelined_requests_are_answered_in_order() -> None:
    running = 0

    async def slow_first(request: HTTPRequest) -> None:
        nonlocal running
        running += 1
        assert running == 1
        for _ in range(20 if request.path == "/0" else 1):
            await trio.lowlevel.checkpoint()
        running -= 1
        await echo(request)

    async def check(client: RawClient) -> None:
        await client.send(b"".join(encode_request("POST", f"/{n}", b"body") for n in range(50)))
        for n in range(50):
            assert (await client.read_response()).json["path"] == f"/{n}"

    assert with_connection(check, slow_first) == []


def test_what_is_read_ahead_is_bounded() -> None:
    ready = trio.Event()

    async def wait(request: HTTPRequest) -> None:
        await ready.wait()
        await request.respond(204, [], b"")

    async def check(client: RawClient) -> None:
        sent = 0

        async def flood() -> None:
            nonlocal sent
            for _ in range(400):
                await client.send(encode_request("GET", "/", x="y" * 60_000))
                sent += 60_000

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            before = -1
            while before != sent:
                before = sent
                await trio.sleep(0.1)
            assert sent < 16_000_000  # all but 128 KiB of it in the kernel's buffers
            ready.set()
            for _ in range(400):
                assert (await client.read_response()).status == 204

    with_connection(check, wait)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_sent_behind_a_watched_request_is_kept_up_to_a_bound(method: str) -> None:
    """A client has to send again what was too much; it is told by `connection: close`."""

    async def wait(request: HTTPRequest) -> None:
        await request.receive_body(10)
        with trio.CancelScope() as scope:
            request.watch(scope)
            if request.path == "/1":
                await ready.wait()
        await request.respond(200, [], request.path.encode())

    def encode(number: int, size: int) -> bytes:
        return encode_request(
            method, f"/{number}", None if method == "GET" else b"body", x="y" * size
        )

    async def check_kept(client: RawClient) -> None:
        await client.send(encode(1, 10) + encode(2, 60_000))
        ready.set()
        assert [(await client.read_response()).body for _ in range(2)] == [b"/1", b"/2"]

    async def check_lost(client: RawClient) -> None:
        await client.send(encode(1, 10) + encode(2, 60_000) * 100)
        ready.set()
        response = await client.read_response()
        assert (response.body, response.headers["connection"]) == (b"/1", "close")
        assert await receive_all(client) == b""

    for check in (check_kept, check_lost):
        ready = trio.Event()
        assert with_connection(check, wait) == []


def test_a_body_comes_before_the_watch() -> None:
    async def watch_first(request: HTTPRequest) -> None:
        with trio.CancelScope() as scope:
            request.watch(scope)
            await trio.testing.wait_all_tasks_blocked()
            await request.receive_body(1_000_000)

    async def check(client: RawClient) -> None:
        await client.send_request("POST", "/", "x" * 500_000)
        assert (await client.read_response()).status == 500

    (error,) = with_connection(check, watch_first)
    assert "has to be read before" in str(error)


def test_a_stream_that_never_waits_leaves_room_for_others() -> None:
    others = 0
    counted: list[int] = []

    async def pour(request: HTTPRequest) -> None:
        await request.send_response(200, [])
        before = others
        for _ in range(640):  # far less than the kernel takes at once
            await request.send_data(b"x")
        counted.append(others - before)
        await request.end_response()

    async def check(client: RawClient) -> None:
        nonlocal others
        async with trio.open_nursery() as nursery:

            async def tick() -> None:
                nonlocal others
                while True:
                    await trio.lowlevel.checkpoint()
                    others += 1

            nursery.start_soon(tick)
            await client.send_request("GET", "/")
            assert (await client.read_response()).body == b"x" * 640
            nursery.cancel_scope.cancel()

    assert with_connection(check, pour) == []
    assert counted[0] >= 8


def test_a_send_that_need_not_wait_cannot_be_cancelled() -> None:
    """So a handler that is told to end may say one thing more, wherever it was."""

    async def pour(request: HTTPRequest) -> None:
        await request.send_response(200, [])
        with trio.CancelScope() as scope:
            scope.cancel()
            for _ in range(640):
                await request.send_data(b"x")
            await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        await request.send_data(b"!")
        await request.end_response()

    async def check(client: RawClient) -> None:
        await client.send_request("GET", "/")
        answer = await client.read_response()
        assert (answer.whole, answer.body) == (True, b"x" * 640 + b"!")

    assert with_connection(check, pour) == []


def test_nothing_follows_what_was_cut_in_the_middle() -> None:
    left: list[bool] = []

    async def cut_short(request: HTTPRequest) -> None:
        await request.send_response(200, [])
        with trio.move_on_after(0.1):
            await request.send_data(b"x" * 50_000_000)
        with pytest.raises(ClientLeftError):
            await request.send_data(b"y")
        left.append(True)

    async def check(client: RawClient) -> None:
        await client.send(encode_request("GET", "/"))
        while not left:
            await trio.sleep(0.01)
        answer = await client.read_response()
        assert not answer.whole
        assert b"y" not in answer.body

    assert with_connection(check, cut_short) == []


def test_what_is_cut_never_looks_whole_to_1_0() -> None:
    """Where only the end of the connection ends a response, a cut one ends with a reset."""
    began = trio.Event()

    async def mistaken(request: HTTPRequest) -> None:
        await request.send_response(200, [])
        await request.send_data(b"begun")
        await began.wait()
        raise RuntimeError("late")

    async def cut_short(request: HTTPRequest) -> None:
        await request.send_response(200, [])
        with trio.move_on_after(0.1):
            await request.send_data(b"x" * 50_000_000)
        await request.end_response()

    async def check(client: RawClient) -> None:
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        await client.stream.receive_some(1000)
        began.set()
        with pytest.raises(trio.BrokenResourceError):
            await receive_all(client)

    for handler, errors in ((mistaken, 1), (cut_short, 0)):
        assert len(with_connection(check, handler)) == errors


def test_faults_for_a_simulator() -> None:
    async def raw(request: HTTPRequest) -> None:
        await request.send_raw(b"not ")
        await request.send_raw(b"HTTP")
        request.abort(reset=request.path == "/reset")
        with pytest.raises(ClientLeftError):
            await request.send_raw(b"more")

    async def check_close(client: RawClient) -> None:
        await client.send_request("GET", "/")
        assert await receive_all(client) == b"not HTTP"

    async def check_reset(client: RawClient) -> None:
        await client.send_request("GET", "/reset")
        with pytest.raises(trio.BrokenResourceError):
            await client.read_response()

    assert with_connection(check_close, raw) == []
    assert with_connection(check_reset, raw) == []


def test_nothing_can_be_sent_after_the_end() -> None:
    async def go_on(request: HTTPRequest) -> None:
        await request.send_response(200, [])
        await request.send_data(b"all")
        await request.end_response()
        await request.send_data(b"and more")

    async def check(client: RawClient) -> None:
        await client.send(encode_request("GET", "/") * 2)
        assert (await client.read_response()).body == b"all"
        with pytest.raises((EOFError, trio.BrokenResourceError)):
            await client.read_response()

    assert len(with_connection(check, go_on)) == 1


def test_lengths_that_a_handler_gives() -> None:
    async def by_length(request: HTTPRequest) -> None:
        await request.send_response(200, [("content-length", "6")])
        await request.send_data(b"abc")
        if request.path == "/":
            await request.send_data(b"def")
        await request.end_response()

    async def check(client: RawClient) -> None:
        await client.send_request("GET", "/")
        answer = await client.read_response()
        assert (answer.body, "transfer-encoding" in answer.headers) == (b"abcdef", False)
        await client.send_request("GET", "/short")
        with pytest.raises((EOFError, trio.BrokenResourceError)):
            await client.read_response()

    assert len(with_connection(check, by_length)) == 1


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
