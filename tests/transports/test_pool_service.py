"""The pool over a wire: `pool_service` at one end, `remote_pool` at the other, for two workers."""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import attrs
import pytest
import trio
import trio.testing

from grokproto.commands import AcquireCredential, ReleaseCredential
from grokproto.credentials import CredentialPool, PoolSettings, State, parse_quotas
from grokproto.errors import InvalidRequestError
from grokproto.events import CredentialAcquired, NoCredential
from grokproto.failures import Failure, FailureKind
from grokproto.lease import Lease, Outcome, Quota
from grokproto.secret import Secret
from transports.pool.orders import Action, Order
from transports.pool.scheduler import Scheduler
from transports.pool.store import MEMORY, Store
from transports.standalone import pool_service, remote_pool
from transports.standalone.pool_messages import GiveBack, Granted, Listening, Stop, encode
from transports.standalone.pool_service import PING_PATIENCE, PING_PAUSE, PoolService
from transports.standalone.remote_pool import MARGIN, RemotePool
from transports.standalone.wire import Wire

PATIENCE = 20.0
"""Seconds after which a test has hung."""


@attrs.define
class Worker:
    """Both ends of one worker's wire."""

    pool: RemotePool
    service: PoolService
    wire: Wire
    """Its own end."""
    far_wire: Wire
    said: list[str] = attrs.field(factory=list)
    """What it was told besides answers."""

    async def acquire(self, wait: float = 10.0, group: str = "grok-3") -> Lease | NoCredential:
        """A lease, or why there is none."""
        event = await self.pool.acquire(AcquireCredential(group, trio.current_time() + wait))
        return event.lease if isinstance(event, CredentialAcquired) else event

    async def take(self) -> Lease:
        """A lease."""
        lease = await self.acquire()
        assert isinstance(lease, Lease)
        return lease

    def release(self, lease: Lease, outcome: Outcome = Outcome.SERVED) -> None:
        """Give it back."""
        self.pool.release(ReleaseCredential(lease, outcome))


@attrs.define
class Fleet:
    """A pool, and two workers."""

    scheduler: Scheduler
    workers: list[Worker]

    def used(self) -> int:
        """Calls that are counted."""
        statuses = self.scheduler.pool.status(self.scheduler.unix_now)
        return sum(g.total - g.remaining for status in statuses for g in status.groups)

    def in_flight(self) -> int:
        """Calls that are under way, as the pool sees it."""
        statuses = self.scheduler.pool.status(self.scheduler.unix_now)
        return sum(status.in_flight for status in statuses)


def with_fleet(
    check: Callable[[Fleet], Awaitable[None]],
    *accounts: str,
    quotas: str = "grok-3=20/2h",
    concurrency: int = 4,
) -> None:
    """Run a check; nothing may be in flight in the end."""

    async def main() -> None:
        settings = PoolSettings(concurrency=concurrency, quotas=parse_quotas(quotas))
        with Store(MEMORY) as store:
            configured = [{"sso": Secret(account)} for account in accounts]
            scheduler = Scheduler(CredentialPool(settings), store, configured=configured)
            async with trio.open_nursery() as nursery:
                fleet = Fleet(scheduler, [start(scheduler, nursery) for _ in range(2)])
                try:
                    with trio.fail_after(PATIENCE):
                        await check(fleet)
                        for worker in fleet.workers:
                            worker.wire.close()
                        while fleet.in_flight():
                            await trio.testing.wait_all_tasks_blocked(0.001)
                finally:
                    for worker in fleet.workers:
                        worker.wire.close()
                        worker.far_wire.close()
                nursery.cancel_scope.cancel()

    trio.run(main)


def start(scheduler: Scheduler, nursery: trio.Nursery) -> Worker:
    """Start both ends of a worker."""
    near, far = map(Wire, socket.socketpair())
    said: list[str] = []
    service = PoolService(
        scheduler,
        far,
        on_listening=lambda: said.append("listening"),
        on_silence=lambda: said.append("silent"),
    )
    pool = RemotePool(
        near,
        on_stop=lambda at_once: said.append("stop at once" if at_once else "stop"),
        on_gone=lambda: said.append("gone"),
    )
    nursery.start_soon(service.run)
    nursery.start_soon(pool.run)
    return Worker(pool, service, near, far, said)


async def settle() -> None:
    """Wait until nobody has anything to do."""
    await trio.testing.wait_all_tasks_blocked(0.01)


# Calls


