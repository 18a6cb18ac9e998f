"""Upstream calls: httpcore, in tasks. Only this file and its like know httpcore.

Every call has a connection to itself and a task that reads from it; the exchange's task waits for
what the reader found, so that a wait can end by its deadline without harming the response (httpcore
gives a response up when a read of it is cancelled). Between the two stands a mailbox for one event:
who does not take, holds the reader back, and by that the far end. The body of a streamed response
needs no task where it can be taken off its connection (`upstream.body`).

Connections that are left clean go to a free list and are used again. One object for each call keeps
the cost of a call the same however many are under way; a shared pool looks at all of its
connections for every request that comes or goes. Where every user brings a cookie of their own, a
connection is used again with the same cookies only: a far end that answers one call with the rest
of the answer to another then does so to the user who asked for both.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

import httpcore

from grokproto.commands import UpstreamRequest
from grokproto.events import (
    DataReceived,
    EndOfMessage,
    RequestFailed,
    ResponseReceived,
    TimedOut,
)

from ..loops import NOBODY, Loop, Nursery, Scope, TaskStatus
from ..loops.mailbox import Mailbox, Mailroom
from ..loops.trio_loop import TRIO
from .body import FollowedBody
from .checked import CheckedConnection
from .codings import build_decoder
from .faults import FAULTS, tell_fault, was_unread
from .network import Network
from .plain import Loan, PlainConnection
from .plain_stream import open_plain_stream
from .rules import (
    KEEPALIVE,
    MAX_IDLE_OF_ALL,
    Fetched,
    IdleConnections,
    Place,
    UpstreamConfig,
    build_context,
    build_proxy,
    build_request,
    is_framed,
    parse_url,
    read_headers,
)

__all__ = ["MAX_IDLE_OF_ALL", "Fetched", "Upstream", "UpstreamCall", "UpstreamConfig"]

_JANITOR_PAUSE = 10.0

_TIMED_OUT = TimedOut()
_Found = ResponseReceived | DataReceived | EndOfMessage | RequestFailed


class Upstream:
    """The far ends, and the connections to them.

    `run` must be running somewhere while calls are made: it is the nursery of their readers.
    """

    def __init__(
        self,
        config: UpstreamConfig,
        *,
        on_error: Callable[[Exception], None] = lambda _: None,
        loop: Loop = TRIO,
    ) -> None:
        self.config = config
        self.loop = loop
        self.on_error = on_error
        """Told of an exception that nobody expected; it costs the call, not the server."""
        self._factory: httpcore.AsyncConnectionPool | None = None
        self.idle: IdleConnections[httpcore.AsyncConnectionInterface] = IdleConnections(config)
        self._nursery: Nursery | None = None
        self.mailroom = Mailroom(loop)
        """For calls, and whoever else has an eye on them."""
        self.open_calls = 0
        """Calls under way, for people who watch."""

    async def run(self, *, task_status: TaskStatus = NOBODY) -> None:
        """Carry the calls; ends when cancelled."""
        try:
            async with self.loop.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self.mailroom.run)
                task_status.started()
                await self._sweep()
        finally:
            self._nursery = None
            with self.brief():
                await self._close_idle(lambda _: True)

    def call(self, request: UpstreamRequest) -> UpstreamCall:
        """Begin a call. Whoever does sees to it that it is closed."""
        assert self._nursery is not None, "Upstream.run is not running"
        call = UpstreamCall(self)
        self._nursery.start_soon(call.run, request)
        return call

    async def fetch(
        self, request: UpstreamRequest, *, limit: int, timeout: float
    ) -> Fetched | RequestFailed:
        """Make a call and take its whole response, for calls that belong to no exchange.

        Args:
            request: What to send.
            limit: Bytes of the body that are read.
            timeout: Seconds for all of it.
        """
        deadline = self.loop.current_time() + timeout
        call = self.call(request)
        try:
            head: ResponseReceived | None = None
            body = b""
            while len(body) < limit:
                match await call.receive(deadline):
                    case ResponseReceived() as head:
                        pass
                    case DataReceived(data):
                        body += data
                    case EndOfMessage():
                        break
                    case RequestFailed() as failed:
                        return failed
                    case TimedOut():
                        return RequestFailed(f"no answer within {timeout:g} seconds")
            assert head is not None
            return Fetched(head.status, head.headers, body[:limit])
        finally:
            call.close()

    async def _sweep(self) -> None:
        while True:
            await self.loop.sleep_until(self.loop.current_time() + _JANITOR_PAUSE)
            await self._close_idle(lambda connection: connection.has_expired())

    async def _close_idle(
        self, wanted: Callable[[httpcore.AsyncConnectionInterface], bool]
    ) -> None:
        for each in self.idle.drain(wanted):
            await self.drop(each)

    async def take(self, place: Place) -> httpcore.AsyncConnectionInterface | None:
        """An idle connection that is still good, if there is one."""
        while (connection := self.idle.pop(place)) is not None:
            if connection.is_available() and not connection.has_expired():
                return connection
            await self.drop(connection)
        return None

    async def connect(self, origin: httpcore.Origin) -> httpcore.AsyncConnectionInterface:
        """A fresh connection; one that is not plain opens with its first request.

        Raises:
            httpcore.ConnectError: It cannot be opened.
            httpcore.ConnectTimeout: Not in time.
        """
        plain = origin.scheme == b"http" and self.config.proxy is None
        if not plain or self.loop.sockets is None:
            if self._factory is None:
                self._factory = self._build_factory()
            return CheckedConnection(self._factory.create_connection(origin))
        host, timeout = origin.host.decode("ascii"), self.config.connect_timeout
        return PlainConnection(
            origin, await open_plain_stream(self.loop, host, origin.port, timeout)
        )

    def _build_factory(self) -> httpcore.AsyncConnectionPool:
        """What makes connections that are not plain. It takes a while to read all authorities."""
        context = build_context()
        proxy = build_proxy(self.config.proxy, context) if self.config.proxy else None
        return httpcore.AsyncConnectionPool(
            ssl_context=context,
            proxy=proxy,
            keepalive_expiry=KEEPALIVE,
            http2=True,
            network_backend=Network(self.loop.make_backend()),
        )

    def keep(self, place: Place, connection: httpcore.AsyncConnectionInterface) -> bool:
        """Keep a connection for another call, if it is fit for that; say whether it is kept."""
        return self._nursery is not None and self.idle.put(place, connection)

    async def give_back(self, place: Place, connection: httpcore.AsyncConnectionInterface) -> None:
        """Keep a connection for another call, if it is fit for that; else close it."""
        if not self.keep(place, connection):
            await connection.aclose()

    def brief(self) -> Scope:
        """A scope for what must be tidied up, whatever is cancelled, and cannot take long."""
        return self.loop.open_scope(deadline=self.loop.current_time() + 1, shield=True)

    async def drop(self, connection: httpcore.AsyncConnectionInterface | None) -> None:
        """Close a connection that is of no use any more."""
        if connection is not None:
            with self.brief():
                with contextlib.suppress(Exception):  # it is broken as it is
                    await connection.aclose()


class UpstreamCall:
    """One call: a task that makes it, and a mailbox for whoever waits for what that finds.

    Where the body can be read without a task, the task ends with the head.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._scope = upstream.loop.open_scope()
        self._mailbox: Mailbox[_Found] = upstream.mailroom.open_mailbox()
        self._body: FollowedBody | None = None
        self._head_taken = False
        self._closed = False

    @property
    def body(self) -> FollowedBody | None:
        """The body, if the head was taken and it can be followed; else there is `receive`."""
        return self._body if self._head_taken else None

    async def receive(self, deadline: float) -> _Found | TimedOut:
        """What comes next, or `TimedOut` at `deadline` (the loop's clock); then ask again."""
        if self._head_taken and self._body is not None:
            return await self._receive_body(self._body, deadline)
        found = await self._mailbox.take(deadline)
        self._head_taken = self._head_taken or isinstance(found, ResponseReceived)
        return found or _TIMED_OUT

    async def _receive_body(self, body: FollowedBody, deadline: float) -> _Found | TimedOut:
        event = body.next_event()
        if event is None:
            nap = self._upstream.mailroom.make_nap()
            body.follow(nap.wake)
            try:
                await nap.sleep(deadline)
            finally:
                body.unfollow()
            event = body.next_event()
        return event or _TIMED_OUT

    def close(self) -> None:
        """Give the call up. Its connection is closed, by its own task if it still has one."""
        self._closed = True
        self._scope.cancel()
        if self._body is not None:
            self._body.close()

    async def run(self, request: UpstreamRequest) -> None:
        """Make the request and read the response; a task of `Upstream`.

        The request is let go of with the task: it may be large, and a stream may take long.
        """
        self._upstream.open_calls += 1
        try:
            with self._scope:
                await self._mailbox.put(await self._read(request))
        except BaseException:
            self._closed = True
            raise
        finally:
            if self._body is None:
                self._upstream.open_calls -= 1
            elif self._closed:  # while it was borrowed; else whoever reads it is still at it
                self._body.close()

    async def _read(
        self, asked: UpstreamRequest
    ) -> ResponseReceived | EndOfMessage | RequestFailed:
        """Everything up to the last event that this task has, which is given back."""
        sent = repeated = False
        connection: httpcore.AsyncConnectionInterface | None = None
        try:
            url = parse_url(asked.url)  # it may have been Grok that chose it
            place = self._upstream.idle.find_place(asked, url.origin)
            request = build_request(asked, url, self._upstream.config)
            connection = await self._upstream.take(place)
            reused = connection is not None
            while True:
                if connection is None:
                    connection = await self._upstream.connect(url.origin)
                try:
                    response = await connection.handle_async_request(request)
                    break
                except httpcore.NetworkError as exc:
                    sent = not isinstance(exc, httpcore.ConnectError)
                    raise
                except httpcore.RemoteProtocolError as exc:
                    sent = True
                    if not (reused and was_unread(exc, connection)):
                        raise
                    await connection.aclose()
                    connection, reused, repeated = None, False, True
                except httpcore.ConnectionNotAvailable:
                    await connection.aclose()
                    connection, reused = None, False
            sent = True
            head = ResponseReceived(response.status, read_headers(response))
            if self._borrow_body(head, place, connection):
                return head
            framed = await self._read_response(asked.method, response, head, connection)
            await self._upstream.give_back(place, connection)
            return EndOfMessage(framed)
        except FAULTS as exc:
            await self._upstream.drop(connection)
            return RequestFailed(tell_fault(exc), sent=sent, repeated=repeated)
        except Exception as exc:
            self._upstream.on_error(exc)
            await self._upstream.drop(connection)
            return RequestFailed("a mistake of this server's, which its log tells", sent=sent)
        except BaseException:
            await self._upstream.drop(connection)
            raise

    def _borrow_body(
        self,
        head: ResponseReceived,
        place: Place,
        connection: httpcore.AsyncConnectionInterface,
    ) -> bool:
        """Take the body off the connection, if that can be; say whether it was."""
        if not isinstance(connection, PlainConnection) or "content-encoding" in dict(head.headers):
            return False
        first = connection.lend_body()
        if first is None:
            return False

        upstream = self._upstream  # and not this call, which holds the body: no circles

        def settle(usable: bool) -> None:
            upstream.open_calls -= 1
            if usable and not upstream.keep(place, connection):
                connection.close()

        self._body = FollowedBody(Loan(connection, settle), first)
        return True

    async def _read_response(
        self,
        method: str,
        response: httpcore.Response,
        head: ResponseReceived,
        connection: httpcore.AsyncConnectionInterface,
    ) -> bool:
        """Pass the response on; say whether its framing marks its end."""
        fields = dict(head.headers)
        body = response.aiter_stream()
        try:
            decoder = build_decoder(fields.get("content-encoding", ""))
            await self._mailbox.put(head)
            async for data in body:
                for piece in decoder.decode(data):
                    if piece:  # empty frames are no progress, and may come for ever
                        await self._mailbox.put(DataReceived(piece))
        except BaseException:
            await self._upstream.drop(connection)
            await self._exhaust(body)
            raise
        await response.aclose()
        decoder.finish()
        return is_framed(method, response, fields)

    async def _exhaust(self, body: AsyncIterator[bytes]) -> None:
        """Run the generators of a body whose connection is closed to their end.

        They are nested three deep, and closing the outer one would leave the inner ones to the
        garbage collector, which cannot run them.
        """
        with self._upstream.brief():
            with contextlib.suppress(Exception):
                async for _ in body:
                    pass
