"""One watch over many sockets, with epoll and without."""

from __future__ import annotations

import collections
import socket
from collections.abc import Callable

import pytest
import trio
import trio.testing

from tests.transports.served import Served, chat, with_server
from transports.loops import trio_pump
from transports.loops.trio_pump import TaskPump, TrioPump
from transports.simulator import Delivery, Style

PUMPS = [TrioPump, TaskPump]
PATIENCE = 10.0


@pytest.fixture(params=PUMPS)
def kind(request: pytest.FixtureRequest) -> type[TrioPump | TaskPump]:
    return request.param  # type: ignore[no-any-return]


def run_with(pump: TrioPump | TaskPump, check: Callable[[], object]) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump.run)
            with trio.fail_after(PATIENCE):
                await check()  # type: ignore[misc]
            nursery.cancel_scope.cancel()

    trio.run(main)


class Pair:
    """Two ends of a connection; one is watched."""

    def __init__(self, pump: TrioPump | TaskPump, at_once: int = 100) -> None:
        self.here, self.there = socket.socketpair()
        self.here.setblocking(False)
        self.pump = pump
        self.at_once = at_once
        self.got: list[bytes] = []
        self.news = trio.Event()

    def watch(self) -> None:
        self.pump.watch(self.here, self.read)

    def read(self) -> None:
        try:
            data = self.here.recv(self.at_once)
        except BlockingIOError:
            return
        self.got.append(data)
        if not data:
            self.close()
        self.news.set()

    async def wait_for(self, count: int) -> None:
        while len(self.got) < count:
            await self.news.wait()
            self.news = trio.Event()

    def close(self) -> None:
        self.pump.unwatch(self.here)
        self.here.close()


def test_what_comes_is_told_of_until_it_was_read(kind: type[TrioPump | TaskPump]) -> None:
    async def check() -> None:
        pair = Pair(pump, at_once=2)
        pair.there.send(b"early")
        pair.watch()
        await pair.wait_for(3)
        assert pair.got == [b"ea", b"rl", b"y"]
        pair.there.send(b"late")
        await pair.wait_for(5)
        pair.there.close()
        await pair.wait_for(6)
        assert pair.got[3:] == [b"la", b"te", b""]

    pump = kind()
    run_with(pump, check)


def test_what_is_not_watched_is_not_told_of(kind: type[TrioPump | TaskPump]) -> None:
    async def check() -> None:
        one, other = Pair(pump), Pair(pump)
        one.watch()
        other.watch()
        one.pump.unwatch(one.here)
        one.pump.unwatch(one.here)  # in vain
        one.there.send(b"nobody listens")
        other.there.send(b"here")
        await other.wait_for(1)
        assert one.got == []
        one.watch()
        await one.wait_for(1)
        assert one.got == [b"nobody listens"]
        for pair in (one, other):
            pair.close()
            pair.there.close()

    pump = kind()
    run_with(pump, check)


def test_one_handler_may_end_the_watch_of_another(kind: type[TrioPump | TaskPump]) -> None:
    async def check() -> None:
        pairs = [Pair(pump) for _ in range(4)]
        called: list[Pair] = []

        def end_all(pair: Pair) -> None:
            called.append(pair)
            for each in pairs:
                pump.unwatch(each.here)

        for pair in pairs:
            pump.watch(pair.here, lambda pair=pair: end_all(pair))  # type: ignore[misc]
            pair.there.send(b"x")
        while not called:
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        assert len(called) == 1
        for pair in pairs:
            pair.here.close()
            pair.there.close()

    pump = kind()
    run_with(pump, check)


def test_a_mistake_in_a_handler_costs_no_other(kind: type[TrioPump | TaskPump]) -> None:
    async def check() -> None:
        wrong, right = Pair(pump), Pair(pump)
        mistakes: list[int] = []

        def fail() -> None:
            wrong.here.recv(100)
            mistakes.append(1)
            raise RuntimeError("a mistake")

        pump.watch(wrong.here, fail)
        right.watch()
        wrong.there.send(b"x")
        while not mistakes:
            await trio.lowlevel.checkpoint()
        right.there.send(b"y")
        await right.wait_for(1)
        for pair in (wrong, right):
            pair.close()
            pair.there.close()

    pump = kind()
    run_with(pump, check)


def test_tasks_have_their_turn_beside_sockets_that_never_rest(
    kind: type[TrioPump | TaskPump],
) -> None:
    async def check() -> None:
        pair = Pair(pump)
        turns = reads = 0

        def read() -> None:
            nonlocal reads
            reads += 1  # and leave it there, so that there is always something

        pair.there.send(b"x")
        pump.watch(pair.here, read)
        while turns < 20:
            await trio.lowlevel.checkpoint()
            turns += 1
        while not reads:
            await trio.lowlevel.checkpoint()
        pair.close()
        pair.there.close()

    pump = kind()
    run_with(pump, check)


@pytest.mark.parametrize("busy", [1, 16, 200])
def test_sockets_that_never_rest_let_others_have_their_turn(
    kind: type[TrioPump | TaskPump], busy: int
) -> None:
    """What comes for a quiet one waits for two rounds of the busy ones at most, by their calls."""

    async def check() -> None:
        pairs = [Pair(pump) for _ in range(busy)]
        quiet = Pair(pump)
        calls: collections.Counter[int] = collections.Counter()
        waited: list[int] = []
        sent_at = 0

        def read(number: int) -> None:
            nonlocal sent_at
            calls[number] += 1  # and leave it there, so that there is always something
            if sent_at == 0:
                sent_at = calls.total()
                quiet.there.send(b"x")

        def read_quiet() -> None:
            nonlocal sent_at
            quiet.read()
            if sent_at:
                waited.append(calls.total() - sent_at)
                sent_at = 0

        for number, pair in enumerate(pairs):
            pair.there.send(b"x")
            pump.watch(pair.here, lambda number=number: read(number))  # type: ignore[misc]
        pump.watch(quiet.here, read_quiet)
        while len(waited) < 50:
            await trio.lowlevel.checkpoint()
        assert max(waited) <= 2 * busy
        assert len(calls) == busy
        for pair in (*pairs, quiet):
            pair.close()
            pair.there.close()

    pump = kind()
    run_with(pump, check)


def test_a_server_without_epoll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio_pump, "HAS_EPOLL", False)
    assert isinstance(trio_pump.build_pump(), TaskPump)

    async def check(served: Served) -> None:
        for stream in (False, True, False):
            answer = await served.chat(stream=stream)
            assert (answer.status, answer.whole) == (200, True)
        served.simulator.site.delivery = Delivery(pace=0.01)
        served.simulator.site.style = Style(tokens=100_000)
        client = await served.connect()
        await client.send_request("POST", "/v1/chat/completions", chat(stream=True))
        await client.read_some()
        await client.stream.aclose()
        await served.simulator.site.wait_for(lambda: served.simulator.site.in_flight == 0)

    with_server(check)