def test_a_call_there_and_back() -> None:
    async def check(fleet: Fleet) -> None:
        first, second = fleet.workers
        lease = await first.take()
        assert lease.cookies == {"sso": Secret("anna")}
        assert lease.group == "grok-3"
        assert lease.wants_quota
        assert (fleet.used(), fleet.in_flight()) == (1, 1)
        other = await second.take()
        assert other.serial != lease.serial
        first.release(lease, Outcome.UNUSED)
        second.release(other)
        await settle()
        assert (fleet.used(), fleet.in_flight()) == (1, 0)

    with_fleet(check, "anna")


def test_cookies_are_those_of_the_account_as_it_is_now() -> None:
    """They are sent once, unless another account has come to have the name."""

    async def check(fleet: Fleet) -> None:
        worker = fleet.workers[0]
        pool = fleet.scheduler.pool
        for _ in range(3):
            lease = await worker.take()
            assert lease.cookies["sso"] == Secret("anna")
            worker.release(lease)
        await settle()
        assert pool.remove(lease.credential)
        name, _ = pool.add({"sso": Secret("anna"), "sso-rw": Secret("other")})
        assert name == lease.credential
        for _ in range(2):
            lease = await worker.take()
            assert lease.cookies == {"sso": Secret("anna"), "sso-rw": Secret("other")}
            worker.release(lease)

    with_fleet(check, "anna")


def test_what_became_of_a_call_is_told() -> None:
    async def check(fleet: Fleet) -> None:
        worker, other = fleet.workers
        lease = await worker.take()
        quota = Quota(3, 9, 3600.0)
        worker.pool.release(ReleaseCredential(lease, Outcome.SERVED, quota=quota))
        lease = await other.take()
        failure = Failure(FailureKind.RATE_LIMITED, "Used up, it says.", 50.0)
        other.pool.release(ReleaseCredential(lease, Outcome.LIMITED, failure))
        await settle()
        (status,) = fleet.scheduler.pool.status(fleet.scheduler.unix_now)
        assert status.state is State.COOLING
        assert status.reason == "Used up, it says."
        assert status.groups[0].total == 9
        refusal = await worker.acquire()
        assert isinstance(refusal, NoCredential)
        assert refusal.retry_after is not None
        assert 40 < refusal.retry_after <= 50

    with_fleet(check, "anna")


def test_quotas_are_exact_over_all_workers() -> None:
    async def check(fleet: Fleet) -> None:
        served: Counter[str] = Counter()

        async def ask(worker: Worker) -> None:
            lease = await worker.acquire()
            if isinstance(lease, Lease):
                served[lease.credential] += 1
                await trio.sleep(0.002)
                worker.release(lease)

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(ask, fleet.workers[number % 2])
        assert sorted(served.values()) == [7, 7, 7]

    with_fleet(check, "anna", "bert", "cleo", quotas="grok-3=7/2h", concurrency=2)


def test_there_is_one_line_for_all_workers() -> None:
    async def check(fleet: Fleet) -> None:
        first, second = fleet.workers
        held = await first.take()
        served: list[int] = []

        async def ask(number: int, worker: Worker) -> None:
            lease = await worker.take()
            served.append(number)
            worker.release(lease)

        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(ask, number, (first, second)[number % 2])
                await settle()
            first.release(held)
        assert served == list(range(6))

    with_fleet(check, "anna", concurrency=1)


def test_who_waits_is_told_when_its_time_is_over() -> None:
    async def check(fleet: Fleet) -> None:
        first, second = fleet.workers
        held = await first.take()
        began = trio.current_time()
        refusal = await second.acquire(wait=0.2)
        assert isinstance(refusal, NoCredential)
        assert "1 is busy" in refusal.message
        assert 0.2 <= trio.current_time() - began < 2
        first.release(held)

    with_fleet(check, "anna", concurrency=1)


def test_who_leaves_the_line_is_not_served() -> None:
    async def check(fleet: Fleet) -> None:
        first, second = fleet.workers
        held = await first.take()
        with trio.move_on_after(0.05):
            await second.take()
        await settle()
        first.release(held)
        await settle()
        assert (fleet.used(), fleet.in_flight()) == (1, 0)

    with_fleet(check, "anna", concurrency=1)


