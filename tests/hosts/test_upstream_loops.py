"""`transports.upstream.calls` on the event loops that a host can be run on: asyncio and trio."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpcore
import pytest
import trio

from grokproto import events as e
from grokproto.commands import UpstreamRequest
from tests.hosts.hosting import Grok, far_end, secure_end
from transports.loops import asyncio_loop
from transports.loops.running import find_loop
from transports.simulator import FaultKind
from transports.upstream.calls import Fetched, Upstream, UpstreamConfig
from transports.upstream.plain_stream import open_plain_stream

PATIENCE = 10.0
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
RUNS: dict[str, Callable[[Any], Any]] = {
    "asyncio": lambda main: asyncio.run(main()),
    "trio": trio.run,
}
with contextlib.suppress(ImportError):  # there is none for every system
    import uvloop

    RUNS["uvloop"] = lambda main: uvloop.run(main())
every_loop = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)


def with_upstream(
    run: Callable[[Any], Any], check: Callable[[Upstream], Awaitable[None]], **options: Any
) -> None:
    """Run a check with the far ends at hand; nothing that nobody expected may happen."""
    faults: list[Exception] = []

    async def main() -> None:
        config = UpstreamConfig(connect_timeout=2, **options)
        upstream = Upstream(config, on_error=faults.append, loop=find_loop())
        async with anyio.create_task_group() as group:
            await group.start(start, upstream)
            with anyio.fail_after(PATIENCE):
                await check(upstream)
            group.cancel_scope.cancel()
        assert upstream.open_calls == 0

    async def start(upstream: Upstream, *, task_status: Any) -> None:
        await upstream.run(task_status=task_status)

    run(main)
    assert faults == []


async def ask(upstream: Upstream, url: str, body: bytes = b"") -> Any:
    """A whole response."""
    request = UpstreamRequest("POST" if body else "GET", url, (("cookie", "sso=anna"),), body)
    return await upstream.fetch(request, limit=10**6, timeout=PATIENCE)


@every_loop
def test_connections_are_used_again(run: Any) -> None:
    async def check(upstream: Upstream) -> None:
        for _ in range(3):
            assert (await ask(upstream, f"{grok.simulator.base_url}/")).status == 200
        assert grok.simulator.open_connections == 1

    with Grok() as grok:
        with_upstream(run, check)


def test_without_epoll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio_loop, "HAS_EPOLL", False)

    async def check(upstream: Upstream) -> None:
        assert upstream.loop.sockets is None
        for _ in range(3):
            assert (await ask(upstream, f"{grok.simulator.base_url}/")).status == 200
        assert grok.simulator.open_connections == 1

    with Grok() as grok:
        with_upstream(RUNS["asyncio"], check)


@every_loop
def test_who_has_several_addresses_is_reached_at_any(run: Any) -> None:
    """A name may stand for an address that refuses, and one that does not."""

    async def check(upstream: Upstream) -> None:
        assert (await ask(upstream, f"http://localhost:{port}/")).body == b"hi"

    def serve(connection: socket.socket, _: int) -> None:
        connection.recv(65536)
        connection.sendall(ANSWER)

    with far_end(serve) as port:
        with_upstream(run, check)


@every_loop
def test_large_request_to_a_far_end_that_reads_late(run: Any) -> None:
    """More than a socket holds is waited for; and given up with its call."""
    body = b"x" * 8_000_000
    read, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def serve(connection: socket.socket, number: int) -> None:
        read.set()
        go_on.wait(PATIENCE)
        size = 0
        with contextlib.suppress(OSError):
            while size < len(body) and (data := connection.recv(1_000_000)):
                size += len(data)
            if size >= len(body):
                connection.sendall(ANSWER)
        if number:
            ended.set()

    async def check(upstream: Upstream) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(ask_and_compare, upstream)
            await anyio.to_thread.run_sync(read.wait)
            go_on.set()
        go_on.clear()
        read.clear()
        call = upstream.call(UpstreamRequest("POST", f"http://127.0.0.1:{port}/", (), body))
        await anyio.to_thread.run_sync(read.wait)
        call.close()
        go_on.set()
        assert await anyio.to_thread.run_sync(ended.wait, PATIENCE)

    async def ask_and_compare(upstream: Upstream) -> None:
        assert (await ask(upstream, f"http://127.0.0.1:{port}/", body)).body == b"hi"

    with far_end(serve) as port:
        with_upstream(run, check)


NOTHING = gzip.compress(b"") * 1000
FLOODS: dict[str, tuple[bytes, bytes]] = {
    "interim responses": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a coding of nothing": (
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n",
        b"%x\r\n%b\r\n" % (len(NOTHING), NOTHING),
    ),
}
"""Heads, and what may follow them without end."""
ENOUGH = 8_000_000
"""Bytes that take longer to read than anybody here waits for."""


@every_loop
@pytest.mark.parametrize(("head", "flood"), FLOODS.values(), ids=FLOODS)
def test_call_that_is_given_up_while_its_far_end_floods(
    run: Any, head: bytes, flood: bytes
) -> None:
    """Its connection is closed, though there is always something to read."""
    flooding, ended = threading.Event(), threading.Event()

    def serve(connection: socket.socket, _: int) -> None:
        connection.recv(65536)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
        connection.settimeout(None)  # then the kernel has all of it, and no thread holds it up
        connection.sendall(head + flood * (1 + 300_000 // len(flood)))
        flooding.set()
        with contextlib.suppress(ConnectionError):
            connection.sendall(flood * (1 + ENOUGH // len(flood)))
            return
        ended.set()

    async def check(upstream: Upstream) -> None:
        call = upstream.call(UpstreamRequest("GET", f"http://127.0.0.1:{port}/", ()))
        await anyio.to_thread.run_sync(flooding.wait)
        call.close()
        assert await anyio.to_thread.run_sync(ended.wait, PATIENCE / 2)

    with far_end(serve) as port:
        with_upstream(run, check)


@every_loop
def test_kept_connection_that_was_closed_is_no_fault(run: Any) -> None:
    closed = threading.Event()

    def serve(connection: socket.socket, _: int) -> None:
        connection.recv(65536)
        connection.sendall(ANSWER)
        connection.close()
        closed.set()

    async def check(upstream: Upstream) -> None:
        for _ in range(3):
            assert (await ask(upstream, f"http://127.0.0.1:{port}/", b"x")).body == b"hi"
            await anyio.to_thread.run_sync(closed.wait)
            closed.clear()

    with far_end(serve) as port:
        with_upstream(run, check)


@every_loop
def test_faults_are_told_with_what_was_sent(run: Any) -> None:
    def serve(connection: socket.socket, number: int) -> None:
        if number:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi")

    async def check(upstream: Upstream) -> None:
        refused = await ask(upstream, f"http://127.0.0.1:{nobody}/")
        assert isinstance(refused, e.RequestFailed)
        assert not refused.sent
        for _ in range(2):
            broken = await ask(upstream, f"http://127.0.0.1:{port}/")
            assert isinstance(broken, e.RequestFailed)
            assert broken.sent

    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = closed.getsockname()[1]
    with far_end(serve) as port:
        with_upstream(run, check)


@every_loop
def test_time_for_a_whole_response(run: Any) -> None:
    async def check(upstream: Upstream) -> None:
        request = UpstreamRequest("GET", f"{grok.simulator.base_url}/", ())
        failed = await upstream.fetch(request, limit=100, timeout=0.1)
        assert isinstance(failed, e.RequestFailed)
        assert "0.1 seconds" in failed.reason
        while grok.simulator.site.open_calls:
            await anyio.sleep(0.01)
        short = await upstream.fetch(request, limit=10, timeout=PATIENCE)
        assert isinstance(short, Fetched)
        assert len(short.body) == 10

    with Grok() as grok:
        grok.call(lambda: grok.simulator.site.faults.order(FaultKind.STALL_BEFORE_HEAD, path="/"))
        with_upstream(run, check)


@every_loop
def test_tls(run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    async def check(upstream: Upstream) -> None:
        assert (await ask(upstream, end.url)).body == b"hi"
        call = upstream.call(UpstreamRequest("GET", end.url, ()))
        await anyio.to_thread.run_sync(end.silent.wait)
        call.close()
        assert await anyio.to_thread.run_sync(end.ended.wait, 0.5)

    with secure_end(monkeypatch, tmp_path) as end:
        with_upstream(run, check)


@every_loop
def test_proxy(run: Any) -> None:
    asked: list[bytes] = []

    def serve(connection: socket.socket, _: int) -> None:
        asked.append(connection.recv(65536))
        connection.sendall(ANSWER)

    async def check(upstream: Upstream) -> None:
        assert (await ask(upstream, "http://far.example/a")).body == b"hi"

    with far_end(serve) as port:
        with_upstream(run, check, proxy=f"http://127.0.0.1:{port}")
    assert asked[0].startswith(b"GET http://far.example/a HTTP/1.1\r\n")


@every_loop
def test_plain_connections(run: Any) -> None:
    """What httpcore may ask of a stream, and how it is told of what goes wrong."""

    def serve(connection: socket.socket, number: int) -> None:
        if number == 1:
            connection.recv(1)
            linger = b"\1\0\0\0\0\0\0\0"
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return
        assert connection.recv(100) == b"hello"
        connection.sendall(b"you")
        connection.recv(1)

    async def main() -> None:
        loop = find_loop()
        stream = await open_plain_stream(loop, "127.0.0.1", port, 1)
        await stream.write(b"hello", 1)
        assert await stream.read(100, 1) == b"you"
        with pytest.raises(httpcore.ReadTimeout):
            await stream.read(100, 0.01)
        sock = stream.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert stream.get_extra_info("is_readable") is False
        assert stream.get_extra_info("anything else") is None
        with pytest.raises(NotImplementedError):
            await stream.start_tls(ssl.create_default_context())
        await stream.aclose()
        with pytest.raises(httpcore.ReadError):
            await stream.read(100)
        with pytest.raises(httpcore.WriteError):
            await stream.write(b"x" * 100_000)
        reset = await open_plain_stream(loop, "127.0.0.1", port, 1)
        await reset.write(b"x")
        with pytest.raises(httpcore.ReadError):
            await reset.read(100)
        await reset.aclose()
        with pytest.raises(httpcore.ConnectError):
            await open_plain_stream(loop, "127.0.0.1", nobody, 1)

    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = closed.getsockname()[1]
    with far_end(serve) as port:
        run(main)
