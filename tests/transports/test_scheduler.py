"""`transports.pool.scheduler`: who is served when, and what becomes of writes that fail."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import trio
import trio.testing

from grokproto.commands import AcquireCredential, ReleaseCredential
from grokproto.credentials import CredentialPool, PoolSettings, decode_record
from grokproto.events import CredentialAcquired, NoCredential
from grokproto.lease import Lease, Outcome
from grokproto.secret import Secret
from transports.api.service import open_scheduler
from transports.config import build_config
from transports.loops.trio_loop import TRIO
from transports.pool.scheduler import Scheduler
from transports.pool.state_file import read_records
from transports.pool.store import MEMORY, Store
from transports.pool.waiting import Waiting


def with_scheduler(
    check: Callable[[Scheduler], Awaitable[None]],
    *accounts: str,
    concurrency: int = 1,
    state: str = MEMORY,
) -> None:
    """Run a check with a scheduler, in no time."""

    async def main() -> None:
        with Store(state) as store:
            pool = CredentialPool(PoolSettings(concurrency=concurrency))
            configured = [{"sso": Secret(account)} for account in accounts]
            await check(Scheduler(pool, store, configured=configured))

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def acquire(scheduler: Scheduler, group: str, wait: float = 60.0) -> Lease:
    """A lease."""
    command = AcquireCredential(group, trio.current_time() + wait)
    event = await Waiting(scheduler, TRIO).acquire(command)
    assert isinstance(event, CredentialAcquired)
    return event.lease


def release(scheduler: Scheduler, lease: Lease, outcome: Outcome = Outcome.SERVED) -> None:
    """Give it back."""
    scheduler.release(ReleaseCredential(lease, outcome))


def test_first_come_first_served_in_whatever_group() -> None:
    """One account serves all groups; a group that always has somebody in line starves no other."""

    async def check(scheduler: Scheduler) -> None:
        served: list[str] = []

        async def ask(name: str, group: str) -> None:
            lease = await acquire(scheduler, group)
            served.append(name)
            await trio.sleep(1)
            release(scheduler, lease)

        async with trio.open_nursery() as nursery:
            for number in range(9):
                group = "grok-3-reasoning" if number in (3, 4, 7) else "grok-3"
                nursery.start_soon(ask, f"{number}", group)
                await trio.testing.wait_all_tasks_blocked()
        assert served == [f"{number}" for number in range(9)]

    with_scheduler(check, "anna")


def test_who_has_tried_the_free_one_holds_nobody_up() -> None:
    async def check(scheduler: Scheduler) -> None:
        first, second = await acquire(scheduler, "grok-3"), await acquire(scheduler, "grok-3")
        events: list[str] = []

        async def ask(name: str, exclude: frozenset[str]) -> None:
            deadline = trio.current_time() + 10
            command = AcquireCredential("grok-3", deadline, exclude)
            event = await Waiting(scheduler, TRIO).acquire(command)
            assert isinstance(event, CredentialAcquired)
            events.append(f"{name}: {event.lease.credential}")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "picky", frozenset({first.credential}))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ask, "other", frozenset())
            await trio.testing.wait_all_tasks_blocked()
            release(scheduler, first)
            await trio.testing.wait_all_tasks_blocked()
            release(scheduler, second)
        assert events == [f"other: {first.credential}", f"picky: {second.credential}"]

    with_scheduler(check, "anna", "bert")


def test_who_waits_is_told_at_its_deadline() -> None:
    async def check(scheduler: Scheduler) -> None:
        lease = await acquire(scheduler, "grok-3")
        began = trio.current_time()
        event = await Waiting(scheduler, TRIO).acquire(AcquireCredential("grok-3", began + 7))
        assert isinstance(event, NoCredential)
        assert "1 is busy" in event.message
        assert trio.current_time() - began == 7
        release(scheduler, lease)

    with_scheduler(check, "anna")


def test_who_is_gone_when_it_is_served_gives_it_back() -> None:
    """It is cancelled, and in the same moment its turn comes: the call is nobody's."""

    async def check(scheduler: Scheduler) -> None:
        lease = await acquire(scheduler, "grok-3")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(acquire, scheduler, "grok-3")
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            release(scheduler, lease)
        (status,) = scheduler.pool.status(scheduler.unix_now)
        assert status.in_flight == 0
        assert [group.total - group.remaining for group in status.groups] == [1]

    with_scheduler(check, "anna")


def test_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    """Also of an account that nothing happens to afterwards."""
    state = tmp_path / "state.sqlite3"

    def kept() -> dict[str, int]:
        records = [decode_record(record) for record in read_records(state).values()]
        return {each.name: sum(ledger.used for ledger in each.ledgers) for each in records}

    async def check(scheduler: Scheduler) -> None:
        database = scheduler.store._database

        async def lose_a_call() -> str:
            database.execute("ALTER TABLE credentials RENAME TO elsewhere")
            lease = await acquire(scheduler, "grok-3")
            release(scheduler, lease)
            added, _ = scheduler.pool.add({"sso": Secret("cleo")})
            scheduler.keep()
            scheduler.pool.remove(added)
            scheduler.keep()
            assert scheduler.check_store() is not None
            database.execute("ALTER TABLE elsewhere RENAME TO credentials")
            return lease.credential

        before = kept()
        first = await lose_a_call()
        assert kept() == before
        assert scheduler.check_store() is None  # somebody asks how things are
        assert kept() == {**before, first: 1}
        second = await lose_a_call()
        assert second != first
        third = await acquire(scheduler, "grok-3")  # another call is granted
        release(scheduler, third)
        assert third.credential == first
        assert kept() == {first: 2, second: 1}

    with_scheduler(check, "anna", "bert", state=str(state))


def test_what_could_not_be_written_is_written_at_the_end(tmp_path: Path) -> None:
    """Another process had the state when the last call was granted, and has let go of it since."""
    state = tmp_path / "state.sqlite3"
    config = build_config({"STATE": str(state), "SSO": "anna", "IS_TEMP_GROK2": "false"})
    with open_scheduler(config) as scheduler:
        with closing(sqlite3.connect(state, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            granted = scheduler.ask(AcquireCredential("grok-3", 0.0), 0.0)
            assert isinstance(granted, CredentialAcquired)
            release(scheduler, granted.lease)
        assert scheduler.store.error is not None
    (record,) = (decode_record(record) for record in read_records(state).values())
    assert [ledger.used for ledger in record.ledgers] == [1]