def test_grant_that_crosses_with_a_farewell_goes_back() -> None:
    """Whoever leaves at whatever moment: nothing is in flight, and nothing is charged."""

    async def check(fleet: Fleet) -> None:
        worker = fleet.workers[0]
        outcomes: Counter[str] = Counter()

        async def ask(scope: trio.CancelScope) -> None:
            with scope:
                worker.release(await worker.take(), Outcome.UNUSED)
                outcomes["served"] += 1
                return
            outcomes["left"] += 1

        for steps in range(30):
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()
                nursery.start_soon(ask, scope)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
            await settle()
            assert (fleet.used(), fleet.in_flight()) == (0, 0), steps
        assert outcomes["served"] > 0
        assert outcomes["left"] > 0

    with_fleet(check, "anna")


# Ends


def test_worker_that_dies_leaves_its_calls_counted_and_nothing_else() -> None:
    async def check(fleet: Fleet) -> None:
        first, second = fleet.workers
        for _ in range(2):
            await first.take()
        served: list[Lease | NoCredential] = []

        async def wait(worker: Worker) -> None:
            served.append(await worker.acquire())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, first)
            await settle()
            nursery.start_soon(wait, second)
            await settle()
            first.wire.close()
            await settle()
            assert [type(each) for each in served] == [NoCredential, Lease]
        assert (fleet.used(), fleet.in_flight()) == (3, 1)
        (lease,) = (each for each in served if isinstance(each, Lease))
        second.release(lease)
        assert first.said == ["gone"]
        assert second.said == []

    with_fleet(check, "anna", concurrency=2)


def test_pool_that_dies() -> None:
    async def check(fleet: Fleet) -> None:
        worker = fleet.workers[0]
        lease = await worker.take()
        answers: list[Lease | NoCredential] = []

        async def wait() -> None:
            answers.append(await worker.acquire())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await settle()
            worker.far_wire.close()
        answers.append(await worker.acquire())
        for answer in answers:
            assert isinstance(answer, NoCredential)
            assert "is gone" in answer.message
            assert (answer.retry_after, answer.silent) == (30.0, True)
        health = await worker.pool.administer(Order(Action.HEALTH))
        assert isinstance(health, dict)
        assert "is gone" in health["state"]
        ready = await worker.pool.administer(Order(Action.READINESS))
        assert isinstance(ready, dict)
        assert "is gone" in ready["reason"]
        refused = await worker.pool.administer(Order(Action.LIST))
        assert isinstance(refused, InvalidRequestError)
        assert refused.status == 503
        worker.release(lease)  # nobody takes it, and nobody is hurt
        assert worker.said == ["gone"]

    with_fleet(check, "anna", concurrency=1)


@contextlib.asynccontextmanager
async def silent_pool() -> AsyncIterator[tuple[RemotePool, socket.socket]]:
    """A worker's pool, and the far end of its wire, where nobody answers."""
    near, far = socket.socketpair()
    wire = Wire(near)
    pool = RemotePool(wire)
    with far, contextlib.closing(wire):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.run)
            yield pool, far
            nursery.cancel_scope.cancel()


def test_pool_that_is_silent() -> None:
    async def main() -> None:
        async with silent_pool() as (pool, far):
            began = trio.current_time()
            command = AcquireCredential("grok-3", began + 3.0)
            event = await pool.acquire(command)
            assert isinstance(event, NoCredential)
            assert "does not answer" in event.message
            assert event.silent
            assert 3.0 + MARGIN <= trio.current_time() - began < 5.0 + MARGIN
            far.sendall(encode(Granted(1, 9, "anna", "grok-3", False, {})) + b"\n")
            lines = b""
            while lines.count(b"\n") < 2:
                await trio.lowlevel.wait_readable(far)
                lines += far.recv(4096)
            assert lines.splitlines()[1] == encode(GiveBack(9, Outcome.UNUSED))

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))


@pytest.mark.parametrize("action", Action)
def test_order_to_a_pool_that_is_silent(action: Action) -> None:
    async def main() -> None:
        async with silent_pool() as (pool, _):
            began = trio.current_time()
            answer = await pool.administer(Order(action, "anna"))
            assert "does not answer" in str(answer)
            assert MARGIN <= trio.current_time() - began < 2.0 + MARGIN

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))


