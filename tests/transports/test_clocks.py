"""`transports.pool.clocks`: time goes by, and cannot be set."""

from __future__ import annotations

import time

import pytest

from tests.transports.served import LateClock, Served, with_server
from transports.pool.clocks import SteadyTime, count_up


def test_it_is_the_time_of_day() -> None:
    before = time.time()
    clock = SteadyTime()
    assert before - 0.1 <= clock() <= time.time() + 0.1


def test_it_goes_on_and_cannot_be_set() -> None:
    said, passed = 1000.0, 5.0
    clock = SteadyTime(lambda: said, lambda: passed)
    assert clock() == 1000.0
    said, passed = 9000.0, 6.0
    assert clock() == 1001.0
    said, passed = 10.0, 7.5
    assert clock() == 1002.5
    first = count_up()
    assert count_up() >= first


@pytest.mark.parametrize("step", [-86400.0, 7201.0, 10 * 86400.0])
def test_steps_of_the_clock_neither_sell_a_call_twice_nor_lose_one(step: float) -> None:
    async def check(served: Served) -> None:
        for _ in range(2):
            assert (await served.chat()).status == 200
        clock.late = step
        assert (await served.chat()).status == 200
        refused = await served.chat()
        assert refused.status == 429
        assert 7000 < int(refused.headers["retry-after"]) <= 7200
        account = served.simulator.site.accounts.get("anna")
        assert (account.calls, account.refused) == (3, 0)

    clock = LateClock()
    with_server(
        check,
        accounts=("anna",),
        unix_time=SteadyTime(clock),
        quotas={"grok-3": (3, 7200.0)},
        QUOTAS="grok-3=3/2h",
        ACQUIRE_WAIT="0",
    )
