"""One connection of a client's: HTTP/1.1 by h11. The only file that knows h11.

Two tasks serve a connection. One reads, always: that is how a client that leaves is noticed at
once, whatever its request is waiting for. The other takes requests out of what was read, one after
the other, and lets the handler answer each.

h11 decides everything about the protocol. Only the chunks of a streamed response are framed here,
since framing a chunk is all that is left to do between the head and the end: h11 is given the head
and the end, and it does not count what is in between.
"""

from __future__ import annotations

import email.utils
import functools
import json
import time
from collections.abc import Awaitable, Callable, Iterable

import attrs
import h11
import trio

from .sockets import Transport

_PIPELINE_BYTES = 64 * 1024
"""What is read ahead of a request's turn; then reading pauses."""
_DRAIN_BYTES = 256 * 1024
"""What is read of a body that nobody wanted, to save the connection or the answer."""
_DRAIN_SECONDS = 2.0

Headers = Iterable[tuple[str, str]]


class ClientLeftError(Exception):
    """The client is gone, or does not take what it is sent."""


class BadBodyError(Exception):
    """The body of a request is broken; the text says how."""


class BodyTooLargeError(Exception):
    """The body of a request is longer than its handler takes."""


@attrs.frozen
class ConnectionLimits:
    """What a client may cost. Times are in seconds."""

    header_timeout: float = 10.0
    """For a whole head, from its first byte on."""
    body_timeout: float = 60.0
    """For more of a body."""
    keepalive_timeout: float = 75.0
    """For the first byte of the next request."""
    write_timeout: float = 60.0
    """For the client to take more of a response."""
    max_header_bytes: int = 64 * 1024
    max_connections: int = 10_000


class RequestHeaders:
    """The headers of a request, by lower-case name."""

    def __init__(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        self._items = [(n.decode("ascii").lower(), v.decode("latin-1")) for n, v in items]

    def get(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value for known, value in self._items if known == name), None)

    def get_all(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for known, value in self._items if known == name]

    def items(self) -> list[tuple[str, str]]:
        """All of them, as they came."""
        return list(self._items)