def test_order_that_was_told_to_have_failed_is_not_carried_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pool stands still, and goes on when nobody waits any more."""
    for module in (remote_pool, pool_service):
        monkeypatch.setattr(module, "monotonic", trio.current_time)

    async def main() -> None:
        near, far = map(Wire, socket.socketpair())
        pool = RemotePool(near)
        with Store(MEMORY) as store, contextlib.closing(near), contextlib.closing(far):
            scheduler = Scheduler(CredentialPool(), store)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pool.run)
                refused = await pool.administer(Order(Action.ADD, "anna"))
                assert isinstance(refused, InvalidRequestError)
                assert (refused.status, refused.code) == (503, "overloaded")
                nursery.start_soon(PoolService(scheduler, far).run)
                added = await pool.administer(Order(Action.ADD, "bert"))
                assert isinstance(added, dict)
                statuses = scheduler.pool.status(scheduler.unix_now)
                assert [status.name for status in statuses] == [added["credential"]]
                nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))


def test_what_a_worker_is_told_besides() -> None:
    async def check(fleet: Fleet) -> None:
        worker, other = fleet.workers
        worker.pool.send(Listening())
        await settle()
        worker.service.send(Stop())
        worker.service.send(Stop(at_once=True))
        await settle()
        assert worker.said == ["listening", "stop", "stop at once"]
        assert other.said == []

    with_fleet(check)


def test_worker_that_says_nothing_any_more() -> None:
    async def main() -> None:
        silences: list[float] = []
        near, far = map(Wire, socket.socketpair())
        with Store(MEMORY) as store:
            service = PoolService(
                Scheduler(CredentialPool(), store),
                far,
                on_silence=lambda: silences.append(trio.current_time()),
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(service.run)
                nursery.start_soon(near.run)
                await trio.sleep(1000)  # to start may take as long as it takes
                near.send(encode(Listening()))
                await trio.sleep(1000)
                nursery.cancel_scope.cancel()
        near.close()
        far.close()
        assert silences == [1000 + PING_PAUSE + PING_PATIENCE]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))


def test_worker_that_has_nothing_to_do() -> None:
    async def main() -> None:
        with Store(MEMORY) as store:
            async with trio.open_nursery() as nursery:
                worker = start(Scheduler(CredentialPool(), store), nursery)
                worker.pool.send(Listening())
                await trio.sleep(3 * (PING_PAUSE + PING_PATIENCE))
                assert worker.said == ["listening"]
                nursery.cancel_scope.cancel()
        worker.wire.close()
        worker.far_wire.close()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))


def test_lease_that_was_never_granted_is_a_mistake_that_harms_nobody() -> None:
    async def check(fleet: Fleet) -> None:
        first, second = fleet.workers
        lease = await first.take()
        second.release(lease)  # it is another's
        first.release(lease)
        first.release(lease)
        await settle()
        assert (fleet.used(), fleet.in_flight()) == (1, 0)
        second.release(await second.take())

    with_fleet(check, "anna")


# Orders


def test_accounts_are_seen_and_changed_from_every_worker() -> None:
    async def check(fleet: Fleet) -> None:
        first, second = (worker.pool for worker in fleet.workers)
        assert await first.administer(Order(Action.READINESS)) == {
            "reason": "There is no account, and no guest session, that is in service."
        }
        added = await first.administer(Order(Action.ADD, "anna"))
        assert isinstance(added, dict)
        name = added["credential"]
        assert added == {"credential": name, "added": True}
        assert await second.administer(Order(Action.READINESS)) == {"reason": None}
        assert await second.administer(Order(Action.HEALTH)) == {"state": None}
        listed = await second.administer(Order(Action.LIST, groups=("grok-3",)))
        assert isinstance(listed, dict)
        assert listed[name]["grok-3"]["isValid"] is True
        assert await first.administer(Order(Action.ENABLE, "anna")) == {
            "credential": name,
            "enabled": True,
        }
        assert await second.administer(Order(Action.REMOVE, name)) == {
            "credential": name,
            "removed": True,
        }
        for named, status, param in (("anna", 404, "sso"), ("not; a cookie", 404, "sso")):
            refused = await first.administer(Order(Action.REMOVE, named))
            assert isinstance(refused, InvalidRequestError)
            assert (refused.status, refused.param) == (status, param)
            assert refused.code == "credential_not_found"
            assert named not in refused.message

    with_fleet(check)


def test_list_that_is_longer_than_a_socket_holds() -> None:
    async def check(fleet: Fleet) -> None:
        listed = await fleet.workers[0].pool.administer(Order(Action.LIST, groups=("a", "b")))
        assert isinstance(listed, dict)
        assert len(listed) == 5000

    with_fleet(check, *(f"account-{number}" for number in range(5000)))
