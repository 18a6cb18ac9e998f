"""`transports.loops.mailbox`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
import trio.testing

from transports.loops.mailbox import LATENESS, Mailbox, Mailroom
from transports.loops.trio_loop import TRIO


def with_mailbox(check: Callable[[Mailbox[int], trio.Nursery], Awaitable[None]]) -> None:
    """Run a check in a time that passes by itself."""

    async def main() -> None:
        mailroom = Mailroom(TRIO)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mailroom.run)
            await check(mailroom.open_mailbox(), nursery)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_order_and_back_pressure() -> None:
    async def check(mailbox: Mailbox[int], nursery: trio.Nursery) -> None:
        put: list[int] = []

        async def put_all() -> None:
            for number in range(5):
                await mailbox.put(number)
                put.append(number)

        nursery.start_soon(put_all)
        await trio.testing.wait_all_tasks_blocked()
        assert put == [0]
        for number in range(5):
            assert await mailbox.take(trio.current_time() + 1) == number
        assert put == list(range(5))

    with_mailbox(check)


def test_taker_is_woken() -> None:
    async def check(mailbox: Mailbox[int], nursery: trio.Nursery) -> None:
        async def put_later() -> None:
            await trio.sleep(3)
            await mailbox.put(7)

        nursery.start_soon(put_later)
        assert await mailbox.take(10) == 7
        assert trio.current_time() == 3

    with_mailbox(check)


def test_deadlines() -> None:
    async def check(mailbox: Mailbox[int], nursery: trio.Nursery) -> None:
        for deadline in (2.0, 2.0, 5.0):
            assert await mailbox.take(deadline) is None
            assert deadline <= trio.current_time() <= deadline + 2 * LATENESS
        await mailbox.put(1)
        assert await mailbox.take(0.0) == 1

    with_mailbox(check)


def test_cancelled_on_either_side() -> None:
    async def check(mailbox: Mailbox[int], nursery: trio.Nursery) -> None:
        with trio.move_on_after(1) as scope:
            await mailbox.take(100)
        assert scope.cancelled_caught
        await mailbox.put(1)
        with trio.move_on_after(1) as scope:
            await mailbox.put(2)
        assert scope.cancelled_caught
        assert await mailbox.take(100) == 1
        assert await mailbox.take(trio.current_time() + 1) is None

    with_mailbox(check)
