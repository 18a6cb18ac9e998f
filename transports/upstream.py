"""Upstream calls: httpcore, in tasks. Only this file and its like know httpcore.

Every call has a connection to itself and a task that reads from it; the exchange's task waits for
what the reader found, so that a wait can end by its deadline without harming the response (httpcore
gives a response up when a read of it is cancelled). Between the two stands a mailbox for one event:
who does not take, holds the reader back, and by that the far end.

Connections that are left clean go to a free list and are used again. One object for each call keeps
the cost of a call the same however many are under way; a shared pool looks at all of its
connections for every request that comes or goes. Where every user brings a cookie of their own, a
connection is used again with the same cookies only: a far end that answers one call with the rest
of the answer to another then does so to the user who asked for both.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias
from urllib.parse import unquote

import attrs
import certifi
import httpcore

from grokproto.commands import UpstreamRequest
from grokproto.events import (
    DataReceived,
    EndOfMessage,
    RequestFailed,
    ResponseReceived,
    TimedOut,
)

from .codings import CodingError, build_decoder
from .loops import NOBODY, Loop, Mailbox, Nursery, Scope, TaskStatus
from .trio_loop import TRIO

_KEEPALIVE = 50.0
"""Seconds an idle connection is kept; servers close theirs after 60 or more."""
_MAX_IDLE = 64
"""Idle connections kept for one origin, and the same cookies where these are kept apart."""
MAX_IDLE_OF_ALL = 256
"""Idle connections kept. Each is a descriptor, and users may be many."""
_JANITOR_PAUSE = 10.0
_WRITE_TIMEOUT = 60.0

_CLOSED = "without sending a response"
"""How httpcore tells a connection that was closed before any byte of a response."""

_TIMED_OUT = TimedOut()
_Place: TypeAlias = tuple[str, str]
"""Of free connections: the origin (an `Origin` itself cannot be a key), and the cookies that they
are for, where these are kept apart."""
_Found = ResponseReceived | DataReceived | EndOfMessage | RequestFailed


@attrs.frozen
class UpstreamConfig:
    """How far ends are reached. Times in seconds."""

    proxy: str | None = attrs.field(default=None, repr=False)
    """http, https, socks5 or socks5h address, perhaps with user and password."""

    connect_timeout: float = 10.0
    apart: bool = False
    """Use a connection again only with the same cookies."""


@attrs.frozen
class Fetched:
    """A whole response."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


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
        self._config = config
        self.loop = loop
        self.on_error = on_error
        """Told of an exception that nobody expected; it costs the call, not the server."""
        context = ssl.create_default_context()  # the system's, and those of SSL_CERT_FILE
        context.load_verify_locations(certifi.where())
        proxy = _build_proxy(config.proxy, context) if config.proxy else None
        self._factory = httpcore.AsyncConnectionPool(
            ssl_context=context, proxy=proxy, keepalive_expiry=_KEEPALIVE, http2=True
        )
        self._plain_factory = httpcore.AsyncConnectionPool(
            keepalive_expiry=_KEEPALIVE, network_backend=loop.make_plain_backend()
        )
        self._idle: dict[_Place, list[httpcore.AsyncConnectionInterface]] = {}
        """Free connections."""
        self._nursery: Nursery | None = None
        self._mailroom = loop.open_mailroom()
        self.open_calls = 0
        """Calls under way, for people who watch."""

    async def run(self, *, task_status: TaskStatus = NOBODY) -> None:
        """Carry the calls; ends when cancelled."""
        try:
            async with self.loop.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._mailroom.run)
                task_status.started()
                await self._sweep()
        finally:
            self._nursery = None
            with self.brief():
                await self._close_idle(lambda _: True)

    def call(self, request: UpstreamRequest) -> UpstreamCall:
        """Begin a call. Whoever does sees to it that it is closed."""
        assert self._nursery is not None, "Upstream.run is not running"
        call = UpstreamCall(self, request)
        self._nursery.start_soon(call.run)
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
        closing: list[httpcore.AsyncConnectionInterface] = []
        for place, connections in list(self._idle.items()):
            closing += [each for each in connections if wanted(each)]
            self._idle[place] = [each for each in connections if each not in closing]
            if not self._idle[place]:
                del self._idle[place]
        for each in closing:
            await self.drop(each)

    def find_place(self, request: UpstreamRequest, origin: httpcore.Origin) -> _Place:
        """Where the connections stand that a request may use."""
        cookies = dict(request.headers).get("cookie", "") if self._config.apart else ""
        return str(origin), cookies

    async def take(self, place: _Place) -> httpcore.AsyncConnectionInterface | None:
        """An idle connection that is still good, if there is one."""
        while idle := self._idle.get(place):  # another list, perhaps, after each wait
            connection = idle.pop()
            if connection.is_available() and not connection.has_expired():
                return connection
            await self.drop(connection)
        return None

    def connect(self, origin: httpcore.Origin) -> httpcore.AsyncConnectionInterface:
        """A connection that is not open yet."""
        plain = origin.scheme == b"http" and self._config.proxy is None
        return (self._plain_factory if plain else self._factory).create_connection(origin)

    async def give_back(self, place: _Place, connection: httpcore.AsyncConnectionInterface) -> None:
        """Keep a connection for another call, if it is fit for that."""
        idle = self._idle.get(place, [])
        if (
            connection.is_idle()
            and connection.is_available()
            and len(idle) < _MAX_IDLE
            and sum(map(len, self._idle.values())) < MAX_IDLE_OF_ALL
        ):
            idle.append(connection)
            self._idle[place] = idle
        else:
            await connection.aclose()

    def open_mailbox(self) -> Mailbox[Any]:
        """For a call."""
        return self._mailroom.open_mailbox()

    def brief(self) -> Scope:
        """A scope for what must be tidied up, whatever is cancelled, and cannot take long."""
        return self.loop.open_scope(deadline=self.loop.current_time() + 1, shield=True)

    async def drop(self, connection: httpcore.AsyncConnectionInterface | None) -> None:
        """Close a connection that is of no use any more."""
        if connection is not None:
            with self.brief():
                with contextlib.suppress(Exception):  # it is broken as it is
                    await connection.aclose()

    @property
    def connect_timeout(self) -> float:
        """Seconds."""
        return self._config.connect_timeout


