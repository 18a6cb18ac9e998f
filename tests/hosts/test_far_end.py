"""Far ends that do not keep to what was agreed, on every event loop and in threads.

What they do to one call must not be another's: a connection that they have given up is not used
again, and neither is one on which something is left.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import StreamEnded
from hpack import Encoder
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, RstStreamFrame

from grokproto.commands import UpstreamRequest
from grokproto.events import RequestFailed
from tests.hosts.hosting import far_end
from tests.hosts.test_upstream_loops import RUNS
from transports.loops.running import find_loop
from transports.loops.threads import News
from transports.upstream.calls import Upstream
from transports.upstream.calls_threads import ThreadedUpstream
from transports.upstream.rules import Fetched, UpstreamConfig

PATIENCE = 10.0

Ask = Callable[[str], Awaitable[Fetched | RequestFailed]]
Host = Callable[[Callable[[Ask], Awaitable[None]]], None]


BODIES = {"large": b"x" * 20_000_000}
"""What is asked of a path; of most it is as little as can be."""


def build_question(url: str) -> UpstreamRequest:
    """A request with a body."""
    return UpstreamRequest("POST", url, (), BODIES.get(url.rsplit("/", 1)[1], b"x"))


def host_loop(run: Callable[[Any], Any]) -> Host:
    """Calls in tasks."""

    def host(check: Callable[[Ask], Awaitable[None]]) -> None:
        faults: list[Exception] = []

        async def main() -> None:
            upstream = Upstream(
                UpstreamConfig(connect_timeout=2), on_error=faults.append, loop=find_loop()
            )

            async def start(*, task_status: Any) -> None:
                await upstream.run(task_status=task_status)

            async def ask(url: str) -> Fetched | RequestFailed:
                return await upstream.fetch(build_question(url), limit=10**6, timeout=PATIENCE)

            async with anyio.create_task_group() as group:
                await group.start(start)
                with anyio.fail_after(PATIENCE):
                    await check(ask)
                group.cancel_scope.cancel()

        run(main)
        assert faults == []

    return host


def host_threads(check: Callable[[Ask], Awaitable[None]]) -> None:
    """Calls in threads."""
    faults: list[Exception] = []
    upstream = ThreadedUpstream(UpstreamConfig(connect_timeout=2), on_error=faults.append)

    async def ask(url: str) -> Fetched | RequestFailed:
        request = build_question(url)
        return upstream.fetch(request, limit=10**6, timeout=PATIENCE, news=News())

    try:
        trio.run(check, ask)
    finally:
        upstream.close()
    assert faults == []


HOSTS = {**{name: host_loop(run) for name, run in RUNS.items()}, "threads": host_threads}
every_host = pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[trustme.CA]:
    """A certificate authority that this process trusts for the while."""
    authority = trustme.CA()
    path: Path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(path))
        yield authority


def build_context(authority: trustme.CA, *protocols: str) -> ssl.SSLContext:
    """What a far end needs for TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(protocols)
    authority.issue_cert("localhost").configure_cert(context)
    return context


# HTTP/2