class HTTPRequest:
    """One request, and the way to answer it. Handlers get it; it is good until they return."""

    def __init__(self, connection: _Connection, event: h11.Request) -> None:
        self._connection = connection
        target = event.target.decode("latin-1")
        if target.startswith(("http://", "https://")):  # as it is sent to proxies
            target = "/" + target.split("://", 1)[1].partition("/")[2]
        self.method = event.method.decode("ascii")
        self.path, _, self.query = target.partition("?")
        """As they came, not decoded."""
        self.headers = RequestHeaders(event.headers.raw_items())

    def watch(self, scope: trio.CancelScope) -> None:
        """Cancel `scope` as soon as the client has left; at once if it has already."""
        self._connection.watch(scope)

    def unwatch(self) -> None:
        """Do not cancel it any more."""
        self._connection.watch(None)

    async def receive_body(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            BodyTooLargeError: It is longer than `limit` bytes; it was not read to its end.
            BadBodyError: It is broken, or did not come in time.
            ClientLeftError: The client left in the middle of it.
        """
        length = self.headers.get("content-length")
        if length is not None and int(length) > limit:  # h11 has seen to it that it is a number
            self._connection.closing = True
            raise BodyTooLargeError
        return await self._connection.receive_body(limit)

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole response."""
        framing = [] if status in (204, 304) else [("content-length", str(len(body)))]
        await self._connection.send_head(status, [*headers, *framing], body)
        await self._connection.send_end()

    async def send_response(self, status: int, headers: Headers) -> None:
        """Send the head of a response whose length is not known, or is in `headers`."""
        await self._connection.send_head(status, list(headers))

    async def send_data(self, data: bytes) -> None:
        """Send a piece of the body; return when the client can take more.

        Raises:
            ClientLeftError: It does not, for too long, or it is gone.
        """
        await self._connection.send_data(data)

    async def end_response(self) -> None:
        """End the response."""
        await self._connection.send_end()

    # For a simulator of broken servers.

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are, past all framing. The connection is of no use after that."""
        await self._connection.send_raw(data)

    def abort(self, *, reset: bool = False) -> None:
        """Close the connection here and now."""
        self._connection.abort(reset=reset)


Handler = Callable[[HTTPRequest], Awaitable[None]]
ErrorHook = Callable[[BaseException], None]


def encode_http_error(message: str, code: str, type_: str = "invalid_request_error") -> bytes:
    """An error of HTTP's, in the shape that OpenAI gives errors."""
    error = {"message": message, "type": type_, "param": None, "code": code}
    return json.dumps({"error": error}).encode()


class _Connection:
    def __init__(self, transport: Transport, limits: ConnectionLimits) -> None:
        self._transport = transport
        self._limits = limits
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.max_header_bytes)
        self._inbox = bytearray()
        self._eof = False
        self._news = trio.lowlevel.ParkingLot()
        """Where the task waits that wants to know of more in the inbox."""
        self._room = trio.lowlevel.ParkingLot()
        """Where the reader waits while the inbox is full."""
        self._watching: trio.CancelScope | None = None
        self._chunked = False
        self._silent = False
        """The response has no body, whatever is sent."""
        self._method = b""
        self._head_sent = False
        self._aborted = False
        self.idle = True
        """No request has begun."""
        self.closing = False
        """This request is the last."""

    # Reading

    async def read(self) -> None:
        """Read all the time; a task of its own."""
        while True:
            while len(self._inbox) >= _PIPELINE_BYTES:
                await self._room.park()
            try:
                data = await self._transport.receive()
            except (OSError, trio.ClosedResourceError):
                data = b""
            if not data:
                self._left()
                return
            self._inbox += data
            self._news.unpark_all()

    def _left(self) -> None:
        self._eof = True
        self._news.unpark_all()
        if self._watching is not None:
            self._watching.cancel()

    def watch(self, scope: trio.CancelScope | None) -> None:
        self._watching = scope
        if self._eof and scope is not None:
            scope.cancel()

    async def _feed(self, timeout: float) -> bool:
        """Give h11 what has come, or wait for it; say whether it came in time."""
        if not self._inbox and not self._eof:
            with trio.move_on_after(timeout):
                await self._news.park()
            if not self._inbox and not self._eof:
                return False
        data = bytes(self._inbox)
        self._inbox.clear()
        self._room.unpark_all()
        self._h11.receive_data(data)  # nothing means the end of the stream
        return True

    async def next_request(self) -> HTTPRequest | None:
        """The next request; None when there is none any more."""
        self.idle = True
        deadline = trio.current_time() + self._limits.keepalive_timeout
        while True:
            event = self._h11.next_event()
            if isinstance(event, h11.Request):
                self.idle = False
                self._method = event.method
                if event.http_version not in (b"1.0", b"1.1"):
                    raise h11.RemoteProtocolError(
                        "only HTTP/1.0 and HTTP/1.1 are spoken here", error_status_hint=505
                    )
                names = {name for name, _ in event.headers}
                if {b"content-length", b"transfer-encoding"} <= names:
                    raise h11.RemoteProtocolError(
                        "content-length and transfer-encoding contradict each other"
                    )
                return HTTPRequest(self, event)
            if event is not h11.NEED_DATA:
                return None
            if self.idle and (self._h11.trailing_data[0] or self._inbox):
                self.idle = False
                deadline = trio.current_time() + self._limits.header_timeout
            begun = not self.idle
            if not await self._feed(max(0.0, deadline - trio.current_time())):
                if begun:
                    raise h11.RemoteProtocolError(
                        "the head of the request did not come in time", error_status_hint=408
                    )
                return None

    async def receive_body(self, limit: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while True:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError as exc:
                if self._eof:
                    raise ClientLeftError from exc
                raise BadBodyError(f"The body of the request is broken: {exc}.") from exc
            if isinstance(event, h11.Data):
                size += len(event.data)
                if size > limit:
                    self.closing = True
                    raise BodyTooLargeError
                pieces.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                return b"".join(pieces)
            elif event is h11.NEED_DATA:
                if self._h11.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    await self._send(self._h11.send(go_on))
                if not await self._feed(self._limits.body_timeout):
                    raise BadBodyError("The body of the request did not come in time.")
            else:
                raise ClientLeftError

    # Writing

    async def send_head(
        self, status: int, headers: list[tuple[str, str]], body: bytes = b""
    ) -> None:
        names = {name.lower() for name, _ in headers}
        version = self._h11.their_http_version
        self._silent = self._method == b"HEAD" or status in (204, 304)
        self._chunked = "content-length" not in names and version == b"1.1" and not self._silent
        if self._chunked:
            headers.append(("transfer-encoding", "chunked"))
        if self.closing and "connection" not in names:
            headers.append(("connection", "close"))
        if "date" not in names:
            headers.append(("date", _tell_date(int(time.time()))))
        raw = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
        head = self._h11.send(h11.Response(status_code=status, headers=raw)) or b""
        self._head_sent = True
        await self._send(head + self._frame(body))

    async def send_data(self, data: bytes) -> None:
        framed = self._frame(data)
        if framed:
            await self._send(framed)

    async def send_end(self) -> None:
        await self._send(self._h11.send(h11.EndOfMessage()))

    def _frame(self, data: bytes) -> bytes:
        if not data or self._silent:
            return b""
        if self._chunked:
            return b"%x\r\n%b\r\n" % (len(data), data)
        return self._h11.send(h11.Data(data=data)) or b""

    async def send_raw(self, data: bytes) -> None:
        self.closing = True
        await self._send(data)

    async def _send(self, data: bytes | None) -> None:
        if not data:
            return
        try:
            sent = self._transport.try_send(data)
            if sent < len(data):
                await self._send_rest(memoryview(data)[sent:])
        except (OSError, trio.ClosedResourceError) as exc:
            self._left()
            raise ClientLeftError from exc

    async def _send_rest(self, data: memoryview) -> None:
        while data:
            with trio.move_on_after(self._limits.write_timeout) as scope:
                await self._transport.wait_writable()
            if scope.cancelled_caught:
                self._left()
                self.abort(reset=True)
                raise ClientLeftError
            data = data[self._transport.try_send(data) :]

    # Endings

    @property
    def head_sent(self) -> bool:
        return self._head_sent

    async def refuse(self, exc: h11.RemoteProtocolError) -> None:
        """Say what is wrong with a request that is none."""
        status = exc.error_status_hint
        body = encode_http_error(f"The request is not proper HTTP: {exc}.", "bad_http")
        await self.give_up(status, body)

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
        await self.send_head(status, headers, body)
        await self.send_end()

    async def finish_request(self) -> bool:
        """Leave a request behind; say whether there may be another one."""
        self._watching = None
        if self._aborted or self._eof:
            return False
        if self._h11.our_state not in (h11.DONE, h11.MUST_CLOSE):
            self._aborted = True  # the handler left the response open: nobody may take it for whole
            return False
        if self.closing or self._h11.our_state is h11.MUST_CLOSE:
            return False
        if not await self._drain_body():
            return False
        self._h11.start_next_cycle()
        self._head_sent = False
        return True

    async def _drain_body(self) -> bool:
        """Read what is left of the request's body, if that is not much."""
        left = _DRAIN_BYTES
        with trio.move_on_after(_DRAIN_SECONDS):
            while self._h11.their_state is h11.SEND_BODY:
                if self._h11.they_are_waiting_for_100_continue:
                    return False
                try:
                    event = self._h11.next_event()
                except h11.RemoteProtocolError:
                    return False
                if isinstance(event, h11.Data):
                    left -= len(event.data)
                    if left < 0:
                        return False
                elif event is h11.NEED_DATA:
                    if self._eof or not await self._feed(_DRAIN_SECONDS):
                        return False
        return self._h11.their_state is h11.DONE

    async def close(self) -> None:
        """Close so that the client gets the last response even if it is still sending."""
        if self._aborted:
            self.abort(reset=True)
            return
        if not self._eof:
            self._transport.end()
            left = _DRAIN_BYTES
            with trio.move_on_after(_DRAIN_SECONDS):
                while not self._eof and left > 0:
                    left -= len(self._inbox)
                    self._inbox.clear()
                    self._room.unpark_all()
                    await self._news.park()
        self._transport.close()

    def abort(self, *, reset: bool = False) -> None:
        self._aborted = True
        self._left()
        self._transport.close(reset=reset)


@functools.lru_cache(maxsize=2)
def _tell_date(second: int) -> str:
    return email.utils.formatdate(second, usegmt=True)


async def _serve_requests(connection: _Connection, handler: Handler, on_error: ErrorHook) -> None:
    while True:
        try:
            request = await connection.next_request()
        except h11.RemoteProtocolError as exc:
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
        self._open: set[tuple[_Connection, trio.CancelScope]] = set()
        self._stopping = False

    def __len__(self) -> int:
        return len(self._open)

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
        connection = _Connection(transport, limits)
        connection.closing = self._stopping
        try:
            async with trio.open_nursery() as nursery:
                entry = (connection, nursery.cancel_scope)
                self._open.add(entry)
                nursery.start_soon(connection.read)
                try:
                    await _serve_requests(connection, handler, on_error)
                    await connection.close()
                except ClientLeftError:
                    pass  # it left while it was told what is wrong
                finally:
                    self._open.discard(entry)
                nursery.cancel_scope.cancel()
        except Exception as exc:  # a mistake of ours costs this connection, and no other
            on_error(exc)
        finally:
            transport.close()
