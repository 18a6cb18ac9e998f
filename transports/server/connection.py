"""One connection of a client's: HTTP/1.1 by h11. The only file that knows h11.

What a client sends is read as it comes, whatever its request is waiting for: that is how a client
that leaves is noticed at once. A task takes requests out of what was read, one after the other, and
lets the handler answer each. A client that ends its side has left, for whoever watches; what it
sent before is answered all the same.

h11 decides everything about the protocol. Only the chunks of a streamed response are framed here,
since framing a chunk is all that is left to do between the head and the end: h11 is given the head
and the end, and it does not count what is in between. Of the head it is given what says how the
body is framed; the other fields are put in beside that.
"""

from __future__ import annotations

import email.utils
import functools
import time

import h11
import trio

from ..loops import Scope
from ..loops.sockets import Transport
from .heads import HeadFinder, MalformedRequestError
from .http_request import (
    BadBodyError,
    BodyTooLargeError,
    ClientLeftError,
    ConnectionLimits,
    ErrorHook,
    Handler,
    Headers,
    HTTPRequest,
    RequestHeaders,
    encode_http_error,
)
from .outbox import Outbox

__all__ = [
    "BadBodyError",
    "BodyTooLargeError",
    "ClientLeftError",
    "ConnectionLimits",
    "Connections",
    "ErrorHook",
    "HTTPRequest",
    "Handler",
    "Headers",
    "encode_http_error",
]

_PIPELINE_BYTES = 64 * 1024
"""What is read ahead of a request's turn; then reading pauses."""
_DRAIN_BYTES = 256 * 1024
"""What is read of a body that nobody wanted, to save the connection or the answer."""
_DRAIN_SECONDS = 2.0
_LINGER_SECONDS = 0.5
"""What a client gets to close its end when it has sent nothing that was not read."""
_FEED_BYTES = 8 * 1024
"""What h11 gets of a body at a time: with tiny chunks that keeps it busy for long enough."""
_MAX_CHUNK_LINE = 16 * 1024
"""And as much for trailers. A line is refused for its length only where it comes in pieces, since
h11 counts what is incomplete; it gets no more than `_FEED_BYTES` in one."""
_END_OF_CHUNKS = b"\r\n\r\n"
_FRAMING = frozenset({"content-length", "transfer-encoding", "connection", "upgrade"})
"""Headers of a response that h11 wants to see. The others mean nothing to it but work."""