class UpstreamCall:
    """One call: a reader task, and the mailbox of whoever waits for it."""

    def __init__(self, upstream: Upstream, request: UpstreamRequest) -> None:
        self._upstream = upstream
        self._request = request
        self._scope = upstream.loop.open_scope()
        self._mailbox: Mailbox[_Found] = upstream.open_mailbox()

    async def receive(self, deadline: float) -> _Found | TimedOut:
        """What comes next, or `TimedOut` at `deadline` (the loop's clock); then ask again."""
        return await self._mailbox.take(deadline) or _TIMED_OUT

    def close(self) -> None:
        """Give the call up. Its connection is closed by its own task."""
        self._scope.cancel()

    async def run(self) -> None:
        """Make the request and read the response; a task of `Upstream`."""
        self._upstream.open_calls += 1
        try:
            with self._scope:
                event = await self._read()
                await self._mailbox.put(event)
        finally:
            self._upstream.open_calls -= 1

    async def _read(self) -> EndOfMessage | RequestFailed:
        """Everything up to the last event, which is given back."""
        sent = False
        connection: httpcore.AsyncConnectionInterface | None = None
        try:
            url = httpcore.URL(self._request.url)  # it may have been Grok that chose it
            place = self._upstream.find_place(self._request, url.origin)
            connection = await self._upstream.take(place)
            reused = connection is not None
            while True:
                if connection is None:
                    connection = self._upstream.connect(url.origin)
                try:
                    response = await connection.handle_async_request(self._build(url))
                    break
                except httpcore.NetworkError as exc:
                    sent = not isinstance(exc, httpcore.ConnectError)
                    raise
                except httpcore.RemoteProtocolError as exc:
                    sent = True
                    if not (reused and _CLOSED in str(exc)):
                        raise
                    # The far end closed a kept connection in good order, and the request crossed
                    # with that: it was not read. A reset is no such sign, and is not tried again.
                    await connection.aclose()
                    connection, reused = None, False
                except httpcore.ConnectionNotAvailable:
                    await connection.aclose()
                    connection, reused = None, False
            sent = True
            framed = await self._read_response(response, connection)
            await self._upstream.give_back(place, connection)
            return EndOfMessage(framed)
        except _FAULTS as exc:
            await self._upstream.drop(connection)
            return RequestFailed(_tell(exc), sent=sent)
        except Exception as exc:
            self._upstream.on_error(exc)
            await self._upstream.drop(connection)
            return RequestFailed("a mistake of this server's, which its log tells", sent=sent)
        except BaseException:
            await self._upstream.drop(connection)
            raise

    def _build(self, url: httpcore.URL) -> httpcore.Request:
        request = self._request
        headers = [(b"host", _host(url))]
        headers += [(n.encode("ascii"), v.encode("latin-1")) for n, v in request.headers]
        if request.body or request.method not in ("GET", "HEAD"):
            headers.append((b"content-length", str(len(request.body)).encode()))
        timeout = {"connect": self._upstream.connect_timeout, "write": _WRITE_TIMEOUT}
        return httpcore.Request(
            request.method,
            url,
            headers=headers,
            content=request.body,
            extensions={"timeout": timeout},
        )

    async def _read_response(
        self, response: httpcore.Response, connection: httpcore.AsyncConnectionInterface
    ) -> bool:
        """Pass the response on; say whether its framing marks its end."""
        headers = tuple(
            (name.decode("latin-1").lower(), value.decode("latin-1"))
            for name, value in response.headers
        )
        fields = dict(headers)
        body = response.aiter_stream()
        try:
            decoder = build_decoder(fields.get("content-encoding", ""))
            await self._mailbox.put(ResponseReceived(response.status, headers))
            async for data in body:
                for piece in decoder.decode(data):
                    await self._mailbox.put(DataReceived(piece))
        except BaseException:
            await self._upstream.drop(connection)
            await self._exhaust(body)
            raise
        await response.aclose()
        decoder.finish()
        return (
            "content-length" in fields
            or "transfer-encoding" in fields
            or response.extensions.get("http_version") == b"HTTP/2"
            or response.status in (204, 304)
            or self._request.method == "HEAD"
        )

    async def _exhaust(self, body: AsyncIterator[bytes]) -> None:
        """Run the generators of a body whose connection is closed to their end.

        They are nested three deep, and closing the outer one would leave the inner ones to the
        garbage collector, which cannot run them.
        """
        with self._upstream.brief():
            with contextlib.suppress(Exception):
                async for _ in body:
                    pass


