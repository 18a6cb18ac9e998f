"""Plain connections to far ends."""

from __future__ import annotations

import socket

import trio

from transports.loops.trio_loop import TRIO
from transports.upstream.plain_stream import open_plain_stream


def test_far_end_that_never_makes_it_wait_leaves_room_for_others() -> None:
    """Even where nothing comes of what is read, so that nobody holds the reader back."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            stream = await open_plain_stream(TRIO, "127.0.0.1", port, 1)
            far_end, _ = listener.accept()
            turns = 0

            async def tick() -> None:
                nonlocal turns
                while True:
                    await trio.lowlevel.checkpoint()
                    turns += 1

            with far_end:
                far_end.sendall(b"HTTP/1.1 100 Go on\r\n\r\n" * 2000)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(tick)
                    for _ in range(40):
                        assert len(await stream.read(1000)) == 1000
                    nursery.cancel_scope.cancel()
            await stream.aclose()
            assert turns >= 15

    trio.run(main)
