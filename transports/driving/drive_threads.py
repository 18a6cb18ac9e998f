"""Driving an exchange in threads. `drive` does the same in tasks.

The thread that has a client's request drives its exchange, from one thing that is to be done for
the client to the next. Where several answers are made at once, each has a thread of its own.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Generator
from typing import Protocol, TypeAlias, assert_never

import attrs

from grokproto import commands as c
from grokproto import events as e

from ..loops.threads import Handover, InterruptedWaitError, News
from ..upstream.calls_threads import ThreadedCall, ThreadedUpstream
from .previews import read_preview
from .work_threads import Steps


class ThreadedCredentials(Protocol):
    """Where leases come from."""

    def acquire(
        self, command: c.AcquireCredential, news: News
    ) -> e.CredentialAcquired | e.NoCredential:
        """Grant a call; perhaps wait in line for it, at `news`, until the command's deadline."""
        ...

    def release(self, command: c.ReleaseCredential) -> None:
        """Take a lease back."""
        ...


class ThreadedPictures(Protocol):
    """What is done with pictures outside of a conversation."""

    def fetch(self, url: str, timeout: float, news: News) -> e.PictureFetched | e.PictureRefused:
        """Fetch one that a client has linked to."""
        ...

    def store(self, data: bytes, media_type: str) -> e.PictureStored | e.RequestFailed:
        """Keep one for a client to fetch."""
        ...


class ThreadedDrive:
    """One exchange, and the upstream call that is open for it.

    Args:
        exchange: Fresh.
        upstream: The far ends.
        credentials: Where leases come from.
        pictures: What is done with pictures.
        news: Where its thread waits. Who interrupts it there ends it, since the client has left;
            who stops it there has the client told that the host ends.
    """

    def __init__(
        self,
        exchange: c.Branch,
        upstream: ThreadedUpstream,
        credentials: ThreadedCredentials,
        pictures: ThreadedPictures,
        news: News,
    ) -> None:
        self._exchange = exchange
        self._upstream = upstream
        self._credentials = credentials
        self._pictures = pictures
        self.news = news
        self._call: ThreadedCall | None = None
        self.summary: c.Summary | None = None
        """What has become of it, once it is over."""

    def run(self) -> Steps:
        """Drive the exchange to its end.

        What this gives is to be done for the client, before it is asked for more; where that cannot
        be done, it is to be closed. None comes once at the most, behind the end of the response:
        what follows takes time, and the client need not wait for it. Once its news are stopped or
        interrupted, nothing it does takes time.
        """
        event: e.Event = e.Start()
        ended = False
        try:
            while True:
                command = self._exchange.handle(event, time.monotonic())
                match command:
                    case c.Finish(summary):
                        self.summary = summary
                        return
                    case c.SendResponse() | c.SendData() | c.EndResponse():
                        yield command
                        ended = isinstance(command, c.EndResponse)
                        event = e.Completed()
                    case c.CloseRequest() | c.ReleaseCredential():
                        self._clean_up(command)
                        event = e.Completed()
                    case _:
                        if ended:
                            ended = False
                            yield None
                            self.news.forget_client()
                        try:
                            self.news.check()
                            if isinstance(command, c.Fork):
                                event = yield from self._divide(command)
                            else:
                                event = self._wait_for(command)
                        except InterruptedWaitError:
                            if not self.news.stopped:
                                raise
                            event = e.ServerStopping()
        except (GeneratorExit, InterruptedWaitError):
            self.summary = self._leave()
        finally:
            for owed in self._exchange.abandon(time.monotonic()):
                self._clean_up(owed)

    def _leave(self) -> c.Summary:
        """The client has left: only what is owed is done."""
        command = self._exchange.handle(e.ClientClosed(), time.monotonic())
        while not isinstance(command, c.Finish):
            assert isinstance(command, c.CloseRequest | c.ReleaseCredential)
            self._clean_up(command)
            command = self._exchange.handle(e.Completed(), time.monotonic())
        return command.summary

    def _wait_for(
        self,
        command: c.AcquireCredential
        | c.SendRequest
        | c.ReceiveResponse
        | c.ReceiveData
        | c.FetchPicture
        | c.FetchPreview
        | c.StorePicture
        | c.Wait,
    ) -> e.Event:
        match command:
            case c.ReceiveData(deadline) | c.ReceiveResponse(deadline):
                assert self._call is not None
                return self._receive(self._call, deadline)
            case c.SendRequest(request, deadline):
                self._call = self._upstream.call(request, self.news)
                return self._receive(self._call, deadline)
            case c.AcquireCredential():
                return self._credentials.acquire(command, self.news)
            case c.FetchPicture(url, timeout):
                return self._pictures.fetch(url, timeout, self.news)
            case c.FetchPreview(request):
                found = self._upstream.fetch(
                    request, limit=command.limit + 1, timeout=command.timeout, news=self.news
                )
                return read_preview(found, command)
            case c.StorePicture(data, media_type):
                return self._pictures.store(data, media_type)
            case c.Wait(until):
                self.news.wait_for(lambda: None, until)
                return e.Completed()
            case _:
                assert_never(command)

    def _receive(self, call: ThreadedCall, deadline: float) -> e.Event:
        event = call.receive(deadline)
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

    def _divide(self, fork: c.Fork) -> Generator[c.ClientCommand, None, e.Event]:
        """Drive all branches at once, each as an exchange whose client is the joint."""
        joint = _Joint(fork.join, self.news)
        drives = [
            ThreadedDrive(branch, self._upstream, self._credentials, self._pictures, News())
            for branch in fork.branches
        ]
        threads = [
            threading.Thread(target=joint.run, args=each, name="grokproto answer", daemon=True)
            for each in enumerate(drives)
        ]
        for thread in threads:
            thread.start()
        try:
            while not isinstance(given := joint.receive(), _Over):
                yield given
        finally:
            joint.close()
            for drive in drives:
                drive.news.stop()  # though it may be at what is not for the client any more
            for thread in threads:
                thread.join()
        return e.Completed()


@attrs.frozen
class _Over:
    """No branch will have anything more done."""


_Given: TypeAlias = c.ClientCommand | _Over


class _Joint:
    """The client of several branches: what they want done for it goes through here, one at a time.

    Args:
        join: Makes one response of theirs.
        news: Where the thread waits that has the client.
    """

    def __init__(self, join: c.Joint, news: News) -> None:
        self._join = join
        self._given: Handover[_Given] = Handover(news)
        self._lock = threading.Lock()
        self._failed: Exception | None = None

    def receive(self) -> _Given:
        """What is next to be done for the client, or that it is over."""
        given = self._given.take(math.inf)
        assert given is not None
        if self._failed is not None:
            raise self._failed
        return given

    def close(self) -> None:
        """Nothing more is done for the client."""
        self._given.close()

    def run(self, index: int, drive: ThreadedDrive) -> None:
        """Drive a branch; a thread of its own."""
        try:
            with contextlib.closing(drive.run()) as steps:
                for command in steps:
                    if command is not None:
                        self._take(index, command)
            assert drive.summary is not None
            self._take(index, c.Finish(drive.summary))
        except InterruptedWaitError:
            pass
        except Exception as exc:  # whoever has the client lets it out
            self._failed = exc
            with contextlib.suppress(InterruptedWaitError):
                self._given.put(_Over())

    def _take(self, index: int, command: c.ClientCommand | c.Finish) -> None:
        with self._lock:
            if self._given.closed:
                raise InterruptedWaitError
            for each in self._join.take(index, command):
                self._given.put(each)
            if self._join.over:
                self._given.put(_Over())
