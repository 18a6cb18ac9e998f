"""`transports.server.listening`: accepting, turning away, and stopping."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest
import trio

from tests.transports.served import RawClient
from transports.loops.sockets import Transport
from transports.server.http_request import ConnectionLimits, Handler, HTTPRequest
from transports.server.listening import Listening, Server

PATIENCE = 10.0


class Running:
    """A server that runs, and what it was asked to do."""

    def __init__(
        self,
        server: Server,
        listening: Listening,
        errors: list[BaseException],
        pauses: list[OSError],
    ) -> None:
        self.server = server
        self.listening = listening
        self.errors = errors
        self.pauses = pauses
        self.ended = trio.Event()
        self.grace_over = trio.Event()

    async def connect(self) -> RawClient:
        """A connection to it."""
        return RawClient(await trio.open_tcp_stream(self.listening.host, self.listening.port))


def with_running(
    check: Callable[[Running], Awaitable[None]],
    handler: Handler,
    *,
    host: str = "127.0.0.1",
    limits: ConnectionLimits | None = None,
    grace: float = 5.0,
) -> None:
    """Run a check beside a server, which must have nothing left open when it has ended."""

    async def main() -> None:
        errors: list[BaseException] = []
        pauses: list[OSError] = []
        server = Server(handler, limits=limits, on_error=errors.append, on_pause=pauses.append)

        async def run(*, task_status: trio.TaskStatus[Running]) -> None:
            async with trio.open_nursery() as inner:

                def grace_over() -> None:
                    running.grace_over.set()

                async def serve(*, task_status: trio.TaskStatus[Listening]) -> None:
                    await server.run(
                        host, 0, grace=grace, on_grace_over=grace_over, task_status=task_status
                    )
                    running.ended.set()

                listening: Listening = await inner.start(serve)
                running = Running(server, listening, errors, pauses)
                task_status.started(running)

        async with trio.open_nursery() as nursery:
            running: Running = await nursery.start(run)
            with trio.fail_after(PATIENCE):
                await check(running)
            nursery.cancel_scope.cancel()
        assert server.open_connections == 0

    trio.run(main)


async def greet(request: HTTPRequest) -> None:
    """Answer."""
    await request.respond(200, [], b"hello")


class Gate:
    """A handler that waits in the middle of a response until it is told to go on."""

    def __init__(self) -> None:
        self.reached = trio.Event()
        self.open = trio.Event()

    async def __call__(self, request: HTTPRequest) -> None:
        """Answer, slowly."""
        await request.send_response(200, [])
        await request.send_data(b"begun ")
        self.reached.set()
        await self.open.wait()
        await request.send_data(b"ended")
        await request.end_response()


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6), "localhost"])
def test_where_it_listens(host: str) -> None:
    async def check(running: Running) -> None:
        assert running.listening.port != 0
        expected = f"[{host}]" if ":" in host else host
        assert running.listening.url == f"http://{expected}:{running.listening.port}"
        client = await running.connect()
        async with client.stream:
            await client.send_request("GET", "/")
            assert (await client.read_response()).body == b"hello"

    with_running(check, greet, host=host)


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_name_with_an_address_that_this_machine_has_not(number: int) -> None:
    """As `localhost` is on a machine without IPv6."""

    class Resolver(trio.abc.HostnameResolver):
        """Knows two addresses for every name; the first one is nobody's here."""

        async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # type: ignore[no-untyped-def] # noqa: A002
            """Both addresses."""
            missing = 99 if number == errno.EAFNOSUPPORT else socket.AF_INET
            return [
                (missing, type, proto, "", ("192.0.2.1", port)),
                (socket.AF_INET, type, proto, "", ("127.0.0.1", port)),
            ]

        async def getnameinfo(self, sockaddr, flags):  # type: ignore[no-untyped-def]
            """Not asked."""
            raise NotImplementedError

    async def main() -> None:
        trio.socket.set_custom_hostname_resolver(Resolver())
        async with trio.open_nursery() as nursery:
            listening = await nursery.start(Server(greet).run, "two-addresses.test", 0)
            async with await trio.open_tcp_stream("127.0.0.1", listening.port):
                pass
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_where_it_cannot_listen() -> None:
    async def main(host: str, port: int) -> None:
        await Server(greet).run(host, port)

    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(OSError, match="already in use"):
            trio.run(main, "127.0.0.1", taken.getsockname()[1])
    with pytest.raises(OSError, match="assign requested"):
        trio.run(main, "192.0.2.1", 0)


def test_tokens_do_not_wait_for_each_other() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        accepted, _ = listener.accept()
        Transport(accepted)
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        accepted.close()


