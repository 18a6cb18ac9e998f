"""Driving an exchange: carrying out its commands, one after the other, as a task.

This is what a host of grokproto has to do; the rest of this package is the means to do it with.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, assert_never

from grokproto import commands as c
from grokproto import events as e

from .http_request import ClientLeftError
from .loops import Loop, Scope
from .previews import fetch_preview
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

    def watch(self, scope: Scope) -> None:
        """Cancel `scope` as soon as the client has left."""

    def unwatch(self) -> None:
        """Whether the client leaves does not matter any more."""


class Credentials(Protocol):
    """Where leases come from."""

    async def acquire(self, command: c.AcquireCredential) -> e.CredentialAcquired | e.NoCredential:
        """Grant a call; perhaps wait in line for it until the command's deadline."""

    def release(self, command: c.ReleaseCredential) -> None:
        """Take a lease back."""


class Pictures(Protocol):
    """What is done with pictures outside of a conversation."""

    async def fetch(self, url: str, timeout: float) -> e.PictureFetched | e.PictureRefused:
        """Fetch one that a client has linked to."""

    async def store(self, data: bytes, media_type: str) -> e.PictureStored | e.RequestFailed:
        """Keep one for a client to fetch."""


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


class _Joint:
    """The client of several branches: what they want sent goes through here, one at a time."""

    def __init__(self, join: c.Joint, client: Client, loop: Loop) -> None:
        self.join = join
        self._client = client
        self._lock = loop.make_lock()
        self.client_left = False
        self.sending = False
        """In the middle of it."""

    async def take(self, index: int, command: c.ClientCommand) -> None:
        """Take what a branch wants done for its client."""
        async with self._lock:
            self.sending = True
            try:
                for each in self.join.take(index, command):
                    await send(self._client, each)
            except ClientLeftError:
                self.client_left = True
                raise
            self.sending = False


class _BranchClient:
    """See `Client`; one for each branch."""

    def __init__(self, joint: _Joint, index: int) -> None:
        self._joint = joint
        self._index = index

    async def send_response(self, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        await self._joint.take(self._index, c.SendResponse(status, headers))

    async def send_data(self, data: bytes) -> None:
        await self._joint.take(self._index, c.SendData(data))

    async def end_response(self) -> None:
        await self._joint.take(self._index, c.EndResponse())

    def watch(self, scope: Scope) -> None:
        """Whoever drives all branches watches for them."""

    def unwatch(self) -> None:
        """The same."""

    def finish(self, summary: c.Summary) -> bool:
        """The branch has come to its end; whether all are to end now."""
        self._joint.join.take(self._index, c.Finish(summary))
        return self._joint.client_left or self._joint.join.over


async def send(client: Client, command: c.ClientCommand) -> None:
    """Do what a command wants done for the client.

    Raises:
        ClientLeftError: The client is gone.
    """
    match command:
        case c.SendData(data):
            await client.send_data(data)
        case c.SendResponse(status, headers):
            await client.send_response(status, headers)
        case c.EndResponse():
            await client.end_response()


class Drive:
    """One exchange, its client, and the upstream call that is open for it."""

    def __init__(
        self,
        exchange: c.Branch,
        client: Client,
        upstream: Upstream,
        credentials: Credentials,
        pictures: Pictures,
        loop: Loop,
        *,
        begins_in_thread: bool = False,
    ) -> None:
        self._exchange = exchange
        self._client = client
        self._upstream = upstream
        self._credentials = credentials
        self._pictures = pictures
        self._call: UpstreamCall | None = None
        self._loop = loop
        self._scope = loop.open_scope()
        self._stopping = False
        self._sending = False
        self._in_thread = begins_in_thread

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
            for command in self._exchange.abandon(self._loop.current_time()):
                self._clean_up(command)

    async def _interrupted(self) -> c.Finish:
        """The wait for a command was cancelled: the client left, or the server stops."""
        if not self._stopping or self._sending:
            # In the middle of sending nothing can be said any more: the client is as good as gone.
            return await self._alternate(e.ClientClosed())
        with self._loop.open_scope(deadline=self._loop.current_time() + _FAREWELL):
            return await self._alternate(e.ServerStopping())
        return await self._alternate(e.ClientClosed())

    async def _alternate(self, event: e.Event) -> c.Finish:
        while True:
            if self._in_thread:
                command = await self._handle_in_thread(event)
            else:
                command = self._exchange.handle(event, self._loop.current_time())
            if isinstance(command, c.Finish):
                return command
            event = await self._carry_out(command)

    async def _handle_in_thread(self, event: e.Event) -> c.Command:
        """Let others have their turns while a long request is read and sent on.

        Whether this is cancelled or not, the exchange has taken the event when it ends.
        """
        if isinstance(event, e.DataReceived | e.ClientClosed | e.ServerStopping):
            self._in_thread = False  # what is long is over
            return self._exchange.handle(event, self._loop.current_time())
        now = self._loop.current_time()
        with self._loop.open_scope(shield=True):
            command: c.Command = await self._loop.run_in_thread(self._exchange.handle, event, now)
        return command

    async def _carry_out(self, command: c.Command) -> e.Event:
        match command:
            case c.SendResponse() | c.SendData() | c.EndResponse():
                self._sending = True
                try:
                    await send(self._client, command)
                except ClientLeftError:
                    return e.ClientClosed()
                self._sending = False
                if isinstance(command, c.EndResponse):
                    self._client.unwatch()  # it has its answer; what is left to do is not for it
            case c.ReceiveData(deadline) | c.ReceiveResponse(deadline):
                assert self._call is not None
                return await self._receive(self._call, deadline)
            case c.SendRequest(request, deadline):
                self._call = self._upstream.call(request)
                return await self._receive(self._call, deadline)
            case c.AcquireCredential():
                return await self._credentials.acquire(command)
            case c.FetchPicture(url, timeout):
                return await self._pictures.fetch(url, timeout)
            case c.FetchPreview():
                return await fetch_preview(self._upstream, command)
            case c.StorePicture(data, media_type):
                return await self._pictures.store(data, media_type)
            case c.Fork():
                return await self._divide(command)
            case c.Wait(until):
                await self._loop.sleep_until(until)
            case c.CloseRequest() | c.ReleaseCredential():
                self._clean_up(command)
            case c.Finish():
                raise AssertionError("Finish is not carried out")
            case _:
                assert_never(command)
        return e.Completed()

    async def _divide(self, fork: c.Fork) -> e.Event:
        """Drive all branches at once, each as an exchange whose client is the joint."""
        joint = _Joint(fork.join, self._client, self._loop)
        try:
            async with self._loop.open_nursery() as nursery:
                for index, branch in enumerate(fork.branches):
                    client = _BranchClient(joint, index)
                    drive = Drive(
                        branch,
                        client,
                        self._upstream,
                        self._credentials,
                        self._pictures,
                        self._loop,
                    )
                    nursery.start_soon(self._drive_branch, drive, client, nursery.cancel_scope)
        finally:
            self._sending = joint.sending
        return e.ClientClosed() if joint.client_left else e.Completed()

    @staticmethod
    async def _drive_branch(drive: Drive, client: _BranchClient, all_branches: Scope) -> None:
        summary = await drive.run()
        if client.finish(summary):
            all_branches.cancel()

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
