"""Driving an exchange: carrying out its commands, one after the other, on trio.

This is what a host of grokproto has to do; the rest of this package is the means to do it with.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, assert_never

import trio

from grokproto import commands as c
from grokproto import events as e
from grokproto.exchange import Exchange

from .connection import ClientLeftError
from .upstream import Upstream, UpstreamCall

_FAREWELL = 2.0
"""Seconds a client has to take the last words of a server that stops."""


class Client(Protocol):
    """The client's end, as a driver needs it. Sending raises `ClientLeftError` when it is gone."""

    async def send_response(self, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        """Send the head."""

    async def send_data(self, data: bytes) -> None:
        """Send a piece of the body; return when the client can take more."""

    async def end_response(self) -> None:
        """End the response."""

    def watch(self, scope: trio.CancelScope) -> None:
        """Cancel `scope` as soon as the client has left."""

    def unwatch(self) -> None:
        """Whether the client leaves does not matter any more."""


class Credentials(Protocol):
    """Where leases come from."""

    async def acquire(self, command: c.AcquireCredential) -> e.CredentialAcquired | e.NoCredential:
        """Grant a call; perhaps wait in line for it until the command's deadline."""

    def release(self, command: c.ReleaseCredential) -> None:
        """Take a lease back."""


class Drives:
    """The exchanges under way, so that a server that stops can end them decently."""

    def __init__(self) -> None:
        self._running: set[Drive] = set()

    def __len__(self) -> int:
        return len(self._running)

    @contextmanager
    def enlist(self, drive: Drive) -> Iterator[None]:
        """Know of `drive` while it runs."""
        self._running.add(drive)
        try:
            yield
        finally:
            self._running.discard(drive)

    def stop(self) -> None:
        """Make every exchange tell its client that the server stops, and end."""
        for drive in list(self._running):
            drive.stop()


class Drive:
    """One exchange, its client, and the upstream call that is open for it."""

    def __init__(
        self, exchange: Exchange, client: Client, upstream: Upstream, credentials: Credentials
    ) -> None:
        self._exchange = exchange
        self._client = client
        self._upstream = upstream
        self._credentials = credentials
        self._call: UpstreamCall | None = None
        self._scope = trio.CancelScope()
        self._stopping = False
        self._sending = False

    def stop(self) -> None:
        """End soon, with a word to the client."""
        self._stopping = True
        self._scope.cancel()

    async def run(self) -> c.Summary:
        """Drive the exchange to its end."""
        try:
            self._client.watch(self._scope)
            finish: c.Finish | None = None
            with self._scope:
                finish = await self._alternate(e.Start())
            if finish is None:
                finish = await self._interrupted()
            return finish.summary
        finally:
            for command in self._exchange.abandon(trio.current_time()):
                self._clean_up(command)

    async def _interrupted(self) -> c.Finish:
        """The wait for a command was cancelled: the client left, or the server stops."""
        if not self._stopping or self._sending:
            # In the middle of sending nothing can be said any more: the client is as good as gone.
            return await self._alternate(e.ClientClosed())
        with trio.move_on_after(_FAREWELL):
            return await self._alternate(e.ServerStopping())
        return await self._alternate(e.ClientClosed())

    async def _alternate(self, event: e.Event) -> c.Finish:
        while True:
            command = self._exchange.handle(event, trio.current_time())
            if isinstance(command, c.Finish):
                return command
            event = await self._carry_out(command)

    async def _carry_out(self, command: c.Command) -> e.Event:
        match command:
            case c.SendResponse() | c.SendData() | c.EndResponse():
                self._sending = True
                try:
                    await self._send(command)
                except ClientLeftError:
                    return e.ClientClosed()
                self._sending = False
            case c.ReceiveData(deadline) | c.ReceiveResponse(deadline):
                assert self._call is not None
                return await self._receive(self._call, deadline)
            case c.SendRequest(request, deadline):
                self._call = self._upstream.call(request)
                return await self._receive(self._call, deadline)
            case c.AcquireCredential():
                return await self._credentials.acquire(command)
            case c.Wait(until):
                await trio.sleep_until(until)
            case c.CloseRequest() | c.ReleaseCredential():
                self._clean_up(command)
            case c.Finish():
                raise AssertionError("Finish is not carried out")
            case _:
                assert_never(command)
        return e.Completed()

    async def _send(self, command: c.SendResponse | c.SendData | c.EndResponse) -> None:
        match command:
            case c.SendData(data):
                await self._client.send_data(data)
            case c.SendResponse(status, headers):
                await self._client.send_response(status, headers)
            case c.EndResponse():
                await self._client.end_response()
                self._client.unwatch()  # it has its answer; what is left to do is not for it

    async def _receive(self, call: UpstreamCall, deadline: float) -> e.Event:
        event = await call.receive(deadline)
        if isinstance(event, e.EndOfMessage | e.RequestFailed):
            self._call = None
        return event

    def _clean_up(self, command: c.CleanupCommand) -> None:
        if isinstance(command, c.CloseRequest):
            if self._call is not None:
                self._call.close()
                self._call = None
        else:
            self._credentials.release(command)
