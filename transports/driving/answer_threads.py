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
from ..server.errors import BadBodyError, BodyTooLargeError, ClientLeftError, encode_http_error
from ..upstream.calls_threads import ThreadedUpstream
from .drive_threads import Steps, ThreadedDrive


@attrs.frozen
class ThreadedRequest:
    """One request."""

    head: Head
    receive_body: Callable[[int], bytes]
    """Reads the whole body, of so many bytes at the most; raises `BodyTooLargeError`,
    `BadBodyError` or `ClientLeftError`."""
    has_left: Callable[[], bool] | None = None
    """Looks whether the client has left; None where nobody can tell."""


_FORKED = (
    "This application was made before its process was forked, and the accounts belong to the "
    "process that made it; make it in the process that serves (gunicorn: without --preload)."
)


class ReplyClosedError(Exception):
    """Somebody has closed the response before its end."""


class Reply:
    """A response: its head, and its body piece by piece as it comes.

    Whoever does not take it to its end closes it, and by that gives up what is behind it. Any
    thread may do that at any time; one that reads meanwhile gets a `ReplyClosedError`. Who forgets
    to, has it closed when the garbage is collected.
    """

    def __init__(
        self, status: int, headers: Headers, steps: Steps, news: News, leftovers: Leftovers
    ) -> None:
        self.status = status
        self.headers = headers
        self._steps: Steps | None = steps
        self._news = news
        self._leftovers = leftovers
        self._reading = threading.Lock()
        """Had by whoever goes on with the steps, or ends them."""
        self._given_up = False
        leftovers.hold(steps)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            with self._reading:
                piece = self._read()
        finally:
            if self._given_up:  # and whoever did has left the rest to us, if we were at it
                self._close_steps()
        if self._given_up:
            raise ReplyClosedError
        if piece is None:
            raise StopIteration
        return piece

    def _read(self) -> bytes | None:
        """The next piece; None behind the last."""
        steps = self._steps
        if steps is None:
            return None
        try:
            for command in steps:
                if isinstance(command, c.SendData):
                    return command.data
                if command is None:  # the client has its answer; what follows is not for it
                    threading.Thread(target=list, args=(steps,), daemon=True).start()
                    break
        except BaseException:
            self._let_go(steps)
            raise
        self._let_go(steps)
        return None

    def close(self) -> None:
        """Nobody takes any more of it."""
        if self._steps is None:
            return
        if is_collecting():
            self._leftovers.leave(self._give_up)
        else:
            self._give_up()

    def __del__(self) -> None:
        if self._steps is not None:
            self._leftovers.leave(self._give_up)

    def _give_up(self) -> None:
        self._given_up = True
        self._news.interrupt()
        self._close_steps()

    def _close_steps(self) -> None:
        if not self._reading.acquire(blocking=False):
            return
        try:
            steps = self._steps
            if steps is not None:
                self._let_go(steps)
                steps.close()
        finally:
            self._reading.release()

    def _let_go(self, steps: Steps) -> None:
        self._steps = None
        self._leftovers.let_go(steps)


class ThreadedApp:
    """The HTTP API, for hosts whose requests are threads.

    Args:
        service: What it serves with.
        scheduler: The accounts; nobody else may use it.
        pictures: Instead of what the service says of pictures; on trio.
    """

    def __init__(
        self, service: Service, scheduler: Scheduler, *, pictures: PictureDesk | None = None
    ) -> None:
        self._process = os.getpid()
        self._closed = False
        self._running: set[ThreadedDrive] = set()
        self._front = service.build_front(self._running)
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
        """Answer nothing more, close the connections that nobody uses, and fetch no guests."""
        self._closed = True
        self._waiting.close()
        self._upstream.close()
        self._leftovers.close()

    def answer(self, request: ThreadedRequest) -> Reply:
        """Answer one request, up to the head of the response; the rest comes as it is taken.

        Raises:
            ClientLeftError: There is nobody to answer.
        """
        call = self._front.open(request.head, time.monotonic())
        news = News(request.has_left)
        steps = self._answer(request, call, news)
        try:
            head = next(steps)
        except ClientLeftError:
            raise
        except Exception as exc:
            _tell(exc)
            message = "The server has made a mistake; its log says which."
            body = encode_http_error(message, "internal_error", "server_error")
            steps = _respond(call, 500, (("content-type", "application/json"),), body)
            head = next(steps)
        assert isinstance(head, c.SendResponse)
        return Reply(head.status, head.headers, steps, news, self._leftovers)

    def _answer(self, request: ThreadedRequest, call: Call, news: News) -> Steps:
        """All that is to be done for the client; it ends with the line in the log."""
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
                        step = call.proceed(self._waiting.administer(step))
                    case Respond(status, headers, body):
                        yield from _respond(call, status, headers, body)
                        return
                    case Converse():
                        yield from self._converse(call, step, news)
                        return
                    case _:
                        assert_never(step)
        finally:
            self._log.info("request", **call.describe(time.monotonic()))

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
        self._running.add(drive)
        try:
            with contextlib.closing(drive.run()) as steps:
                head = next(steps, None)
                if not isinstance(head, c.SendResponse):
                    raise ClientLeftError
                headers = call.send_response(head.status, head.headers, time.monotonic())
                yield c.SendResponse(head.status, headers)
                yield from steps
        finally:
            self._running.discard(drive)
            call.summary = drive.summary


def _respond(call: Call, status: int, headers: Headers, body: bytes) -> Steps:
    framing = () if status in (204, 304) else (("content-length", str(len(body))),)
    headers = call.send_response(status, headers, time.monotonic())
    yield c.SendResponse(status, (*headers, *framing))
    if body and call.head.method != "HEAD":
        yield c.SendData(body)


def _tell(exc: Exception) -> None:
    get_logger().error("a request failed by our own fault", exc_info=exc)
