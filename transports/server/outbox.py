"""What is to be sent to a client: gathered, sent at once where that can be, waited for where not.

What one event caused is put here piece by piece and sent in one go: whoever is about to wait for
something flushes first, so nothing lies here while a task sleeps.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from ..loops.sockets import Transport
from .errors import ClientLeftError

_DRAINS_AT_A_TURN = 64
"""Drains that need not wait before other tasks get a turn all the same."""


class Outbox:
    """The way out of one connection.

    Args:
        transport: The connection.
        timeout: Seconds within which the client must take something.
        on_left: Called when it is found to be gone, or not to take what it is sent.
    """

    def __init__(self, transport: Transport, timeout: float, on_left: Callable[[], None]) -> None:
        self._transport = transport
        self._timeout = timeout
        self._on_left = on_left
        self._pieces: list[bytes | memoryview] = []
        self._drains = 0
        self.closed = False
        """Nothing can be sent any more."""

    def __bool__(self) -> bool:
        """Whether there is something that is not sent yet."""
        return bool(self._pieces)

    def put(self, data: bytes) -> None:
        """Have something sent with the next flush."""
        if data:
            self._pieces.append(data)

    def flush(self) -> bool:
        """Send what can be sent at once; say whether that was all.

        Raises:
            ClientLeftError: The client is gone.
        """
        pieces = self._pieces
        if self.closed:
            raise ClientLeftError
        if not pieces:
            return True
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        try:
            sent = self._transport.try_send(data)
        except OSError as exc:
            self.closed = True
            self._on_left()
            raise ClientLeftError from exc
        pieces.clear()
        if sent == len(data):
            return True
        pieces.append(memoryview(data)[sent:])
        return False

    async def drain(self) -> None:
        """Send all there is; return when the client can take more.

        A drain that is cancelled has lost nothing: what is left is sent with the next one.

        Raises:
            ClientLeftError: The client is gone, or has taken nothing for too long.
        """
        while not self.flush():
            if not await self._wait():
                self.closed = True
                self._on_left()
                raise ClientLeftError
        self._drains += 1
        if self._drains % _DRAINS_AT_A_TURN == 0:
            # A client that takes everything at once would have this task for itself otherwise.
            # Nor may a cancellation come between: whoever cancels wants to say one thing more.
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def _wait(self) -> bool:
        """Wait until more can be sent; False where the client takes nothing.

        A socket is not writable before a good part of what it holds has gone, and that may be
        megabytes. A client that takes them slowly is there all the same.
        """
        transport = self._transport
        while True:
            before = transport.count_unsent()
            with trio.move_on_after(self._timeout) as scope:
                await transport.wait_writable()
            if not scope.cancelled_caught:
                return True
            now = transport.count_unsent()
            if before is None or now is None or now >= before:
                return False
