"""The way of a token: from the socket it came by to the one it goes out by.

While an answer is streamed there is nothing to do but to take a piece and to send one, and neither
waits as long as the client takes what it is sent. So the task that drives the exchange sleeps on,
and whoever notices a piece goes these few steps. The task is woken for all that waits or is rare;
where others do the sending (`transports.asgi`), each piece is sent by it.
"""

from __future__ import annotations

import contextlib
from typing import Protocol

from grokproto import commands as c
from grokproto import events as e

from ..loops import Loop
from ..loops.mailbox import TimedNap
from ..server.errors import ClientLeftError
from ..upstream.body import FollowedBody

_COMPLETED = e.Completed()


class Receiver(Protocol):
    """The client's end, as far as it is needed here; see `drive.Client`."""

    def put_data(self, data: bytes) -> None:
        """Have a piece of the body sent."""

    def flush(self) -> bool:
        """Send what can be sent without waiting; say whether that was all."""
        ...

    async def drain(self) -> None:
        """Send all there is; return when the client can take more."""


class Interruption(Protocol):
    """Whether the task has been cancelled."""

    @property
    def called(self) -> bool: ...


class Follower:
    """Carries out a `ReceiveData`, and those that come after it.

    Args:
        exchange: Has given `command`.
        client: Has been sent all there was.
        body: What is received.
        command: The first.
        loop: What the task runs on.
        nap: The task's.
        interruption: The task's. Once it is called, the exchange goes no further here.
    """

    def __init__(
        self,
        exchange: c.Branch,
        client: Receiver,
        body: FollowedBody,
        command: c.ReceiveData,
        loop: Loop,
        nap: TimedNap,
        interruption: Interruption,
    ) -> None:
        self._exchange = exchange
        self._client = client
        self._body = body
        self._deadline = command.deadline
        self._loop = loop
        self._nap = nap
        self._interruption = interruption
        self.next: c.Command | None = command
        """What the exchange has come to, where that is for the task."""
        self._fault: Exception | None = None
        self.body_over = False
        """The last event of the body was taken."""

    async def run(self) -> c.Command:
        """Give the first command that is another."""
        while True:
            if self._fault is not None:
                raise self._fault
            if type(self.next) is c.ReceiveData:
                try:
                    if not self._client.flush():
                        await self._client.drain()
                except ClientLeftError:
                    return self._exchange.handle(e.ClientClosed(), self._loop.current_time())
                self._deadline, self.next = self.next.deadline, None
                self._go_on()
            elif self.next is not None:
                return self.next
            elif await self._wait_in_vain():
                return self._exchange.handle(e.TimedOut(), self._loop.current_time())

    async def _wait_in_vain(self) -> bool:
        """Sleep until there is something for the task; say whether time is up instead."""
        self._body.follow(self._go_on)
        try:
            await self._nap.sleep(self._deadline)
        finally:
            self._body.unfollow()
        if self.next is not None or self._fault is not None:
            return False
        return self._loop.current_time() >= self._deadline

    def _go_on(self) -> None:
        """Take what has come."""
        if self._interruption.called or self.next is not None:
            return
        try:
            while self.next is None and (event := self._body.next_event()) is not None:
                self._step(event)
        except Exception as exc:  # the task's to raise, not of whoever calls
            self._fault = exc
        if self.next is not None or self._fault is not None:
            self._nap.wake()

    def _step(self, event: e.DataReceived | e.EndOfMessage | e.RequestFailed) -> None:
        now = self._loop.current_time()
        handle = self._exchange.handle
        self.body_over = type(event) is not e.DataReceived
        command = handle(event, now)
        while type(command) is c.SendData:
            self._client.put_data(command.data)
            command = handle(_COMPLETED, now)
        if type(command) is c.ReceiveData:
            # Whoever notices that the client has left may cancel the task for it. So the exchange
            # is told by the task, which finds out for itself.
            with contextlib.suppress(ClientLeftError):
                if self._client.flush():
                    self._deadline = self._nap.deadline = command.deadline
                    return
        self.next = command