def test_too_many_connections() -> None:
    async def check(running: Running) -> None:
        first = await running.connect()
        async with first.stream:
            await first.send_request("GET", "/")
            assert (await first.read_response()).status == 200
            second = await running.connect()
            async with second.stream:
                # What it has sent already must not cost it the answer.
                await second.send_request("POST", "/", b"x" * 100_000)
                answer = await second.read_response()
                assert (answer.status, answer.headers["retry-after"]) == (503, "1")
                assert answer.error["code"] == "too_many_connections"
                assert await second.is_closed()
        while running.server.open_connections:
            await trio.lowlevel.checkpoint()
        third = await running.connect()
        async with third.stream:
            await third.send_request("GET", "/")
            assert (await third.read_response()).status == 200

    with_running(check, greet, limits=ConnectionLimits(max_connections=1))


def test_out_of_descriptors_it_recovers() -> None:
    async def check(running: Running) -> None:
        client = RawClient(trio.SocketStream(trio.socket.socket()))
        async with client.stream:
            with _no_more_descriptors():
                await client.stream.socket.connect(("127.0.0.1", running.listening.port))
                await client.send_request("GET", "/")
                while not running.pauses:
                    await trio.sleep(0.01)
                await trio.sleep(0.25)
            assert (await client.read_response()).body == b"hello"
        (pause,) = running.pauses  # it is told of once, however often it was tried
        assert pause.errno == errno.EMFILE
        assert running.errors == []

    with_running(check, greet)


@contextlib.contextmanager
def _no_more_descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    taken.append(os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 8, before[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for fd in taken:
            os.close(fd)


def test_clients_that_leave_before_they_are_accepted() -> None:
    async def check(running: Running) -> None:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", running.listening.port)) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client = await running.connect()
        async with client.stream:
            await client.send_request("GET", "/")
            assert (await client.read_response()).status == 200
        assert running.errors == []

    with_running(check, greet)


def test_stop_closes_what_is_idle_and_lets_the_others_finish() -> None:
    gate = Gate()

    async def check(running: Running) -> None:
        idle, busy = await running.connect(), await running.connect()
        async with idle.stream, busy.stream:
            await busy.send_request("GET", "/")
            await gate.reached.wait()
            running.server.stop()
            with trio.fail_after(0.5):
                assert await idle.is_closed()
            with pytest.raises(OSError, match="connect"):
                await running.connect()
            assert not running.ended.is_set()
            gate.open.set()
            answer = await busy.read_response()
            assert (answer.body, answer.whole) == (b"begun ended", True)
            assert await busy.is_closed()
        with trio.fail_after(0.5):
            await running.ended.wait()
        assert not running.grace_over.is_set()

    with_running(check, gate)


def test_clients_that_keep_their_end_open_do_not_hold_up_the_stop() -> None:
    gate = Gate()

    async def check(running: Running) -> None:
        client = await running.connect()
        async with client.stream:
            await client.send_request("GET", "/")
            await gate.reached.wait()
            running.server.stop()
            gate.open.set()
            assert (await client.read_response()).body == b"begun ended"
            with trio.fail_after(1.5):
                await running.ended.wait()

    with_running(check, gate)


def test_responses_of_a_server_that_stops_are_the_last() -> None:
    reached, go_on = trio.Event(), trio.Event()

    async def wait(request: HTTPRequest) -> None:
        reached.set()
        await go_on.wait()
        await greet(request)

    async def check(running: Running) -> None:
        client = await running.connect()
        async with client.stream:
            await client.send_request("GET", "/")
            await reached.wait()
            running.server.stop()
            go_on.set()
            assert (await client.read_response()).headers["connection"] == "close"
            assert await client.is_closed()

    with_running(check, wait)


def test_after_the_grace_handlers_get_a_last_moment() -> None:
    gate = Gate()

    async def check(running: Running) -> None:
        client = await running.connect()
        async with client.stream:
            await client.send_request("GET", "/")
            await gate.reached.wait()
            running.server.stop()
            await running.grace_over.wait()
            gate.open.set()  # as a handler does that is told to end
            assert (await client.read_response()).body == b"begun ended"
        await running.ended.wait()

    with_running(check, gate, grace=0.1)


def test_a_second_stop_ends_at_once() -> None:
    gate = Gate()

    async def check(running: Running) -> None:
        client = await running.connect()
        async with client.stream:
            await client.send_request("GET", "/")
            await gate.reached.wait()
            running.server.stop()
            running.server.stop()
            with trio.fail_after(0.5):
                await running.ended.wait()
            assert not (await client.read_response()).whole
        assert not running.grace_over.is_set()

    with_running(check, gate)


def test_handlers_that_do_not_end_are_cancelled() -> None:
    gate = Gate()

    async def check(running: Running) -> None:
        client = await running.connect()
        async with client.stream:
            await client.send_request("GET", "/")
            await gate.reached.wait()
            running.server.stop()
            assert not (await client.read_response()).whole
            await running.ended.wait()
        assert running.grace_over.is_set()
        assert running.errors == []

    with_running(check, gate, grace=0.1)