_FAULTS = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    CodingError,
    ssl.SSLError,
    OSError,
)


def _tell(exc: BaseException) -> str:
    """A fault in a few words."""
    match exc:
        case httpcore.ConnectTimeout():
            return "no connection in time"
        case httpcore.WriteTimeout():
            return "the request could not be sent in time"
        case httpcore.ProxyError():
            return f"the proxy refused: {exc}"
    innermost: BaseException | None = exc
    text = ""
    while innermost is not None:  # httpcore says what kind of fault; what it wraps says which
        text = getattr(innermost, "strerror", None) or str(innermost) or text
        if isinstance(innermost, BaseExceptionGroup):
            innermost = innermost.exceptions[0]
        else:
            innermost = innermost.__cause__ or innermost.__context__
    return " ".join(text.split())[:200] or type(exc).__name__


def _host(url: httpcore.URL) -> bytes:
    default = {b"http": 80, b"https": 443}.get(url.scheme)
    host = b"[%b]" % url.host if b":" in url.host else url.host
    return host if url.port in (None, default) else b"%b:%d" % (host, url.port)


def _build_proxy(address: str, context: ssl.SSLContext) -> httpcore.Proxy:
    url = httpcore.URL(address)
    secure = url.scheme == b"https"
    scheme, rest = address.split("://", 1)
    credentials, _, host = rest.rpartition("@")
    auth: tuple[str, str] | None = None
    if credentials:
        user, _, password = credentials.partition(":")
        auth = (unquote(user), unquote(password))
    return httpcore.Proxy(f"{scheme}://{host}", auth=auth, ssl_context=context if secure else None)
