"""What tasks on asyncio have of their event loop: naps, and a watch over sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator

import anyio
import pytest

from transports.loops import Loop, Sockets
from transports.loops.asyncio_loop import build_loop
from transports.loops.pump import HAS_EPOLL

PATIENCE = 5.0
RUNS: dict[str, Callable[[Awaitable[None]], None]] = {"asyncio": asyncio.run}  # type: ignore[dict-item]
with contextlib.suppress(ImportError):  # there is none for every system
    import uvloop

    RUNS["uvloop"] = uvloop.run  # type: ignore[assignment]


@pytest.fixture(params=RUNS)
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[Loop], Awaitable[None]]], None]:
    """Runs a check on an event loop."""

    def run(check: Callable[[Loop], Awaitable[None]]) -> None:
        async def main() -> None:
            async with asyncio.timeout(PATIENCE):
                await check(build_loop(asyncio.get_running_loop()))

        RUNS[request.param](main())

    return run


Run = Callable[[Callable[[Loop], Awaitable[None]]], None]


def test_nap(run: Run) -> None:
    async def check(loop: Loop) -> None:
        nap = loop.make_nap()
        nap.wake()  # nobody sleeps
        for _ in range(3):
            sleeper = asyncio.create_task(nap.sleep())  # type: ignore[arg-type]
            await asyncio.sleep(0)
            assert not sleeper.done()
            nap.wake()
            nap.wake()
            await sleeper
        sleeper = asyncio.create_task(nap.sleep())  # type: ignore[arg-type]
        await asyncio.sleep(0)
        sleeper.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeper
        nap.wake()

    run(check)


def test_thread_is_waited_for_whoever_cancels(run: Run) -> None:
    async def check(loop: Loop) -> None:
        begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            assert go_on.wait(PATIENCE)
            ended.set()
            raise ValueError("nobody asks for this any more")

        async def wait() -> None:
            with anyio.CancelScope() as scope:
                scope.cancel()
                with anyio.CancelScope(shield=True):
                    await loop.run_in_thread(work)

        task = asyncio.create_task(wait())
        while not begun.is_set():
            await asyncio.sleep(0)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
            assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()
        with pytest.raises(ValueError, match="nobody"):
            await loop.run_in_thread(work)

    run(check)


needs_epoll = pytest.mark.skipif(not HAS_EPOLL, reason="there is no watch without epoll")


@contextlib.contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection that does not block here."""
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        yield here, there


def sockets_of(loop: Loop) -> Sockets:
    """Its watch."""
    assert loop.sockets is not None
    return loop.sockets


@needs_epoll
def test_what_comes_is_told_of(run: Run) -> None:
    async def check(loop: Loop) -> None:
        sockets = sockets_of(loop)
        for _ in range(2):  # the watch ends with its last socket, and begins anew
            with pair() as (here, there):
                news = asyncio.Event()
                sockets.watch(here, news.set)
                there.send(b"x")
                await news.wait()
                assert here.recv(10) == b"x"
                news.clear()
                there.close()
                await news.wait()
                assert here.recv(10) == b""
                sockets.unwatch(here)
                sockets.unwatch(here)  # in vain

    run(check)


@needs_epoll
def test_connection_that_is_reset_is_told_of(run: Run) -> None:
    async def check(loop: Loop) -> None:
        sockets = sockets_of(loop)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            here = await sockets.connect("127.0.0.1", listener.getsockname()[1])
            there, _ = listener.accept()
            with here:
                news = asyncio.Event()
                sockets.watch(here, news.set)
                there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                there.close()
                await news.wait()
                with pytest.raises(ConnectionResetError):
                    here.recv(10)
                sockets.unwatch(here)

    run(check)


@needs_epoll
def test_tasks_have_their_turn_beside_a_socket_that_never_rests(run: Run) -> None:
    async def check(loop: Loop) -> None:
        with pair() as (here, there):
            reads: list[int] = []
            sockets_of(loop).watch(here, lambda: reads.append(1))  # and leave it there
            there.send(b"x")
            for _ in range(20):
                before = len(reads)
                while len(reads) == before:
                    await asyncio.sleep(0)
            sockets_of(loop).unwatch(here)

    run(check)


@needs_epoll
def test_task_is_cancelled_beside_a_socket_that_never_rests(run: Run) -> None:
    """It waits again and again, and each time it is over before anybody could look."""

    async def check(loop: Loop) -> None:
        def wake() -> None:
            sockets_of(loop).unwatch(here)
            nap.wake()

        with pair() as (here, there):
            there.send(b"x")
            nap = loop.make_nap()
            with loop.open_scope() as scope:
                for turn in range(100):
                    if turn == 10:
                        asyncio.get_running_loop().call_soon(scope.cancel)
                    sockets_of(loop).watch(here, wake)
                    await nap.sleep()
            assert scope.cancelled_caught
            sockets_of(loop).unwatch(here)

    run(check)


async def wait_for_room(sockets: Sockets, sock: socket.socket) -> asyncio.Task[None]:
    """Fill a socket; a task that waits until it takes more."""
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(b"x" * 65536)
    waiting = asyncio.create_task(sockets.wait_writable(sock))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert not waiting.done()
    return waiting


@needs_epoll
def test_waiting_until_there_is_room(run: Run) -> None:
    async def check(loop: Loop) -> None:
        sockets = sockets_of(loop)
        with pair() as (here, there):
            waiting = await wait_for_room(sockets, here)
            there.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while there.recv(65536):
                    pass
            await waiting
            sockets.forget(here)  # nobody waits

    run(check)


@needs_epoll
def test_socket_that_is_given_up_is_not_waited_for(run: Run) -> None:
    async def check(loop: Loop) -> None:
        sockets = sockets_of(loop)
        with pair() as (here, _):
            waiting = await wait_for_room(sockets, here)
            sockets.forget(here)
            with pytest.raises(OSError, match="given up"):
                await waiting

    run(check)


@needs_epoll
def test_addresses_that_do_not_do_are_passed_over(run: Run) -> None:
    """One of a family that this machine has not, one that refuses, and one that answers."""

    async def check(loop: Loop) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            refusing = closed.getsockname()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            answering = listener.getsockname()
            own = asyncio.get_running_loop()
            kind = socket.SOCK_STREAM

            async def resolve(*_: object, **__: object) -> list[object]:
                return [
                    (12345, kind, 0, "", ("::1", 1)),
                    (socket.AF_INET, kind, 0, "", refusing),
                    (socket.AF_INET, kind, 0, "", answering),
                ]

            sockets = build_loop(LoopThatResolves(own, resolve)).sockets  # type: ignore[arg-type]
            assert sockets is not None
            with await sockets.connect("far.example", 1) as here:
                assert here.getpeername() == answering

    run(check)


class LoopThatResolves:
    """An event loop, but for what names lead to."""

    def __init__(self, loop: asyncio.AbstractEventLoop, resolve: object) -> None:
        self._loop = loop
        self.getaddrinfo = resolve

    def __getattr__(self, name: str) -> object:
        return getattr(self._loop, name)


@needs_epoll
def test_connecting_in_vain(run: Run) -> None:
    async def check(loop: Loop) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            await sockets_of(loop).connect("127.0.0.1", port)
        with pytest.raises(OSError):
            await sockets_of(loop).connect("nobody.invalid", port)

    run(check)