class H2End:
    """One connection of a far end that speaks HTTP/2.

    Args:
        connection: Open.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False))
        self._connection = connection
        # What is sent is there at once: the other side is not asked first what it has read.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.h2.initiate_connection()

    def next_request(self) -> int | None:
        """The number of the next request; None where the connection has ended."""
        self.send()
        while data := self._connection.recv(65536):
            events = self.h2.receive_data(data)
            self.send()
            for event in events:
                if isinstance(event, StreamEnded):
                    return event.stream_id
        return None

    def answer(self, number: int) -> None:
        """Answer in good order."""
        self.h2.send_headers(number, [(":status", "200")])
        self.h2.send_data(number, b"hi", end_stream=True)
        self.send()

    def send(self, data: bytes = b"") -> None:
        """Send what is to be sent, and then something else."""
        self._connection.sendall(self.h2.data_to_send() + data)

    def say_goodbye(self, last: int, error: int = 0) -> None:
        """Say that no requests are read but those up to `last`."""
        self.send(GoAwayFrame(0, last_stream_id=last, error_code=error).serialize())

    def close(self) -> None:
        """Close in good order: what was sent is not to be lost for what was not read."""
        self._connection.shutdown(socket.SHUT_WR)

    def wait_for_end(self) -> None:
        """Wait until the other side has closed."""
        while self._connection.recv(65536):
            pass


def reset(connection: socket.socket) -> None:
    """Break a connection off."""
    linger = struct.pack("ii", 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connection.close()


@every_host
@pytest.mark.parametrize("kind", ["close", "reset", "goodbye", "ping"])
def test_http2_connection_to_which_something_has_come_while_idle(
    kind: str, host: Host, authority: trustme.CA
) -> None:
    taken, done = threading.Semaphore(0), threading.Semaphore(0)
    served: list[int] = []

    def serve(connection: socket.socket, number: int) -> None:
        end = H2End(connection)
        while (stream := end.next_request()) is not None:
            served.append(number)
            end.answer(stream)
            assert taken.acquire(timeout=PATIENCE)
            match kind:
                case "close":
                    end.close()
                case "reset":
                    reset(connection)
                case "goodbye":
                    end.say_goodbye(stream)
                case "ping":  # which asks for an answer, and nobody is there to give it
                    end.h2.ping(b"12345678")
                    end.send()
            done.release()

    async def check(ask: Ask) -> None:
        for _ in range(3):
            assert await ask(f"https://localhost:{port}/") == Fetched(200, (), b"hi")
            taken.release()
            assert done.acquire(timeout=PATIENCE)

    with far_end(serve, build_context(authority, "h2")) as port:
        host(check)
    assert served == [0, 1, 2]


@every_host
@pytest.mark.parametrize("kind", ["close", "goodbye", "goodbye to all", "refusal"])
def test_http2_connection_that_is_given_up_when_it_is_used_again(
    kind: str, host: Host, authority: trustme.CA
) -> None:
    """The request was not read, so that it is made once more: at no cost for whoever asks."""
    served: list[int] = []

    def serve(connection: socket.socket, number: int) -> None:
        end = H2End(connection)
        while (stream := end.next_request()) is not None:
            served.append(number)
            if number == 1 or stream == 1:
                end.answer(stream)
            elif kind == "refusal":
                end.h2.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
            elif kind == "close":
                end.close()
                end.wait_for_end()
                return
            else:
                end.say_goodbye(1 if kind == "goodbye" else 0)

    async def check(ask: Ask) -> None:
        for _ in range(3):
            assert await ask(f"https://localhost:{port}/") == Fetched(200, (), b"hi")

    with far_end(serve, build_context(authority, "h2")) as port:
        host(check)
    assert served == [0, 0, 1, 1]


@every_host
def test_http2_connection_that_never_answers_is_not_tried_again(
    host: Host, authority: trustme.CA
) -> None:
    served: list[int] = []

    def serve(connection: socket.socket, number: int) -> None:
        end = H2End(connection)
        end.next_request()
        served.append(number)
        end.close()
        end.wait_for_end()

    async def check(ask: Ask) -> None:
        failed = await ask(f"https://localhost:{port}/")
        assert isinstance(failed, RequestFailed)
        assert failed.sent
        assert failed.reason == "Server disconnected"

    with far_end(serve, build_context(authority, "h2")) as port:
        host(check)
    assert served == [0]


def build_head(number: int, *headers: tuple[str, str]) -> bytes:
    """The head of a response, whatever there is to be said against it."""
    return HeadersFrame(number, Encoder().encode(headers), flags=["END_HEADERS"]).serialize()


OK = (":status", "200")
LENGTH = ("content-length", "9")
DATA = DataFrame(1, b"hi", flags=["END_STREAM"]).serialize()
NO_NUMBER = "the status of the response is no number"
BREAKS = "a breach of HTTP/2: "
GAVE_UP = "the far end gave the connection up"
BROKEN: list[tuple[str, bytes]] = [
    (NO_NUMBER, build_head(1, (":status", "abc"))),
    (NO_NUMBER, build_head(1, (":status", ""))),
    (NO_NUMBER, build_head(1, (":status", "9" * 5000))),
    ("a response cannot have status -200", build_head(1, (":status", "-200"))),
    (BREAKS + "Received frame with invalid padding.", b"\0\0\2\0\x08\0\0\0\1\xffa"),
    (
        BREAKS + "Received frame with invalid padding.",
        build_head(1, OK) + b"\0\0\2\0\x08\0\0\0\1\xffa",
    ),
    (
        BREAKS + "InvalidBodyLengthError: Expected 9 bytes, received 2",
        build_head(1, OK, LENGTH) + DATA,
    ),
    (BREAKS + "Trailers must have END_STREAM set", build_head(1, OK) * 2 + DATA),
    (
        BREAKS + "Error decoding header block: Variable integer representation is too long",
        HeadersFrame(1, b"\xff" * 6, flags=["END_HEADERS"]).serialize(),
    ),
    (BREAKS + "Invalid stream ID for peer.", build_head(101, OK)),
    (GAVE_UP, GoAwayFrame(0, last_stream_id=0).serialize()),
    (
        GAVE_UP + " (HTTP/2 error 11)",
        GoAwayFrame(0, last_stream_id=0, error_code=11).serialize(),
    ),
    (
        "the far end broke the response off (HTTP/2 error 2)",
        build_head(1, OK) + RstStreamFrame(1, error_code=2).serialize(),
    ),
]


@every_host
def test_http2_that_is_broken_is_told_as_that(host: Host, authority: trustme.CA) -> None:
    def serve(connection: socket.socket, number: int) -> None:
        end = H2End(connection)
        end.next_request()
        end.send(BROKEN[number][1])
        end.wait_for_end()

    async def check(ask: Ask) -> None:
        for reason, _ in BROKEN:
            assert await ask(f"https://localhost:{port}/") == RequestFailed(reason, sent=True)

    with far_end(serve, build_context(authority, "h2")) as port:
        host(check)


@every_host
def test_http2_connection_that_is_given_up_with_a_body_under_way(
    host: Host, authority: trustme.CA
) -> None:
    def serve(connection: socket.socket, _: int) -> None:
        end = H2End(connection)
        while (number := end.next_request()) is not None:
            if number == 1:
                end.answer(number)
            else:
                end.send(build_head(number, OK))
                end.say_goodbye(1)

    async def check(ask: Ask) -> None:
        url = f"https://localhost:{port}/"
        for _ in range(2):
            assert await ask(url) == Fetched(200, (), b"hi")
            assert await ask(url) == RequestFailed(GAVE_UP, sent=True)

    with far_end(serve, build_context(authority, "h2")) as port:
        host(check)


def cut_farewell(end: H2End, number: int) -> None:
    """In pieces, one of which is nothing but a part of it."""
    end.send(build_head(number, OK))
    farewell = GoAwayFrame(0, last_stream_id=number, additional_data=b"see you").serialize()
    for piece in (farewell[:5], farewell[5:14], farewell[14:]):
        end.send(piece)
    end.send(finish(number))


def finish(number: int) -> bytes:
    """The body of an answer."""
    return DataFrame(number, b"hi", flags=["END_STREAM"]).serialize()


def bid_farewell(number: int, last: int | None = None) -> bytes:
    """That requests up to this one, or `last`, are read."""
    return GoAwayFrame(0, last_stream_id=number if last is None else last).serialize()


FAREWELLS: dict[str, Callable[[H2End, int], None]] = {
    "before the head": lambda end, n: end.send(bid_farewell(n) + build_head(n, OK) + finish(n)),
    "in the body": lambda end, n: end.send(build_head(n, OK) + bid_farewell(n) + finish(n)),
    "with the end": lambda end, n: end.send(build_head(n, OK) + finish(n) + bid_farewell(n)),
    "twice": lambda end, n: end.send(
        bid_farewell(n, 2**31 - 1) + build_head(n, OK) + bid_farewell(n) + finish(n)
    ),
    "in pieces": cut_farewell,
}


@every_host
@pytest.mark.parametrize("answer", FAREWELLS.values(), ids=FAREWELLS)
def test_http2_farewell_in_an_answer_that_goes_on(
    answer: Callable[[H2End, int], None], host: Host, authority: trustme.CA
) -> None:
    """The answer is whole, and the next request goes elsewhere."""
    served: list[int] = []

    def serve(connection: socket.socket, number: int) -> None:
        end = H2End(connection)
        while (stream := end.next_request()) is not None:
            served.append(number)
            if stream == 1:
                end.answer(stream)
            else:
                answer(end, stream)

    async def check(ask: Ask) -> None:
        for _ in range(5):
            assert await ask(f"https://localhost:{port}/") == Fetched(200, (), b"hi")

    with far_end(serve, build_context(authority, "h2")) as port:
        host(check)
    assert served == [0, 0, 1, 1, 2]


# HTTP/1.1


def wait_for_request(connection: socket.socket) -> bool:
    """Read a request; say whether there was one."""
    data = b""
    with contextlib.suppress(OSError):
        while not data.endswith(b"\r\n\r\nx"):
            piece = connection.recv(65536)
            if not piece:
                return False
            data += piece
    return bool(data)


GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
EVIL = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
CHUNKED = b"transfer-encoding: chunked\r\n"
CHUNKS = b"2\r\nhi\r\n0\r\n\r\n"
"""A body of two bytes."""
TOO_MUCH: dict[str, bytes] = {
    "a response too many": GOOD + EVIL,
    "half a response too many": GOOD + EVIL[:20],
    "a response behind chunks": b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n" + CHUNKS + EVIL,
    "chunks and a length": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" + CHUNKED + b"\r\n" + CHUNKS,
}
"""Each can be read, and nothing can be said of what would come next."""
schemes = pytest.mark.parametrize("scheme", ["http", "https"])


def ask_again_and_again(
    response: bytes,
    times: int,
    host: Host,
    scheme: str,
    authority: trustme.CA,
    *,
    wanted: tuple[int, bytes] = (200, b"hi"),
) -> list[int]:
    """Ask a far end that always says the same; the number of each request's connection."""
    served: list[int] = []

    def serve(connection: socket.socket, number: int) -> None:
        while wait_for_request(connection):
            served.append(number)
            connection.sendall(response)

    async def check(ask: Ask) -> None:
        for _ in range(times):
            answer = await ask(f"{scheme}://localhost:{port}/")
            assert isinstance(answer, Fetched)
            assert (answer.status, answer.body) == wanted

    with far_end(serve, build_context(authority) if scheme == "https" else None) as port:
        host(check)
    return served


