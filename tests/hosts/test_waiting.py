"""One line, three ways to wait in it: tasks on trio, tasks on asyncio, threads."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import anyio
import pytest
import trio

from grokproto.commands import AcquireCredential, ReleaseCredential
from grokproto.credentials import CredentialPool, PoolSettings
from grokproto.events import CredentialAcquired, NoCredential
from grokproto.lease import Lease, Outcome
from grokproto.secret import Secret
from transports.loops.running import find_loop
from transports.loops.threads import InterruptedWaitError, News
from transports.pool.scheduler import Scheduler
from transports.pool.store import MEMORY, Store
from transports.pool.waiting import Waiting
from transports.pool.waiting_threads import ThreadedWaiting

PATIENCE = 5.0
STEP = 0.05
"""Seconds between two that come."""


class Line(Protocol):
    """A line, and those who stand in it. Everything is done in the order in which it is asked."""

    def acquire(self, name: str, group: str, *, seconds: float, after: float) -> None:
        """Let somebody ask for a call, some time after the beginning, for so long."""

    def leave(self, name: str, *, after: float) -> None:
        """Let somebody give up."""

    def release(self, name: str, *, after: float) -> None:
        """Let somebody give back what they got."""

    def run(self) -> list[str]:
        """Let all that happen; tell what happened, in its order."""


@contextlib.contextmanager
def open_scheduler() -> Iterator[Scheduler]:
    """One account, for one call at a time."""
    with Store(MEMORY) as store:
        pool = CredentialPool(PoolSettings(concurrency=1))
        yield Scheduler(pool, store, configured=[{"sso": Secret("anna")}])
        (status,) = pool.status(time.time())
        assert status.in_flight == 0


class Tasks:
    """See `Line`."""

    def __init__(self, run: Callable[[Any], Any]) -> None:
        self._run = run
        self._steps: list[tuple[float, str, str, str, float]] = []

    def acquire(self, name: str, group: str, *, seconds: float, after: float) -> None:
        self._steps.append((after, "acquire", name, group, seconds))

    def leave(self, name: str, *, after: float) -> None:
        self._steps.append((after, "leave", name, "", 0))

    def release(self, name: str, *, after: float) -> None:
        self._steps.append((after, "release", name, "", 0))

    def run(self) -> list[str]:
        told: list[str] = []
        leases: dict[str, Lease] = {}
        scopes: dict[str, anyio.CancelScope] = {}

        async def main() -> None:
            with open_scheduler() as scheduler:
                loop = find_loop()
                waiting = Waiting(scheduler, loop)
                started = loop.current_time()

                async def ask(name: str, group: str, seconds: float) -> None:
                    scopes[name] = anyio.CancelScope()
                    with scopes[name]:
                        deadline = loop.current_time() + seconds
                        found = await waiting.acquire(AcquireCredential(group, deadline))
                        told.append(tell(name, found, leases))

                async with anyio.create_task_group() as group_of_tasks:
                    for after, step, name, group, seconds in sorted(self._steps):
                        await anyio.sleep_until(started + after)
                        match step:
                            case "acquire":
                                group_of_tasks.start_soon(ask, name, group, seconds)
                            case "leave":
                                scopes[name].cancel()
                            case _:
                                lease = leases.pop(name)
                                waiting.release(ReleaseCredential(lease, Outcome.SERVED))
                for lease in leases.values():
                    waiting.release(ReleaseCredential(lease, Outcome.SERVED))

        self._run(main)
        return told


class Threads(Tasks):
    """See `Line`."""

    def __init__(self) -> None:
        super().__init__(lambda _: None)

    def run(self) -> list[str]:
        told: list[str] = []
        leases: dict[str, Lease] = {}
        news: dict[str, News] = {}
        with open_scheduler() as scheduler, ThreadPoolExecutor(8) as threads:
            waiting = ThreadedWaiting(scheduler)
            asked = threading.Event()
            really_ask = scheduler.ask

            def note(command: AcquireCredential, now: float) -> Any:
                answer = really_ask(command, now)
                asked.set()
                return answer

            scheduler.ask = note  # type: ignore[method-assign]

            def ask(name: str, group: str, seconds: float) -> None:
                command = AcquireCredential(group, time.monotonic() + seconds)
                with contextlib.suppress(InterruptedWaitError):
                    told.append(tell(name, waiting.acquire(command, news[name]), leases))

            futures: dict[str, Future[None]] = {}
            patience: dict[str, float] = {}
            for after, step, name, group, seconds in sorted(self._steps):
                for each, ends in patience.items():
                    if ends < after:  # its time is over: it has its answer before this happens
                        futures[each].result(PATIENCE)
                match step:
                    case "acquire":
                        news[name], patience[name] = News(), after + seconds
                        asked.clear()
                        futures[name] = threads.submit(ask, name, group, seconds)
                        assert asked.wait(PATIENCE)
                    case "leave":
                        news[name].interrupt()
                        futures[name].result(PATIENCE)
                    case _:
                        futures[name].result(PATIENCE)  # it has been told what it got
                        lease = leases.pop(name)
                        waiting.release(ReleaseCredential(lease, Outcome.SERVED))
            for future in futures.values():
                future.result(PATIENCE)
            for lease in leases.values():
                waiting.release(ReleaseCredential(lease, Outcome.SERVED))
        return told


def tell(name: str, found: CredentialAcquired | NoCredential, leases: dict[str, Lease]) -> str:
    """What somebody got."""
    if isinstance(found, CredentialAcquired):
        leases[name] = found.lease
        return name
    assert found.busy
    return f"{name}: none"


LINES: dict[str, Callable[[], Tasks]] = {
    "trio": lambda: Tasks(trio.run),
    "asyncio": lambda: Tasks(lambda main: asyncio.run(main())),
    "threads": Threads,
}
every_line = pytest.mark.parametrize("line", LINES.values(), ids=LINES)


@every_line
def test_first_come_first_served_over_all_groups(line: Callable[[], Tasks]) -> None:
    steps = line()
    for number, (name, group) in enumerate(
        (("a", "grok-3"), ("b", "grok-3-reasoning"), ("c", "grok-3"), ("d", "grok-3-reasoning"))
    ):
        steps.acquire(name, group, seconds=PATIENCE, after=number * STEP)
    for number, name in enumerate("abc"):
        steps.release(name, after=(4 + number) * STEP)
    assert steps.run() == ["a", "b", "c", "d"]


@every_line
def test_who_waits_too_long_gets_none(line: Callable[[], Tasks]) -> None:
    steps = line()
    steps.acquire("a", "grok-3", seconds=PATIENCE, after=0)
    steps.acquire("b", "grok-3", seconds=STEP, after=STEP)
    steps.acquire("c", "grok-3", seconds=0, after=2 * STEP)
    steps.acquire("d", "grok-3", seconds=PATIENCE, after=4 * STEP)
    steps.release("a", after=5 * STEP)
    assert sorted(steps.run()) == ["a", "b: none", "c: none", "d"]


@every_line
def test_who_leaves_is_passed_over(line: Callable[[], Tasks]) -> None:
    steps = line()
    for number, name in enumerate("abc"):
        steps.acquire(name, "grok-3", seconds=PATIENCE, after=number * STEP)
    steps.leave("b", after=3 * STEP)
    steps.release("a", after=4 * STEP)
    assert steps.run() == ["a", "c"]


@every_line
def test_who_leaves_in_the_moment_of_being_served_gives_it_back(line: Callable[[], Tasks]) -> None:
    steps = line()
    for number, name in enumerate("abc"):
        steps.acquire(name, "grok-3", seconds=PATIENCE, after=number * STEP)
    steps.leave("b", after=3 * STEP)
    steps.release("a", after=3 * STEP)  # before or after it, with nothing between
    assert steps.run()[-1] == "c"


def test_threads_do_not_disturb_each_other() -> None:
    most = 0
    now = 0
    lock = threading.Lock()

    def work(waiting: ThreadedWaiting) -> None:
        nonlocal most, now
        for _ in range(20):
            command = AcquireCredential("grok-3", time.monotonic() + PATIENCE)
            found = waiting.acquire(command, News())
            assert isinstance(found, CredentialAcquired)
            with lock:
                now += 1
                most = max(most, now)
            with lock:
                now -= 1
            waiting.release(ReleaseCredential(found.lease, Outcome.UNUSED))

    with open_scheduler() as scheduler, ThreadPoolExecutor(8) as threads:
        waiting = ThreadedWaiting(scheduler)
        for future in [threads.submit(work, waiting) for _ in range(8)]:
            future.result(30)
    assert most == 1


def test_client_that_has_its_answer_may_leave() -> None:
    news = News(lambda: True)
    with pytest.raises(InterruptedWaitError):
        news.wait_for(lambda: None, time.monotonic())
    news.forget_client()
    assert news.wait_for(lambda: None, time.monotonic()) is None
    assert not news.interrupted


def test_client_that_was_given_up_after_it_had_its_answer() -> None:
    news = News()
    news.interrupt()
    with pytest.raises(InterruptedWaitError):
        news.check()
    news.forget_client()
    news.interrupt()
    news.check()
    assert not news.interrupted


def test_host_that_ends_waits_for_nothing() -> None:
    news = News()
    news.forget_client()
    assert not news.stopped
    news.stop()
    assert news.stopped
    assert news.interrupted
    with pytest.raises(InterruptedWaitError):
        news.check()
    with pytest.raises(InterruptedWaitError):
        news.wait_for(lambda: 1, float("inf"))
