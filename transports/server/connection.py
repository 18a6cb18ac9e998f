"""One connection of a client's: HTTP/1.1 by h11. The only file that knows h11.

What a client sends is read as it comes (`Inbox`), and a task takes requests out of that, one after
the other (`connections`). A client that ends its side has left, for whoever watches: a conversation
is broken off then and the connection reset, since such a client looks like one that is gone. What
nobody watches for, because it is answered at once, is answered all the same.

h11 decides everything about the protocol. Only the chunks of a streamed response are framed here,
since framing a chunk is all that is left to do between the head and the end: h11 is given the head
and the end, and it does not count what is in between. Of the head it is given what says how the
body is framed; the other fields are put in beside that.
"""

from __future__ import annotations

import email.utils
import functools
import math
import time

import h11
import trio

from ..loops import Cancellable
from ..loops.sockets import Transport
from .errors import (
    BadBodyError,
    BodyTooLargeError,
    ClientLeftError,
    StoppingError,
    encode_http_error,
)
from .heads import HeadFinder, MalformedRequestError, check_host
from .http_request import ConnectionLimits, HTTPRequest, RequestHeaders
from .inbox import Inbox
from .outbox import Outbox

_PIPELINE_BYTES = 64 * 1024
"""What is kept of requests whose turn has not come. A client that sends more while one of its
requests is at work gets the answer to that, and has to send the others again (RFC 9112, 9.3.2)."""
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
        self._inbox = Inbox(transport, max(_PIPELINE_BYTES, limits.max_header_bytes))
        self._aborted = False
        self._outbox = Outbox(transport, limits.write_timeout, self._inbox.end)
        self.flush = self._outbox.flush
        self.idle = True
        """No request has begun."""
        self.closing = False
        """This request is the last."""
        self._last_call = math.inf
        """When what has not come whole is not waited for any more, trio's clock."""

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
        self._inbox.read()

    def watch(self, scope: Cancellable | None) -> None:
        self._inbox.watch(scope)

    def stop(self, last_call: float) -> None:
        """This request is the last, and must have come whole by then."""
        self.closing = True
        self._last_call = last_call
        self._inbox.wake()

    async def next_request(self) -> HTTPRequest | None:
        """The next request; None when there is none any more.

        Raises:
            MalformedRequestError: What came is none.
            StoppingError: Not all of it came before the last call.
        """
        self._h11 = self._start_cycle()
        return self._parse_head(head) if (head := await self._receive_head()) else None

    async def _receive_head(self) -> bytes:
        """A whole head; nothing when there is none any more."""
        self.idle = True
        deadline = trio.current_time() + self._limits.keepalive_timeout
        finder = HeadFinder(self._limits.max_header_bytes)
        inbox = self._inbox
        may_be_empty = True
        while True:
            if inbox.data and self.idle:
                self.idle = False
                deadline = trio.current_time() + self._limits.header_timeout
            if may_be_empty and inbox.data.startswith(b"\r\n"):
                may_be_empty = False  # some clients end a body with a line more than they announced
                inbox.take(2)
            size = finder.find(inbox.data)
            if size:
                return inbox.take(size)
            if inbox.eof:
                if inbox.data:
                    raise MalformedRequestError("it ends in the middle of its head")
                return b""
            if not await inbox.wait_until(min(deadline, self._last_call)):
                if inbox.data and self._is_too_late():
                    raise StoppingError
                if inbox.data:
                    raise MalformedRequestError("its head did not come in time", 408)
                return b""

    def _is_too_late(self) -> bool:
        return trio.current_time() >= self._last_call

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
        names = set()
        for name, value in event.headers:
            names.add(name)
            if name == b"host":
                check_host(value)
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
        inbox = self._inbox
        if inbox.overrun:
            raise RuntimeError("a body has to be read before its client is watched")
        if inbox.data:
            if self._fed:
                await trio.lowlevel.checkpoint()  # a body that is here must not hold up others
        else:
            if self._h11.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                self._outbox.put(self._h11.send(go_on) or b"")
                await self._outbox.drain()
            deadline = trio.current_time() + self._limits.body_timeout
            while not inbox.data and not inbox.eof:
                if not await inbox.wait_until(min(deadline, self._last_call)):
                    if self._is_too_late():
                        raise StoppingError
                    raise self._refuse_body("it did not come in time")
            if not inbox.data:
                raise ClientLeftError
        data = inbox.take(_FEED_BYTES)
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
        self._inbox.put_back(rest)

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
        if self._h11.they_are_waiting_for_100_continue or self._inbox.overrun:
            self.closing = True  # nobody knows now whether the body will come, or where it ends
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

    async def send_away(self) -> None:
        """Say that the request has not come whole before the server stopped."""
        message = "This server is stopping; try again in a moment."
        body = encode_http_error(message, "shutting_down", "server_error")
        await self.give_up(503, body)

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
        self._inbox.watch(None)
        if self._h11.our_state not in (h11.DONE, h11.MUST_CLOSE):
            self._aborted = True  # the handler left the response open: nobody may take it for whole
        if self._outbox or self._outbox.closed:
            self._aborted = True  # it has got a part of something
        if self._aborted or self.closing or self._inbox.overrun:
            return False
        if self._h11.our_state is h11.MUST_CLOSE:
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
            except (BadBodyError, StoppingError):
                return False
        return self._h11.their_state is h11.DONE

    async def close(self) -> None:
        """Close so that the client gets the last response even if it is still sending."""
        if self._aborted or self._outbox or self._outbox.closed:
            self.abort(reset=True)
            return
        inbox = self._inbox
        if not inbox.eof:
            self._transport.end()
            left = _DRAIN_BYTES
            is_read = self._is_bodiless or self._h11.their_state in (h11.DONE, h11.MUST_CLOSE)
            is_read = is_read and not inbox.data and not inbox.overrun
            seconds = _LINGER_SECONDS if is_read else _DRAIN_SECONDS
            with trio.move_on_after(seconds):
                while not inbox.eof and left > 0:
                    left -= len(inbox.data)
                    inbox.data.clear()
                    inbox.read()
                    await inbox.wait()
        self._transport.close()

    def abort(self, *, reset: bool = False) -> None:
        self._aborted = True
        self._outbox.closed = True
        self._inbox.end()
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
