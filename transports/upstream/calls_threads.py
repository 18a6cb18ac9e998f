"""Upstream calls for threads: httpcore's blocking API, and a thread that reads for each call.

As with tasks (`upstream`), whoever waits for a call waits for what its reader found, so that a wait
can end while the call goes on. Between the two there is room for one event; a reader that finds it
taken waits, and by that the far end does. What blocks is given up by closing its socket.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import attrs
import httpcore

from grokproto.commands import UpstreamRequest
from grokproto.events import (
    DataReceived,
    EndOfMessage,
    RequestFailed,
    ResponseReceived,
    TimedOut,
)

from ..loops.threads import Handover, InterruptedWaitError, News
from .body import ChunkedBody
from .checked import ThreadedCheckedConnection
from .codings import build_decoder
from .faults import FAULTS, tell_fault, was_unread
from .network_threads import ThreadedWire
from .plain_threads import ThreadedConnection, ThreadedLoan
from .rules import (
    KEEPALIVE,
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

_Found = ResponseReceived | DataReceived | EndOfMessage | RequestFailed


@attrs.frozen(eq=False)
class _Connection:
    """A connection, and its wire. See `rules.Connection`."""

    http: httpcore.ConnectionInterface
    wire: ThreadedWire

    def is_available(self) -> bool:
        return self.http.is_available()

    def is_idle(self) -> bool:
        return self.http.is_idle()

    def has_expired(self) -> bool:
        return self.http.has_expired()


class ThreadedUpstream:
    """The far ends, and the connections to them. Any thread may make calls."""

    def __init__(
        self, config: UpstreamConfig, *, on_error: Callable[[Exception], None] = lambda _: None
    ) -> None:
        self.config = config
        self.on_error = on_error
        """Told of an exception that nobody expected; it costs the call, not the host."""
        self._context = build_context()
        self._proxy = build_proxy(config.proxy, self._context) if config.proxy else None
        self.idle: IdleConnections[_Connection] = IdleConnections(config)
        self._lock = threading.Lock()
        """For the idle connections, and what follows."""
        self._closed = False

    def call(self, request: UpstreamRequest, news: News) -> ThreadedCall:
        """Begin a call. Whoever does sees to it that it is closed.

        Args:
            request: What to send.
            news: Where whoever begins it will wait for it.
        """
        call = ThreadedCall(self, request, news)
        threading.Thread(target=call.run, name="grokproto call", daemon=True).start()
        return call

    def fetch(
        self, request: UpstreamRequest, *, limit: int, timeout: float, news: News
    ) -> Fetched | RequestFailed:
        """Make a call and take its whole response, or as much of it as is wanted.

        Args:
            request: What to send.
            limit: Bytes of the body that are read.
            timeout: Seconds for all of it.
            news: Where to wait for it.

        Raises:
            InterruptedWaitError: See `News.wait_for`.
        """
        deadline = time.monotonic() + timeout
        call = self.call(request, news)
        try:
            head: ResponseReceived | None = None
            body = b""
            while len(body) < limit:
                match call.receive(deadline):
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

    def take(self, place: Place) -> _Connection | None:
        """An idle connection that is still good, if there is one."""
        with self._lock:
            expired = list(self.idle.drain(lambda each: each.has_expired()))
            connection = self.idle.pop(place)
        for each in expired:
            each.http.close()
        return connection

    def connect(self, origin: httpcore.Origin) -> _Connection:
        """A connection that is not open yet."""
        wire = ThreadedWire()
        if origin.scheme == b"http" and self._proxy is None:
            return _Connection(ThreadedConnection(origin, wire.connect_plain), wire)
        factory = httpcore.ConnectionPool(
            ssl_context=self._context,
            proxy=self._proxy,
            keepalive_expiry=KEEPALIVE,
            http2=True,
            network_backend=wire,
        )
        return _Connection(ThreadedCheckedConnection(factory.create_connection(origin)), wire)

    def give_back(self, place: Place, connection: _Connection) -> None:
        """Keep a connection for another call, if it is fit for that."""
        with self._lock:
            kept = not self._closed and self.idle.put(place, connection)
        if not kept:
            connection.http.close()

    def close(self) -> None:
        """Close the connections that nobody uses, and the others as soon as that is so."""
        with self._lock:
            self._closed = True
            idle = list(self.idle.drain(lambda _: True))
        for connection in idle:
            connection.http.close()


class ThreadedCall:
    """One call: a thread that reads, and the room for what it finds."""

    def __init__(self, upstream: ThreadedUpstream, request: UpstreamRequest, news: News) -> None:
        self._upstream = upstream
        self._request = request
        self._found: Handover[_Found] = Handover(news)
        self._lock = threading.Lock()
        """For the two that follow."""
        self._connection: _Connection | None = None
        self._closed = False

    def receive(self, deadline: float) -> _Found | TimedOut:
        """What comes next, or `TimedOut` at `deadline` (`time.monotonic()`); then ask again.

        Raises:
            InterruptedWaitError: See `News.wait_for`.
        """
        return self._found.take(deadline) or TimedOut()

    def close(self) -> None:
        """Give the call up. Its connection is closed by its own thread."""
        self._found.close()
        with self._lock:
            self._closed = True
            if self._connection is not None:
                self._connection.wire.end()

    def run(self) -> None:
        """Make the request and read the response; a thread of its own."""
        try:
            self._found.put(self._read())
        except InterruptedWaitError:
            pass
        finally:
            if self._connection is not None:
                with contextlib.suppress(Exception):  # it is broken as it is
                    self._connection.http.close()

    def _read(self) -> EndOfMessage | RequestFailed:
        """Everything up to the last event, which is given back."""
        sent = False
        try:
            url = parse_url(self._request.url)  # it may have been Grok that chose it
            place = self._upstream.idle.find_place(self._request, url.origin)
            request = build_request(self._request, url, self._upstream.config)
            connection = self._upstream.take(place)
            reused = connection is not None
            while True:
                connection = self._hold(connection or self._upstream.connect(url.origin))
                try:
                    response = connection.http.handle_request(request)
                    break
                except httpcore.NetworkError as exc:
                    sent = not isinstance(exc, httpcore.ConnectError)
                    raise
                except httpcore.RemoteProtocolError as exc:
                    sent = True
                    if not (reused and was_unread(exc, connection.http)):
                        raise
                except httpcore.ConnectionNotAvailable:
                    pass
                connection.http.close()
                connection, reused = None, False
            sent = True
            end = self._read_lent(connection.http, response) or self._read_response(response)
            if isinstance(end, EndOfMessage):
                self._let_go()
                self._upstream.give_back(place, connection)
            return end
        except FAULTS as exc:
            return RequestFailed(tell_fault(exc), sent=sent)
        except InterruptedWaitError:
            raise
        except Exception as exc:
            self._upstream.on_error(exc)
            return RequestFailed("a mistake of this server's, which its log tells", sent=sent)

    def _hold(self, connection: _Connection) -> _Connection:
        """Have a connection, which `close` ends."""
        with self._lock:
            self._connection = connection
            if self._closed:
                connection.wire.end()
        return connection

    def _let_go(self) -> None:
        """Have it no more.

        Raises:
            InterruptedWaitError: `close` has ended it.
        """
        with self._lock:
            if self._closed:
                raise InterruptedWaitError
            self._connection = None

    def _read_lent(
        self, http: httpcore.ConnectionInterface, response: httpcore.Response
    ) -> EndOfMessage | RequestFailed | None:
        """Pass the response on with its body taken off the connection, if that can be done."""
        headers = read_headers(response)
        if not isinstance(http, ThreadedConnection) or "content-encoding" in dict(headers):
            return None
        first = http.lend_body()
        if first is None:
            return None
        body = ChunkedBody(ThreadedLoan(http), first)
        try:
            self._found.put(ResponseReceived(response.status, headers))
            while True:
                while (event := body.next_event()) is not None:
                    if not isinstance(event, DataReceived):
                        return event
                    self._found.put(event)
                body.read()
        finally:
            body.close()

    def _read_response(self, response: httpcore.Response) -> EndOfMessage:
        """Pass the response on."""
        headers = read_headers(response)
        fields = dict(headers)
        decoder = build_decoder(fields.get("content-encoding", ""))
        with contextlib.closing(response):
            self._found.put(ResponseReceived(response.status, headers))
            for data in response.iter_stream():
                for piece in decoder.decode(data):
                    self._found.put(DataReceived(piece))
        decoder.finish()
        return EndOfMessage(is_framed(self._request.method, response, fields))
