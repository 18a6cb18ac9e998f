"""Answering requests in threads: what the front decides, carried out. `answer` does it in tasks."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import assert_never

import attrs

from grokproto import commands as c
from grokproto.errors import InvalidRequestError

from ..api.front import (
    Call,
    Converse,
    FindPicture,
    Head,
    Headers,
    ReceiveBody,
    Respond,
    refuse,
    shutting_down,
    too_large,
)
from ..api.service import Service
from ..logs import get_logger
from ..loops.garbage import Leftovers, is_collecting
from ..loops.threads import News
from ..loops.trio_loop import TRIO
from ..pictures.desk import PictureDesk
from ..pictures.desk_threads import ThreadedPictureDesk
from ..pool.orders import Order
from ..pool.scheduler import Scheduler
from ..pool.waiting_threads import ThreadedOwnCookie, ThreadedWaiting
from ..server.errors import (
    BadBodyError,
    BodyTooLargeError,
    ClientLeftError,
    StoppingError,
    encode_http_error,
)
from ..upstream.calls_threads import ThreadedUpstream
from .drive_threads import ThreadedDrive
from .work_threads import Steps, Work, Works


@attrs.frozen
class ThreadedRequest:
    """One request."""

    head: Head
    receive_body: Callable[[int], bytes]
    """Reads the whole body, of so many bytes at the most; raises `BodyTooLargeError`,
    `BadBodyError` or `ClientLeftError`."""
    has_left: Callable[[], bool] | None = None
    """Looks whether the client has left; None where nobody can tell."""
    is_near: bool = False
    """The client is in this process: what it was given has come to it."""


_LAST_WORDS = 3.0
"""Seconds that threads have to end what they are at when the host ends."""
_FORKED = (
    "This application was made before its process was forked, and the accounts belong to the "
    "process that made it; make it in the process that serves (gunicorn: without --preload)."
)


class Reply:
    """A response: its head, and its body piece by piece as it comes.

    Whoever does not take it to its end closes it, and by that gives up what is behind it. Any
    thread may do that at any time; one that reads meanwhile gets a `ReplyClosedError`. Who forgets
    to, has it closed when the garbage is collected.
    """

    def __init__(self, status: int, headers: Headers, work: Work, leftovers: Leftovers) -> None:
        self.status = status
        self.headers = headers
        self._work = work
        self._leftovers = leftovers

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = self._work.next_piece()
        if piece is None:
            raise StopIteration
        return piece

    def close(self) -> None:
        """Nobody takes any more of it."""
        if self._work.over:
            return
        if is_collecting():
            self._leftovers.leave(self._work.give_up)
        else:
            self._work.give_up()

    def __del__(self) -> None:
        if not self._work.over:
            self._leftovers.leave(self._work.give_up)


class ThreadedApp:
    """The HTTP API, for hosts whose requests are threads.

    Args:
        service: What it serves with.
        scheduler: The accounts; nobody else may use it.
        pictures: Instead of what the service says of pictures; on trio.
        at_close: Called when it is closed, and nobody uses the accounts any more.
    """

    def __init__(
        self,
        service: Service,
        scheduler: Scheduler,
        *,
        pictures: PictureDesk | None = None,
        at_close: Callable[[], object] = lambda: None,
    ) -> None:
        self._at_close = at_close
        self._process = os.getpid()
        self._closed = False
        self._works = Works(_tell)
        self._front = service.build_front(self._works)
        self._waiting = ThreadedWaiting(scheduler)
        self._upstream = ThreadedUpstream(service.upstream, on_error=_tell)
        self._pictures = ThreadedPictureDesk(pictures or service.build_desk(TRIO))
        self._leftovers = Leftovers()
        self._log = get_logger()
        threading.Thread(
            target=self._leftovers.run, name="grokproto leftovers", daemon=True
        ).start()
        if service.fetches_guests:
            threading.Thread(
                target=self._waiting.run_guests,
                args=(self._upstream, service.settings),
                name="grokproto guests",
                daemon=True,
            ).start()

    def close(self) -> None:
        """Let clients be told that the host ends, and end: answer nothing more, close the
        connections, and fetch no guests."""
        self._closed = True
        if is_collecting():
            self._leftovers.leave(self._close)
        else:
            self._close()

    def _close(self) -> None:
        if os.getpid() == self._process:  # or the threads have not come along, but their locks have
            self._works.stop(_LAST_WORDS)
            self._waiting.close()
            self._upstream.close()
            self._leftovers.close()
        self._at_close()

    def answer(self, request: ThreadedRequest) -> Reply:
        """Answer one request, up to the head of the response; the rest comes as it is taken.

        Raises:
            ClientLeftError: There is nobody to answer.
        """
        call = self._front.open(request.head, time.monotonic())
        news = News(request.has_left)
        work = Work(news, is_near=request.is_near)
        try:
            head = work.begin(self._answer(request, call, work, news))
        except ClientLeftError:
            raise
        except Exception as exc:
            _tell(exc)
            message = "The server has made a mistake; its log says which."
            body = encode_http_error(message, "internal_error", "server_error")
            head = work.begin(_respond(call, 500, (("content-type", "application/json"),), body))
        return Reply(head.status, head.headers, work, self._leftovers)

    def _answer(self, request: ThreadedRequest, call: Call, work: Work, news: News) -> Steps:
        """All that is to be done for the client; it ends with the line in the log."""
        self._leftovers.hold(work)
        try:
            step = self._find_hindrance() or call.begin()
            while True:
                match step:
                    case ReceiveBody(limit):
                        try:
                            step = call.proceed(request.receive_body(limit))
                        except BodyTooLargeError:
                            step = refuse(too_large(limit))
                        except BadBodyError as exc:
                            step = refuse(InvalidRequestError(str(exc)))
                    case FindPicture(token):
                        step = call.proceed(self._pictures.open(token))
                    case Order():
                        try:
                            step = call.proceed(self._waiting.administer(step))
                        except StoppingError:
                            step = refuse(shutting_down())
                    case Respond(status, headers, body):
                        yield from _respond(call, status, headers, body)
                        return
                    case Converse():
                        try:
                            self._works.enlist(work)
                        except StoppingError:
                            step = refuse(shutting_down())
                        else:
                            yield from self._converse(call, step, news)
                            return
                    case _:
                        assert_never(step)
        finally:
            try:
                self._log.info("request", **call.describe(time.monotonic()))
            finally:
                self._leftovers.let_go(work)
                self._works.discard(work)

    def _find_hindrance(self) -> Respond | None:
        """Why nothing is answered here, or not any more."""
        if os.getpid() != self._process:
            # The lock of the state and its database have come along, and the threads have not.
            self._log.error(_FORKED)
            return refuse(InvalidRequestError(_FORKED, code="forked", status=500))
        if self._closed:
            return refuse(
                InvalidRequestError(
                    "This application was closed.", code="shutting_down", status=503
                )
            )
        return None

    def _converse(self, call: Call, step: Converse, news: News) -> Steps:
        drive = ThreadedDrive(
            step.exchange,
            self._upstream,
            self._waiting if step.cookies is None else ThreadedOwnCookie(step.cookies),
            self._pictures.serve(call.head.headers.as_dict()),
            news,
        )
        try:
            with contextlib.closing(drive.run()) as steps:
                head = next(steps, None)
                if not isinstance(head, c.SendResponse):
                    raise ClientLeftError
                headers = call.send_response(head.status, head.headers, time.monotonic())
                yield c.SendResponse(head.status, headers)
                yield from steps
        finally:
            call.summary = drive.summary


def _respond(call: Call, status: int, headers: Headers, body: bytes) -> Steps:
    framing = () if status in (204, 304) else (("content-length", str(len(body))),)
    headers = call.send_response(status, headers, time.monotonic())
    yield c.SendResponse(status, (*headers, *framing))
    if body and call.head.method != "HEAD":
        yield c.SendData(body)
    yield c.EndResponse()


def _tell(exc: Exception) -> None:
    get_logger().error("a request failed by our own fault", exc_info=exc)