class Connection:
    """One connection, from its first byte to its last."""

    def __init__(self, transport: Transport, limits: ConnectionLimits) -> None:
        self._transport = transport
        self._limits = limits
        self._h11 = self._start_cycle()
        self._inbox = bytearray()
        self._inbox_size = max(_PIPELINE_BYTES, limits.max_header_bytes)
        self._eof = False
        self._news = trio.lowlevel.ParkingLot()
        """Where the task waits that wants to know of more in the inbox."""
        self._reading = False
        self._watching: Scope | None = None
        self._aborted = False
        self._outbox = Outbox(transport, limits.write_timeout, self._left)
        self.idle = True
        """No request has begun."""
        self.closing = False
        """This request is the last."""

    def _start_cycle(self) -> h11.Connection:
        """Begin a request with an h11 of its own.

        So h11 never has more than one request: what it did not need of the last read comes back to
        the inbox, and every head passes the inbox, where it is looked at first.
        """
        self._method = b""
        self._chunked = False
        self._silent = False
        """The response has no body, whatever is sent."""
        self._head_sent = False
        self._body_is_chunked = False
        self._is_bodiless = False
        """The request has no body, not even an empty one."""
        self._fed = b""
        """The last bytes that h11 got of a body."""
        return h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_CHUNK_LINE)

    # Reading

    def read(self) -> None:
        """Read from now on, as long as there is room for it."""
        if not (self._reading or self._eof):
            self._reading = True
            self._transport.watch(self._receive)

    def _receive(self) -> None:
        try:
            data = self._transport.try_receive()
        except OSError:
            data = b""
        if data:
            self._inbox += data
            self._news.unpark_all()
            if len(self._inbox) >= self._inbox_size:
                self._pause()
        elif data is not None:
            self._left()

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._transport.unwatch()

    def _left(self) -> None:
        self._pause()
        self._eof = True
        self._news.unpark_all()
        if self._watching is not None:
            self._watching.cancel()

    def watch(self, scope: Scope | None) -> None:
        self._watching = scope
        if self._eof and scope is not None:
            scope.cancel()

    async def _wait_for_news(self, deadline: float) -> bool:
        """Wait for more in the inbox, or for the end; say whether there was any."""
        with trio.move_on_at(deadline) as scope:
            await self._news.park()
        return not scope.cancelled_caught

    def _take(self, size: int) -> bytes:
        data = bytes(self._inbox[:size])
        del self._inbox[:size]
        if len(self._inbox) < self._inbox_size:
            self.read()
        return data

    async def next_request(self) -> HTTPRequest | None:
        """The next request; None when there is none any more.

        Raises:
            MalformedRequestError: What came is none.
        """
        self._h11 = self._start_cycle()
        return self._parse_head(head) if (head := await self._receive_head()) else None

    async def _receive_head(self) -> bytes:
        """A whole head; nothing when there is none any more."""
        self.idle = True
        deadline = trio.current_time() + self._limits.keepalive_timeout
        finder = HeadFinder(self._limits.max_header_bytes)
        may_be_empty = True
        while True:
            if self._inbox and self.idle:
                self.idle = False
                deadline = trio.current_time() + self._limits.header_timeout
            if may_be_empty and self._inbox.startswith(b"\r\n"):
                may_be_empty = False  # some clients end a body with a line more than they announced
                self._take(2)
            size = finder.find(self._inbox)
            if size:
                return self._take(size)
            if self._eof:
                if self._inbox:
                    raise MalformedRequestError("it ends in the middle of its head")
                return b""
            if not await self._wait_for_news(deadline):
                if self._inbox:
                    raise MalformedRequestError("its head did not come in time", 408)
                return b""

    def _parse_head(self, head: bytes) -> HTTPRequest:
        self._h11.receive_data(head)
        try:
            event = self._h11.next_event()
        except h11.RemoteProtocolError as exc:
            if exc.error_status_hint == 501:  # it is the client's fault, and no 5xx to try again
                raise MalformedRequestError("its transfer-encoding must be chunked") from None
            raise MalformedRequestError(_tell(exc), exc.error_status_hint) from None
        assert isinstance(event, h11.Request)
        self._method = event.method
        names = {name for name, _ in event.headers}
        self._is_bodiless = not names & {b"transfer-encoding", b"content-length"}
        if b"transfer-encoding" in names:
            self._body_is_chunked = True
            if b"content-length" in names:
                raise MalformedRequestError("it has a content-length and a transfer-encoding")
            if event.http_version == b"1.0":
                raise MalformedRequestError("HTTP/1.0 has no transfer-encoding")
        return HTTPRequest(
            self,
            event.method.decode("ascii"),
            event.target.decode("ascii"),
            RequestHeaders(event.headers.raw_items()),
        )

    async def receive_body(self, limit: int) -> bytes:
        body = bytearray()
        while (piece := await self._receive_piece()) is not None:
            body += piece
            if len(body) > limit:
                self.closing = True
                raise BodyTooLargeError
        return bytes(body)

    async def _receive_piece(self) -> bytes | None:
        """More of the body; None at its end, and after it."""
        while self._h11.their_state is h11.SEND_BODY:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError as exc:
                raise self._refuse_body(_tell(exc)) from None
            if isinstance(event, h11.Data):
                return event.data
            if isinstance(event, h11.EndOfMessage):
                self._take_back()
            else:
                await self._feed()
        return None

    async def _feed(self) -> None:
        """Give h11 more of the body."""
        if self._inbox:
            if self._fed:
                await trio.lowlevel.checkpoint()  # a body that is here must not hold up others
        else:
            if self._h11.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                self._outbox.put(self._h11.send(go_on) or b"")
                await self._outbox.drain()
            deadline = trio.current_time() + self._limits.body_timeout
            if not self._inbox and not self._eof and not await self._wait_for_news(deadline):
                raise self._refuse_body("it did not come in time")
            if not self._inbox:
                raise ClientLeftError
        data = self._take(_FEED_BYTES)
        self._fed = self._fed[-len(_END_OF_CHUNKS) :] + data
        self._h11.receive_data(data)

    def _take_back(self) -> None:
        """The body has ended: take what is behind it, for the next request."""
        rest, _ = self._h11.trailing_data
        if self._body_is_chunked:
            # h11 lets the trailers end with a bare LF. Others do not, and what we would take for
            # the next request would be a trailer to them.
            body_end = self._fed[: len(self._fed) - len(rest)]
            if not body_end.endswith(_END_OF_CHUNKS):
                raise self._refuse_body("lines must end with CR LF")
        self._inbox[:0] = rest

    def _refuse_body(self, reason: str) -> BadBodyError:
        self.closing = True
        return BadBodyError(f"The body of the request is broken: {reason}.")

    # Writing

    def put_head(self, status: int, headers: list[tuple[str, str]]) -> None:
        framing: list[tuple[str, str]] = []
        others: list[str] = []
        names: set[str] = set()
        for name, value in headers:
            lower = name.lower()
            names.add(lower)
            if lower in _FRAMING:
                framing.append((name, value))
            else:
                others.append(f"{name}: {value}\r\n")
        version = self._h11.their_http_version
        if self._h11.they_are_waiting_for_100_continue:
            self.closing = True  # nobody knows now whether the body will come
        self._silent = self._method == b"HEAD" or status in (204, 304)
        self._chunked = "content-length" not in names and version == b"1.1" and not self._silent
        if self._chunked:
            framing.append(("transfer-encoding", "chunked"))
        if self.closing and "connection" not in names:
            framing.append(("connection", "close"))
        if "date" not in names:
            others.append(_tell_date(int(time.time())))
        head = self._h11.send(h11.Response(status_code=status, headers=framing)) or b""
        self._head_sent = True
        self._outbox.put(head[:-2] + _encode_fields(others) + b"\r\n")

    def put_data(self, data: bytes) -> None:
        if not data or self._silent:
            return
        if self._chunked:
            self._outbox.put(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self._outbox.put(self._h11.send(h11.Data(data=data)) or b"")

    def put_end(self) -> None:
        self._outbox.put(self._h11.send(h11.EndOfMessage()) or b"")
        self._chunked = False  # if more comes all the same, h11 is asked, and refuses it

    def put_raw(self, data: bytes) -> None:
        self.closing = True
        self._outbox.put(data)

    def flush(self) -> bool:
        return self._outbox.flush()

    async def drain(self) -> None:
        await self._outbox.drain()

    # Endings

    def cut(self) -> None:
        """Whoever was sending has gone; if something is unsent, it must not be taken for whole."""
        if self._outbox:
            self._outbox.closed = True

    @property
    def head_sent(self) -> bool:
        return self._head_sent

    async def refuse(self, exc: MalformedRequestError) -> None:
        """Say what is wrong with a request that is none."""
        body = encode_http_error(f"The request is not proper HTTP: {exc}.", "bad_http")
        await self.give_up(exc.status, body)

    async def give_up(self, status: int, body: bytes) -> None:
        """Answer with an error, if that can still be done, and be done with the connection."""
        self.closing = True
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        self.put_head(status, headers)
        self.put_data(body)
        self.put_end()
        await self.drain()

    async def finish_request(self) -> bool:
        """Leave a request behind; say whether there may be another one."""
        self._watching = None
        if self._h11.our_state not in (h11.DONE, h11.MUST_CLOSE):
            self._aborted = True  # the handler left the response open: nobody may take it for whole
        if self._outbox or self._outbox.closed:
            self._aborted = True  # it has got a part of something
        if self._aborted or self.closing or self._h11.our_state is h11.MUST_CLOSE:
            return False
        return await self._drain_body()

    async def _drain_body(self) -> bool:
        """Read what is left of the request's body, if that is not much."""
        if self._h11.their_state is h11.DONE:
            return True
        left = _DRAIN_BYTES
        with trio.move_on_after(_DRAIN_SECONDS):
            try:
                while (piece := await self._receive_piece()) is not None:
                    left -= len(piece)
                    if left < 0:
                        return False
            except BadBodyError:
                return False
        return self._h11.their_state is h11.DONE

    async def close(self) -> None:
        """Close so that the client gets the last response even if it is still sending."""
        if self._aborted or self._outbox or self._outbox.closed:
            self.abort(reset=True)
            return
        if not self._eof:
            self._transport.end()
            left = _DRAIN_BYTES
            is_read = self._is_bodiless or self._h11.their_state in (h11.DONE, h11.MUST_CLOSE)
            seconds = _LINGER_SECONDS if is_read and not self._inbox else _DRAIN_SECONDS
            with trio.move_on_after(seconds):
                while not self._eof and left > 0:
                    left -= len(self._inbox)
                    self._inbox.clear()
                    self.read()
                    await self._news.park()
        self._transport.close()

    def abort(self, *, reset: bool = False) -> None:
        self._aborted = True
        self._outbox.closed = True
        self._left()
        self._transport.close(reset=reset)


def _tell(exc: h11.RemoteProtocolError) -> str:
    """What h11 has to say, less what it repeats of the request behind a colon."""
    return str(exc).partition(": ")[0]


@functools.lru_cache(maxsize=2)
def _tell_date(second: int) -> str:
    return f"date: {email.utils.formatdate(second, usegmt=True)}\r\n"


def _encode_fields(lines: list[str]) -> bytes:
    """Lines of a head that have nothing to do with its framing, each with its end."""
    fields = "".join(lines)
    if fields.count("\r") != len(lines) or fields.count("\n") != len(lines) or "\0" in fields:
        raise ValueError("a header holds what would end it")
    return fields.encode("latin-1")


async def _serve_requests(connection: Connection, handler: Handler, on_error: ErrorHook) -> None:
    while True:
        try:
            request = await connection.next_request()
        except MalformedRequestError as exc:
            await connection.refuse(exc)
            return
        if request is None:
            return
        try:
            await handler(request)
        except ClientLeftError:
            return
        except Exception as exc:  # whatever a handler does, the client gets an end it can read
            on_error(exc)
            if connection.head_sent:
                connection.abort(reset=True)
                return
            message = "The server has made a mistake; its log says which."
            body = encode_http_error(message, "internal_error", "server_error")
            await connection.give_up(500, body)
            return
        if not await connection.finish_request():
            return


class Connections:
    """The connections that are open, so that a server that stops can see them off."""

    def __init__(self) -> None:
        self._open: set[tuple[Connection, trio.CancelScope]] = set()
        self._stopping = False
        self._changed = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._open)

    async def wait_for_none(self) -> None:
        """Wait until the last one is closed."""
        while self._open:
            await self._changed.park()

    def stop(self) -> None:
        """Close those that are idle; let the others finish what they are at."""
        self._stopping = True
        for connection, scope in list(self._open):
            connection.closing = True
            if connection.idle:
                scope.cancel()

    async def serve(
        self,
        transport: Transport,
        handler: Handler,
        limits: ConnectionLimits,
        on_error: ErrorHook,
    ) -> None:
        """Serve one connection to its end. `transport` is closed afterwards."""
        connection = Connection(transport, limits)
        connection.closing = self._stopping
        scope = trio.CancelScope()
        entry = (connection, scope)
        self._open.add(entry)
        try:
            connection.read()
            with scope:
                await _serve_requests(connection, handler, on_error)
                await connection.close()
        except ClientLeftError:
            pass  # it left while it was told what is wrong
        except Exception as exc:  # a mistake of ours costs this connection, and no other
            on_error(exc)
        finally:
            self._open.discard(entry)
            self._changed.unpark_all()
            transport.close()
