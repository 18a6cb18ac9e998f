"""`transports.standalone.wire`: every line, in order, however much the far end takes at a time."""

from __future__ import annotations

import socket

import pytest
import trio
import trio.testing

from transports.standalone import wire as module
from transports.standalone.wire import Wire


async def collect(wire: Wire) -> list[bytes]:
    """All lines up to the end."""
    found: list[bytes] = []
    while lines := await wire.receive():
        found += lines
    return found


def test_every_line_in_order() -> None:
    async def main() -> None:
        near, far = map(Wire, socket.socketpair())
        sent = [b"%d " % number + b"x" * (number * 37 % 5000) for number in range(2000)]
        received: list[bytes] = []

        async def take() -> None:
            received.extend(await collect(far))

        async with trio.open_nursery() as nursery:
            for line in sent[:1500]:
                near.send(line)  # more than a socket holds, and nobody has taken any
            nursery.start_soon(near.run)
            nursery.start_soon(take)
            await near.flush()
            for line in sent[1500:]:
                near.send(line)
                await trio.lowlevel.checkpoint()
            await near.flush()
            near.close()
        assert received == sent
        near.send(b"too late")
        far.close()
        far.close()

    trio.run(main)


def test_lines_that_come_in_pieces() -> None:
    async def main() -> None:
        near, far = socket.socketpair()
        wire = Wire(far)
        with near:
            near.sendall(b"one\ntwo\nth")
            assert await wire.receive_one() == b"one"
            assert await wire.receive() == [b"two"]
            near.sendall(b"re")
            async with trio.open_nursery() as nursery:

                async def finish() -> None:
                    await trio.testing.wait_all_tasks_blocked()
                    near.sendall(b"e\nlost")

                nursery.start_soon(finish)
                assert await wire.receive() == [b"three"]
        assert await wire.receive_one() is None
        assert await wire.receive() == []
        wire.close()

    trio.run(main)


def test_lines_that_are_held_go_out_together() -> None:
    async def main() -> None:
        near, far = map(Wire, socket.socketpair())
        with near.hold():
            near.send(b"one")
            near.send(b"two")
            with trio.move_on_after(0.01) as waiting:
                await far.receive()
            assert waiting.cancelled_caught
        assert await far.receive() == [b"one", b"two"]
        with near.hold():
            pass
        near.send(b"three")
        assert await far.receive() == [b"three"]
        near.close()
        with near.hold():
            near.send(b"lost")
        assert await far.receive() == []
        far.close()

    trio.run(main)


def test_far_end_that_breaks() -> None:
    async def main() -> None:
        near, far = socket.socketpair()
        wire = Wire(near)
        for _ in range(100):
            wire.send(b"x" * 10_000)  # more than a socket holds
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.run)
            await trio.testing.wait_all_tasks_blocked()
            far.close()
            await wire.flush()  # there is nobody to wait for
        wire.send(b"lost")
        assert await wire.receive() == []
        wire.close()

    trio.run(main)


def test_closed_while_others_wait() -> None:
    async def main() -> None:
        near, far = socket.socketpair()
        wire = Wire(near)
        with far:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wire.run)

                async def close() -> None:
                    await trio.testing.wait_all_tasks_blocked()
                    wire.close()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(close)
                assert await wire.receive() == []

    trio.run(main)


def test_far_end_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        near, far = socket.socketpair()
        wire = Wire(near)
        with far:
            for _ in range(200):
                wire.send(b"x" * 10_000)
            assert await wire.receive() == []
        wire.close()

    monkeypatch.setattr(module, "_MAX_KEPT", 1_000_000)
    trio.run(main)