@every_host
@schemes
def test_connection_that_is_in_order_is_used_again(
    host: Host, scheme: str, authority: trustme.CA
) -> None:
    assert ask_again_and_again(GOOD, 3, host, scheme, authority) == [0, 0, 0]


@every_host
@schemes
@pytest.mark.parametrize("name", TOO_MUCH)
def test_connection_on_which_something_is_left_is_not_used_again(
    name: str, host: Host, scheme: str, authority: trustme.CA
) -> None:
    assert ask_again_and_again(TOO_MUCH[name], 3, host, scheme, authority) == [0, 1, 2]


@every_host
@schemes
@pytest.mark.parametrize("begun", [b"", GOOD[:10]], ids=["at once", "in the head"])
def test_connection_that_ends_when_it_is_used_again(
    begun: bytes, host: Host, scheme: str, authority: trustme.CA
) -> None:
    """A request that was not read is made again; one that was being answered was read."""
    served: list[int] = []

    def serve(connection: socket.socket, number: int) -> None:
        while wait_for_request(connection):
            served.append(number)
            if served.count(number) == 2 and number == 0:
                connection.sendall(begun)
                return
            connection.sendall(GOOD)

    async def check(ask: Ask) -> None:
        first, second = [await ask(f"{scheme}://localhost:{port}/") for _ in range(2)]
        assert isinstance(first, Fetched)
        if begun:
            assert isinstance(second, RequestFailed)
            assert second.sent
        else:
            assert isinstance(second, Fetched)

    with far_end(serve, build_context(authority) if scheme == "https" else None) as port:
        host(check)
    assert served == ([0, 0] if begun else [0, 0, 1])


