"""`transports.upstream.calls`: proxies, HTTP/2, connections that are kept."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
import trio
import trustme

from grokproto import events as e
from grokproto.commands import UpstreamRequest
from tests.transports.served import Served, chat, with_server
from transports.simulator import FaultKind, Simulator
from transports.upstream.calls import MAX_IDLE_OF_ALL, Fetched, Upstream, UpstreamConfig

PATIENCE = 10.0


def with_upstream(check: Callable[[Upstream], Awaitable[None]], proxy: str | None = None) -> None:
    """Run a check with the far ends at hand."""

    async def main() -> None:
        faults: list[Exception] = []
        upstream = Upstream(UpstreamConfig(proxy=proxy, connect_timeout=2), on_error=faults.append)
        async with trio.open_nursery() as nursery:
            await nursery.start(upstream.run)
            with trio.fail_after(PATIENCE):
                await check(upstream)
            nursery.cancel_scope.cancel()
        assert faults == []
        assert upstream.open_calls == 0

    trio.run(main)


async def fetch(upstream: Upstream, url: str, body: bytes = b"") -> list[e.Event]:
    """All events of a call."""
    request = UpstreamRequest("POST" if body else "GET", url, (("cookie", "sso=anna"),), body)
    call = upstream.call(request)
    found: list[e.Event] = []
    while not found or not isinstance(found[-1], e.EndOfMessage | e.RequestFailed):
        found.append(await call.receive(trio.current_time() + PATIENCE))
    return found


def content(found: list[e.Event]) -> bytes:
    """The body among the events."""
    return b"".join(event.data for event in found if isinstance(event, e.DataReceived))


@contextlib.asynccontextmanager
async def far_end() -> AsyncIterator[Simulator]:
    """A simulator."""
    simulator = Simulator()
    async with trio.open_nursery() as nursery:
        await nursery.start(simulator.run)
        yield simulator
        nursery.cancel_scope.cancel()


# Proxies


class Proxy:
    """A proxy of the kind that its first byte asks for: SOCKS5, or HTTP."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.asked: list[str] = []
        self.port = 0
        self._context = context

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Listen until cancelled."""
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            self.port = listeners[0].socket.getsockname()[1]
            serve = self._serve if self._context is None else self._secure
            nursery.start_soon(trio.serve_listeners, serve, listeners)
            task_status.started()

    async def _secure(self, client: trio.SocketStream) -> None:
        assert self._context is not None
        await self._serve(trio.SSLStream(client, self._context, server_side=True))

    async def _serve(self, client: trio.abc.Stream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            first = await client.receive_some(65536)
            if first.startswith(b"\x05"):
                await self._serve_socks(client, first)
            else:
                await self._serve_http(client, first)

    async def _serve_socks(self, client: trio.abc.Stream, greeting: bytes) -> None:
        with_password = b"\x02" in greeting[2:]
        await client.send_all(b"\x05\x02" if with_password else b"\x05\x00")
        if with_password:
            self.asked.append((await client.receive_some(512)).decode("latin-1"))
            await client.send_all(b"\x01\x00")
        request = await client.receive_some(512)
        length = request[4]
        host = request[5 : 5 + length].decode() if request[3] == 3 else "127.0.0.1"
        port = int.from_bytes(request[-2:], "big")
        self.asked.append(f"socks {host}:{port}")
        await client.send_all(b"\x05\x00\x00\x01" + bytes(6))
        await self._join(client, port, b"")

    async def _serve_http(self, client: trio.abc.Stream, head: bytes) -> None:
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        self.asked.append(f"{method} {target}")
        port = int(target.split("/")[2].split(":")[1])
        await self._join(client, port, head)

    async def _join(self, client: trio.abc.Stream, port: int, first: bytes) -> None:
        far = await trio.open_tcp_stream("127.0.0.1", port)

        async def copy(source: trio.abc.Stream, sink: trio.abc.Stream) -> None:
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while data := await source.receive_some(65536):
                    await sink.send_all(data)

        async with far, client, trio.open_nursery() as nursery:
            await far.send_all(first)
            nursery.start_soon(copy, far, client)
            await copy(client, far)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks5h"])
def test_proxies(scheme: str, authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def main() -> None:
        proxy = Proxy(context if scheme == "https" else None)
        async with far_end() as simulator, trio.open_nursery() as nursery:
            await nursery.start(proxy.run)
            config = UpstreamConfig(proxy=f"{scheme}://user:p%40ss@127.0.0.1:{proxy.port}")
            upstream = Upstream(config)
            await nursery.start(upstream.run)
            with trio.fail_after(PATIENCE):
                found = await fetch(upstream, f"{simulator.base_url}/")
            assert isinstance(found[0], e.ResponseReceived)
            assert found[0].status == 200
            port = simulator.base_url.rsplit(":", 1)[1]
            if scheme in ("http", "https"):
                assert proxy.asked == [f"GET {simulator.base_url}/"]
            else:
                assert proxy.asked == ["\x01\x04user\x04p@ss", f"socks 127.0.0.1:{port}"]
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_proxy_that_is_not_there() -> None:
    async def check(upstream: Upstream) -> None:
        (failed,) = await fetch(upstream, "http://127.0.0.1:9/")
        assert isinstance(failed, e.RequestFailed)
        assert not failed.sent
        assert "hunter2" not in failed.reason

    with_upstream(check, proxy="socks5://user:hunter2@127.0.0.1:9")


# HTTP/2


def answer_h2(connection: h2.connection.H2Connection, number: int) -> Iterator[bytes]:
    """Answer in two pieces."""
    connection.send_headers(number, [(":status", "200")])
    connection.send_data(number, b"over ")
    connection.send_data(number, b"h2", end_stream=True)
    yield connection.data_to_send()


async def serve_h2(
    context: ssl.SSLContext,
    seen: list[str],
    answer: Callable[[h2.connection.H2Connection, int], Iterator[bytes]] = answer_h2,
    *,
    task_status: trio.TaskStatus[int],
) -> None:
    """Serve one HTTP/2 connection after the other. One that gives a last piece of nothing ends."""

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.send_all(connection.data_to_send())
            while data := await stream.receive_some(65536):
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.StreamEnded):
                        seen.append("h2")
                        for piece in answer(connection, event.stream_id):
                            if not piece:
                                await stream.aclose()
                                return
                            await stream.send_all(piece)
                await stream.send_all(connection.data_to_send())

    listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
    task_status.started(listeners[0].transport_listener.socket.getsockname()[1])
    await trio.serve_listeners(serve, listeners)


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[trustme.CA]:
    """A certificate authority that this process trusts for the while."""
    ca = trustme.CA()
    path = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    before = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = str(path)
    yield ca
    if before is None:
        del os.environ["SSL_CERT_FILE"]
    else:
        os.environ["SSL_CERT_FILE"] = before


def test_http2(authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2"])
    authority.issue_cert("localhost").configure_cert(context)
    seen: list[str] = []

    async def check(upstream: Upstream) -> None:
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve_h2, context, seen)
            for _ in range(2):
                found = await fetch(upstream, f"https://localhost:{port}/", b"{}")
                assert content(found) == b"over h2"
                assert found[-1] == e.EndOfMessage(framed=True)
            nursery.cancel_scope.cancel()
        assert seen == ["h2", "h2"]

    with_upstream(check)


def break_h2(kind: str) -> Callable[[h2.connection.H2Connection, int], Iterator[bytes]]:
    """Answers that go wrong after half of them."""

    def answer(connection: h2.connection.H2Connection, number: int) -> Iterator[bytes]:
        connection.send_headers(number, [(":status", "200")])
        connection.send_data(number, b"over ")
        yield connection.data_to_send()
        match kind:
            case "reset":
                connection.reset_stream(number, error_code=2)
                yield connection.data_to_send()
            case "goodbye":
                connection.close_connection(error_code=11, last_stream_id=0)
                yield connection.data_to_send()
                yield b""
            case "close":
                yield b""
            case "nothing":
                while True:
                    yield b"\0\0\0\0\0" + number.to_bytes(4, "big")  # empty frames of data
            case "pings":
                while True:
                    yield b"\0\0\x08\x06\0\0\0\0\0" + b"12345678"
            case "garbage":
                yield b"\xff" * 1000
                yield b""

    return answer


@pytest.mark.parametrize("kind", ["reset", "goodbye", "close", "nothing", "pings", "garbage"])
def test_http2_that_breaks(kind: str, authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2"])
    authority.issue_cert("localhost").configure_cert(context)

    async def check(upstream: Upstream) -> None:
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve_h2, context, [], break_h2(kind))
            request = UpstreamRequest("GET", f"https://localhost:{port}/", (), b"")
            call = upstream.call(request)
            found: list[e.Event] = []
            while not found or isinstance(found[-1], e.ResponseReceived | e.DataReceived):
                found.append(await call.receive(trio.current_time() + 1))
            call.close()
            assert content(found) in (b"over ", b"")
            endless = kind in ("nothing", "pings")
            assert isinstance(found[-1], e.TimedOut if endless else e.RequestFailed)
            nursery.cancel_scope.cancel()

    with_upstream(check)


def test_certificate_that_nobody_knows() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)

    async def check(upstream: Upstream) -> None:
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            port = listeners[0].socket.getsockname()[1]

            async def serve(raw: trio.SocketStream) -> None:
                with contextlib.suppress(trio.BrokenResourceError):
                    await trio.SSLStream(raw, context, server_side=True).do_handshake()

            nursery.start_soon(trio.serve_listeners, serve, listeners)
            (failed,) = await fetch(upstream, f"https://localhost:{port}/")
            assert isinstance(failed, e.RequestFailed)
            assert "certificate" in failed.reason.lower()
            assert not failed.sent
            nursery.cancel_scope.cancel()

    with_upstream(check)


# Connections


def test_connections_are_kept_and_used_again() -> None:
    async def main() -> None:
        async with far_end() as simulator, trio.open_nursery() as nursery:
            upstream = Upstream(UpstreamConfig())
            await nursery.start(upstream.run)
            for _ in range(3):
                await fetch(upstream, f"{simulator.base_url}/")
            assert simulator.open_connections == 1
            nursery.cancel_scope.cancel()

    trio.run(main)


@pytest.mark.parametrize(("apart", "connections"), [(False, 1), (True, 3)])
def test_connections_of_different_cookies(apart: bool, connections: int) -> None:
    async def main() -> None:
        async with far_end() as simulator, trio.open_nursery() as nursery:
            upstream = Upstream(UpstreamConfig(apart=apart))
            await nursery.start(upstream.run)
            for _ in range(3):
                for headers in ((("cookie", "sso=dora"),), (("cookie", "sso=emil"),), ()):
                    request = UpstreamRequest("GET", f"{simulator.base_url}/", headers)
                    answer = await upstream.fetch(request, limit=10**6, timeout=5)
                    assert isinstance(answer, Fetched)
            assert simulator.open_connections == connections
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_no_more_connections_are_kept_than_may_be() -> None:
    async def main() -> None:
        async with far_end() as simulator, trio.open_nursery() as nursery:
            upstream = Upstream(UpstreamConfig(apart=True))
            await nursery.start(upstream.run)
            for number in range(MAX_IDLE_OF_ALL + 10):
                headers = (("cookie", f"sso=user-{number}"),)
                request = UpstreamRequest("GET", f"{simulator.base_url}/", headers)
                await upstream.fetch(request, limit=10**6, timeout=5)
            while simulator.open_connections > MAX_IDLE_OF_ALL:
                await trio.testing.wait_all_tasks_blocked(0.01)
            assert simulator.open_connections == MAX_IDLE_OF_ALL
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_end_by_close_is_not_framed() -> None:
    async def main() -> None:
        async with far_end() as simulator, trio.open_nursery() as nursery:
            upstream = Upstream(UpstreamConfig())
            await nursery.start(upstream.run)
            simulator.site.faults.order(FaultKind.END_BY_CLOSE)
            body = b'{"message":"hi","modelName":"grok-3"}'
            url = f"{simulator.base_url}/rest/app-chat/conversations/new"
            assert (await fetch(upstream, url, body))[-1] == e.EndOfMessage(framed=False)
            assert (await fetch(upstream, url, body))[-1] == e.EndOfMessage(framed=True)
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_what_the_operator_gives_reaches_grok_and_nobody_else() -> None:
    async def check(served: Served) -> None:
        body = chat("draw", "grok-3-imageGen")
        headers = {"cookie": "mine=1", "x_client": "c"}
        await served.request("POST", "/v1/chat/completions", body, **headers)
        received = list(served.simulator.site.received)
        asked = received[0]
        assert asked.headers["x-statsig-id"] == "signed"
        assert asked.headers["user-agent"] == "agent"
        assert "cf_clearance=clear" in asked.headers["cookie"]
        assert asked.body["temporary"] is True
        assert "mine" not in asked.headers["cookie"]
        assert "x-client" not in asked.headers
        hosted = [each for each in received if each.path == "/api/v1/upload"]
        assert len(hosted) == 2
        assert all("cookie" not in each.headers for each in hosted)
        assert all("x-statsig-id" not in each.headers for each in hosted)

    with_server(
        check,
        GROK_HEADERS='{"x-statsig-id": "signed"}',
        CF_CLEARANCE="clear",
        USER_AGENT="agent",
        TUMY_KEY="key",
        IS_TEMP_CONVERSATION="true",
    )
