"""Answering requests: what the front decides, carried out by tasks. An application for a server."""

from __future__ import annotations

from typing import Protocol, assert_never

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
from ..api.routes import Front
from ..logs import get_logger
from ..loops import Cancellable, Loop
from ..pictures.desk import PictureDesk
from ..pool.orders import Answer, Order
from ..pool.waiting import OwnCookie
from ..server.errors import BadBodyError, BodyTooLargeError, StoppingError
from ..server.http_request import RequestHeaders
from ..upstream.calls import Upstream
from .drive import Credentials, Drive, Drives

_LONG_BODY = 256 * 1024
"""Bytes of a request above which reading it would keep the others waiting."""


class Request(Protocol):
    """One request, and the way to answer it. `http_request.HTTPRequest` is one."""

    @property
    def method(self) -> str: ...

    @property
    def path(self) -> str:
        """As it came: not decoded, without the query."""
        ...

    @property
    def headers(self) -> RequestHeaders: ...

    async def receive_body(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            BodyTooLargeError: It is longer than `limit` bytes.
            BadBodyError: It is broken, or did not come in time.
            ClientLeftError: The client left in the middle of it.
            StoppingError: The server stops, and does not wait for the rest of it.
        """
        ...

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole response."""
        ...

    def put_head(self, status: int, headers: Headers) -> None:
        """See `drive.Client`; as the others."""
        ...

    def put_data(self, data: bytes) -> None: ...

    def put_end(self) -> None: ...

    def flush(self) -> bool: ...

    async def drain(self) -> None: ...

    def watch(self, scope: Cancellable) -> None: ...

    def unwatch(self) -> None: ...


class Pool(Credentials, Protocol):
    """Where leases come from, and who knows what there is."""

    async def administer(self, order: Order) -> Answer:
        """Do what an order says."""
        ...


class _Client:
    """See `drive.Client`: whoever made a request. Its heads are completed by the front."""

    def __init__(self, http: Request, call: Call, loop: Loop) -> None:
        self._http = http
        self._call = call
        self._loop = loop
        # Nothing is to be done about these, and so nothing stands in their way.
        self.put_data = http.put_data
        self.put_end = http.put_end
        self.flush = http.flush
        self.drain = http.drain
        self.watch = http.watch
        self.unwatch = http.unwatch

    def put_head(self, status: int, headers: Headers) -> None:
        """See `drive.Client`."""
        now = self._loop.current_time()
        self._http.put_head(status, self._call.send_response(status, headers, now))


class App:
    """The HTTP API, for servers whose requests are tasks.

    Args:
        front: Decides.
        drives: The exchanges under way; theirs are among them.
        pool: Where leases come from, unless a request brings its own.
        upstream: The far ends.
        pictures: What is done with pictures.
        loop: What the tasks run on.
    """

    def __init__(
        self,
        front: Front,
        *,
        drives: Drives,
        pool: Pool,
        upstream: Upstream,
        pictures: PictureDesk,
        loop: Loop,
    ) -> None:
        self._front = front
        self._drives = drives
        self._pool = pool
        self._upstream = upstream
        self._pictures = pictures
        self._loop = loop
        self._log = get_logger()

    async def __call__(self, http: Request) -> None:
        """Answer one request, and log it."""
        head = Head(http.method, http.path, http.headers)
        call = self._front.open(head, self._loop.current_time())
        try:
            await self._answer(http, call)
        finally:
            self._log.info("request", **call.describe(self._loop.current_time()))

    async def _answer(self, http: Request, call: Call) -> None:
        step = call.begin()
        is_long = False
        while True:
            match step:
                case ReceiveBody(limit):
                    try:
                        body = await http.receive_body(limit)
                        is_long = len(body) > _LONG_BODY
                        step = call.proceed(body)
                        del body
                    except BodyTooLargeError:
                        step = refuse(too_large(limit))
                    except BadBodyError as exc:
                        step = refuse(InvalidRequestError(str(exc)))
                    except StoppingError:
                        step = refuse(shutting_down())
                case FindPicture(token):
                    step = call.proceed(await self._pictures.open(token))
                case Order():
                    step = call.proceed(await self._pool.administer(step))
                case Respond(status, headers, body):
                    now = self._loop.current_time()
                    await http.respond(status, call.send_response(status, headers, now), body)
                    return
                case Converse():
                    await self._converse(http, call, step, is_long)
                    return
                case _:
                    assert_never(step)

    async def _converse(self, http: Request, call: Call, step: Converse, is_long: bool) -> None:
        drive = Drive(
            step.exchange,
            _Client(http, call, self._loop),
            self._upstream,
            self._pool if step.cookies is None else OwnCookie(step.cookies),
            self._pictures.serve(call.head.headers.as_dict()),
            self._loop,
            begins_in_thread=is_long,
        )
        with self._drives.enlist(drive):
            call.summary = await drive.run()
