"""Driving an exchange: carrying out its commands, one after the other, as a task.

This is what a host of grokproto has to do; the rest of this package is the means to do it with.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from grokproto import commands as c
from grokproto import events as e

from ..loops import Cancellable, Loop, Scope
from ..server.errors import ClientLeftError
from ..upstream.body import FollowedBody
from ..upstream.calls import Upstream, UpstreamCall
from .follow import Follower
from .previews import fetch_preview

_FAREWELL = 2.0
"""Seconds a client has to take the last words of a server that stops."""


class Client(Protocol):
    """The client's end, as a driver needs it.

    What is put goes out with the next `flush` or `drain`; these raise `ClientLeftError` when the
    client is gone.
    """

    def put_head(self, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        """Have the head sent."""

    def put_data(self, data: bytes) -> None:
        """Have a piece of the body sent."""

    def put_end(self) -> None:
        """Have the response ended."""

    def flush(self) -> bool:
        """Send what can be sent without waiting; say whether that was all."""
        ...

    async def drain(self) -> None:
        """Send all there is; return when the client can take more. What a drain that is cancelled
        has not sent, the next one does."""

    def watch(self, scope: Cancellable) -> None:
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
    """The client of several branches: what they want sent goes through here."""

    def __init__(self, join: c.Joint, client: Client, loop: Loop) -> None:
        self.join = join
        self._client = client
        self._lock = loop.make_lock()
        self.client_left = False

    def take(self, index: int, command: c.ClientCommand) -> None:
        """Take what a branch wants done for its client."""
        for each in self.join.take(index, command):
            put(self._client, each)

    def flush(self) -> bool:
        """See `Client`."""
        with self._notice_leaving():
            return self._client.flush()

    async def drain(self) -> None:
        """See `Client`; for one branch at a time."""
        with self._notice_leaving():
            async with self._lock:
                await self._client.drain()

    @contextmanager
    def _notice_leaving(self) -> Iterator[None]:
        try:
            yield
        except ClientLeftError:
            self.client_left = True
            raise


class _BranchClient:
    """See `Client`; one for each branch."""

    def __init__(self, joint: _Joint, index: int) -> None:
        self._joint = joint
        self._index = index
        self.flush = joint.flush
        self.drain = joint.drain

    def put_head(self, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        self._joint.take(self._index, c.SendResponse(status, headers))

    def put_data(self, data: bytes) -> None:
        self._joint.take(self._index, c.SendData(data))

    def put_end(self) -> None:
        self._joint.take(self._index, c.EndResponse())

    def watch(self, scope: Cancellable) -> None:
        """Whoever drives all branches watches for them."""

    def unwatch(self) -> None:
        """The same."""

    def finish(self, summary: c.Summary) -> bool:
        """The branch has come to its end; whether all are to end now."""
        self._joint.join.take(self._index, c.Finish(summary))
        return self._joint.client_left or self._joint.join.over


def put(client: Client, command: c.ClientCommand) -> None:
    """Do what a command wants done for the client."""
    match command:
        case c.SendData(data):
            client.put_data(data)
        case c.SendResponse(status, headers):
            client.put_head(status, headers)
        case c.EndResponse():
            client.put_end()


class _Interruption:
    """Cancels a task's scope, and remembers it: a scope that is asked looks at the clock first."""

    __slots__ = ("_scope", "called")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.called = False

    def cancel(self) -> None:
        """Cancel it."""
        self.called = True
        self._scope.cancel()


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
        self._interruption = _Interruption(self._scope)
        self._stopping = False
        self._in_thread = begins_in_thread
        self._ending = False
        """`EndResponse` is being carried out."""

    def stop(self) -> None:
        """End soon, with a word to the client."""
        self._stopping = True
        self._interruption.cancel()

    async def run(self) -> c.Summary:
        """Drive the exchange to its end."""
        try:
            self._client.watch(self._interruption)
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
        if not self._stopping:
            return await self._alternate(e.ClientClosed())
        with self._loop.open_scope(deadline=self._loop.current_time() + _FAREWELL):
            if not self._ending:
                return await self._alternate(e.ServerStopping())
            return await self._alternate(await self._end_response())
        return await self._alternate(e.ClientClosed())

    async def _alternate(self, event: e.Event) -> c.Finish:
        command = await self._handle(event)
        while not isinstance(command, c.Finish):
            body = None if self._call is None else self._call.body
            if type(command) is c.ReceiveData and body is not None and not self._in_thread:
                command = await self._follow(body, command)
            else:
                command = await self._handle(await self._carry_out(command))
        return command

    async def _handle(self, event: e.Event) -> c.Command:
        if self._in_thread:
            return await self._handle_in_thread(event)
        return self._exchange.handle(event, self._loop.current_time())

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
            case c.SendResponse() | c.SendData():
                put(self._client, command)
                return e.Completed()
            case c.EndResponse():
                put(self._client, command)
                self._ending = True
                return await self._end_response()
            case c.CloseRequest() | c.ReleaseCredential():
                self._clean_up(command)
                return e.Completed()
        try:
            if not self._client.flush():
                await self._client.drain()
        except ClientLeftError:
            return e.ClientClosed()
        return await self._wait_for(command)

    async def _end_response(self) -> e.Event:
        """Send the last of the response."""
        try:
            await self._client.drain()
        except ClientLeftError:
            return e.ClientClosed()
        self._ending = False
        self._client.unwatch()  # it has its answer; what is left to do is not for it
        return e.Completed()

    async def _wait_for(self, command: c.Command) -> e.Event:
        match command:
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
                return e.Completed()
        raise AssertionError(f"{command} is not waited for")

    # The way of a token

    async def _follow(self, body: FollowedBody, command: c.ReceiveData) -> c.Command:
        """Carry out `ReceiveData` as often as it comes; give the next command that is another."""
        follower = Follower(
            self._exchange,
            self._client,
            body,
            command,
            self._loop,
            self._upstream.mailroom.make_nap(),
            self._interruption,
        )
        try:
            return await follower.run()
        except BaseException:
            # It was cancelled from outside, and may have gone a step further meanwhile.
            if isinstance(follower.next, c.CleanupCommand):
                self._clean_up(follower.next)
            raise
        finally:
            if follower.body_over:
                self._call = None

    async def _divide(self, fork: c.Fork) -> e.Event:
        """Drive all branches at once, each as an exchange whose client is the joint."""
        joint = _Joint(fork.join, self._client, self._loop)
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
