"""What a client has sent and nobody has taken yet: read as it comes, as long as there is room.

So it is known at once when a client leaves, whatever its request is waiting for. A client's end
comes behind all that it has sent before; while somebody watches for it, reading therefore never
pauses, and what there is no room for is thrown away.
"""

from __future__ import annotations

import trio

from ..loops import Cancellable
from ..loops.sockets import Transport


class Inbox:
    """The way in of one connection.

    Args:
        transport: The connection.
        size: Bytes that are read ahead; then reading pauses, or nothing more is kept (`overrun`).
    """

    def __init__(self, transport: Transport, size: int) -> None:
        self._transport = transport
        self._size = size
        self._news = trio.lowlevel.ParkingLot()
        self._reading = False
        self._watching: Cancellable | None = None
        self.data = bytearray()
        self.eof = False
        """No more will come."""
        self.overrun = False
        """Something was thrown away: nothing that comes now has a beginning."""

    def read(self) -> None:
        """Read from now on, as long as there is room for it."""
        if not (self._reading or self.eof):
            self._reading = True
            self._transport.watch(self._receive)

    def _receive(self) -> None:
        try:
            data = self._transport.try_receive()
        except OSError:
            data = b""
        if data:
            if self.overrun:
                return
            self.data += data
            self._news.unpark_all()
            if len(self.data) >= self._size:
                self._fill_up()
        elif data is not None:
            self.end()

    def _fill_up(self) -> None:
        """There is no room for more."""
        if self._watching is None:
            self._pause()
        else:
            self.overrun = True
            self.data.clear()
            self.read()

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._transport.unwatch()

    def end(self) -> None:
        """The client has left: read no more, and tell whoever watches."""
        self._pause()
        self.eof = True
        self._news.unpark_all()
        if self._watching is not None:
            self._watching.cancel()

    def watch(self, scope: Cancellable | None) -> None:
        """Cancel a scope at the end; at once if that was before. None is for nobody any more.

        Take what is to be kept first: see `overrun`.
        """
        self._watching = scope
        if scope is None:
            return
        if self.eof:
            scope.cancel()
        elif len(self.data) >= self._size:
            self._fill_up()

    def take(self, size: int) -> bytes:
        """The first bytes, so many if there are."""
        data = bytes(self.data[:size])
        del self.data[:size]
        if len(self.data) < self._size:
            self.read()
        return data

    def put_back(self, data: bytes) -> None:
        """What was taken and belongs to what comes next."""
        self.data[:0] = data

    def wake(self) -> None:
        """Let whoever waits look again, for another reason."""
        self._news.unpark_all()

    async def wait(self) -> None:
        """Wait for more, for the end, or for `wake`."""
        await self._news.park()

    async def wait_until(self, deadline: float) -> bool:
        """The same, but not for ever; say whether there was any."""
        with trio.move_on_at(deadline) as scope:
            await self._news.park()
        return not scope.cancelled_caught