NO_BODY: dict[str, bytes] = {
    f"{status}, {name}": b"HTTP/1.1 %d No\r\n" % status + CHUNKED + b"\r\n" + rest
    for status in (204, 304)
    for name, rest in {"nothing": b"", "chunks": CHUNKS, "a response": EVIL}.items()
}
"""Has no body, whatever it says."""


@every_host
@schemes
@pytest.mark.parametrize("name", NO_BODY)
def test_response_that_has_no_body_is_at_its_end(
    name: str, host: Host, scheme: str, authority: trustme.CA
) -> None:
    none = (int(name[:3]), b"")
    served = ask_again_and_again(NO_BODY[name], 2, host, scheme, authority, wanted=none)
    assert served == [0, 1]


REFUSED = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno"
REFUSED_IN_CHUNKS = b"HTTP/1.1 429 Wait\r\n" + CHUNKED + b"\r\n" + CHUNKS


def read_rest(connection: socket.socket) -> int:
    """Read until the other side has closed; say how much there was."""
    size = 0
    with contextlib.suppress(OSError):
        while data := connection.recv(1_000_000):
            size += len(data)
    return size


def read_part(connection: socket.socket, size: int) -> None:
    """Read so much, and no more."""
    while size:
        size -= len(connection.recv(min(size, 1_000_000)))


HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: <%b>\r\n\r\n" % (b"x" * 1000)
REFUSALS = {
    "whole": [REFUSED],
    "in chunks": [REFUSED_IN_CHUNKS],
    "cut in the version": [REFUSED[:7], REFUSED[7:]],
    "cut before the status": [REFUSED[:9], REFUSED[9:]],
    "behind an interim response": [b"HTTP/1.1 100 Continue\r\n\r\n", REFUSED],
    "behind several": [HINTS, HINTS[:500], HINTS[500:] + HINTS + REFUSED_IN_CHUNKS],
}


@every_host
@pytest.mark.parametrize("pieces", REFUSALS.values(), ids=REFUSALS)
def test_request_that_is_refused_before_it_is_read(host: Host, pieces: list[bytes]) -> None:
    """Whoever asks is told why, and need not wait; the rest of the request is not sent."""
    status = int(b"".join(pieces).rpartition(b"HTTP/1.1 ")[2][:3])
    heard = threading.Semaphore(0)
    sizes: list[int] = []

    def serve(connection: socket.socket, _: int) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        assert connection.recv(100)
        for number, piece in enumerate(pieces):
            if number:  # more than is under way: the one before was seen when it was sent
                read_part(connection, 6_000_000 // (len(pieces) - 1))
            connection.sendall(piece)
        assert heard.acquire(timeout=PATIENCE)  # meanwhile it does not read
        sizes.append(read_rest(connection))

    async def check(ask: Ask) -> None:
        for _ in range(2):
            found = await ask(f"http://localhost:{port}/large")
            heard.release()
            assert isinstance(found, Fetched)
            assert (found.status, len(found.body)) == (status, 2)

    with far_end(serve) as port:
        host(check)
    assert len(sizes) == 2
    assert max(sizes) + 6_000_000 < len(BODIES["large"])


@every_host
def test_request_is_sent_to_a_far_end_that_floods_meanwhile(host: Host) -> None:
    """What it says is left with it, until the request is sent."""

    def serve(connection: socket.socket, _: int) -> None:
        assert connection.recv(1)
        flood = HINTS[:20] + b"x" * 50_000 + HINTS[20:]
        connection.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += connection.send(flood[sent % len(flood) :])
        connection.settimeout(PATIENCE)
        data = b""
        while not data.endswith(b"x" * 1000) or len(data) < len(BODIES["large"]):
            data += connection.recv(1_000_000)
        connection.sendall(flood[sent % len(flood) :] + GOOD)

    async def check(ask: Ask) -> None:
        found = await ask(f"http://localhost:{port}/large")
        assert isinstance(found, Fetched)
        assert found.body == b"hi"

    with far_end(serve) as port:
        host(check)


@every_host
@pytest.mark.parametrize(
    "early", [b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 200", b""], ids=["103", "200", "none"]
)
def test_request_that_is_read_late_is_sent_to_its_end(host: Host, early: bytes) -> None:
    """What comes before that may be a good answer to all of it."""

    def serve(connection: socket.socket, _: int) -> None:
        assert connection.recv(1)
        connection.sendall(early)
        data = b""
        while not data.endswith(b"x" * 1000) or len(data) < len(BODIES["large"]):
            data += connection.recv(1_000_000)
        connection.sendall(GOOD.removeprefix(early))
        assert wait_for_request(connection)  # it is as good as any other
        connection.sendall(GOOD)

    async def check(ask: Ask) -> None:
        for path in ("large", ""):
            found = await ask(f"http://localhost:{port}/{path}")
            assert isinstance(found, Fetched)
            assert found.body == b"hi"

    with far_end(serve) as port:
        host(check)


@every_host
def test_connection_that_ends_while_a_request_is_sent(host: Host) -> None:
    heard = threading.Semaphore(0)

    def serve(connection: socket.socket, _: int) -> None:
        assert connection.recv(1)
        connection.shutdown(socket.SHUT_WR)
        assert heard.acquire(timeout=PATIENCE)
        read_rest(connection)

    async def check(ask: Ask) -> None:
        found = await ask(f"http://localhost:{port}/large")
        heard.release()
        assert isinstance(found, RequestFailed)
        assert found.sent

    with far_end(serve) as port:
        host(check)
