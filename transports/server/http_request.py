"""Requests as handlers get them, and what a client may cost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import attrs

from ..loops import Cancellable
from .errors import BadBodyError, BodyTooLargeError
from .heads import split_target

Headers = Iterable[tuple[str, str]]

_LONGEST_NUMBER = 18
"""Digits; what has more is longer than anybody allows, and may be more than Python reads."""


def check_length(text: str, limit: int) -> int:
    """The length of a body by its header, which a foreign server may pass on unread.

    Raises:
        BadBodyError: It is no length.
        BodyTooLargeError: It is more than `limit` bytes.
    """
    digits = text.strip(" \t")
    if not (digits.isascii() and digits.isdecimal()):  # `int` would take `+5` and `1_0`
        raise BadBodyError("The body of the request is broken: its length is no number.")
    digits = digits.lstrip("0") or "0"
    if len(digits) > _LONGEST_NUMBER or int(digits) > limit:
        raise BodyTooLargeError
    return int(digits)


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
        # Not all servers see to it that names are ASCII; one that is not is nobody's here.
        self._items = [(n.decode("latin-1").lower(), v.decode("latin-1")) for n, v in items]

    def get(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value for known, value in self._items if known == name), None)

    def as_dict(self) -> dict[str, str]:
        """The first value of each."""
        return dict(reversed(self._items))

    def get_all(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for known, value in self._items if known == name]

    def items(self) -> list[tuple[str, str]]:
        """All of them, as they came."""
        return list(self._items)


class Responder(Protocol):
    """The connection that a request came by, as far as the request needs it."""

    closing: bool
    """This request is the last."""

    def watch(self, scope: Cancellable | None) -> None:
        """Cancel `scope` as soon as the client has left; None ends that."""
        ...

    async def receive_body(self, limit: int) -> bytes:
        """See `HTTPRequest`; as the others."""
        ...

    def put_head(self, status: int, headers: list[tuple[str, str]]) -> None: ...

    def put_data(self, data: bytes) -> None: ...

    def put_end(self) -> None: ...

    def put_raw(self, data: bytes) -> None: ...

    @property
    def flush(self) -> Callable[[], bool]: ...

    async def drain(self) -> None: ...

    def cut(self) -> None:
        """Whoever was sending has gone; what is unsent must not be taken for whole."""
        ...

    def abort(self, *, reset: bool = False) -> None: ...


class HTTPRequest:
    """One request, and the way to answer it. Handlers get it; it is good until they return."""

    def __init__(
        self, connection: Responder, method: str, target: str, headers: RequestHeaders
    ) -> None:
        self._connection = connection
        self.method = method
        self.path, self.query = split_target(method, target)
        """As they came, not decoded."""
        self.headers = headers
        # Nothing is to be done about these here, and each token passes them.
        self.put_data: Callable[[bytes], None] = connection.put_data
        """See `send_data`."""
        self.flush: Callable[[], bool] = connection.flush
        """Send what can be sent at once; say whether that was all. Raises `ClientLeftError` where
        the client is gone."""

    def watch(self, scope: Cancellable) -> None:
        """Cancel `scope` as soon as the client has left; at once if it has already.

        The body comes first: of what the client sends from now on only so much is kept.
        """
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
            StoppingError: The server stops, and does not wait for the rest of it.
        """
        length = self.headers.get("content-length")
        if length is not None and int(length) > limit:  # h11 has seen to it that it is a number
            self._connection.closing = True
            raise BodyTooLargeError
        return await self._connection.receive_body(limit)

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole response."""
        framing = [] if status in (204, 304) else [("content-length", str(len(body)))]
        self.put_head(status, [*headers, *framing])
        self.put_data(body)
        self.put_end()
        await self.drain()

    async def send_response(self, status: int, headers: Headers) -> None:
        """Send the head of a response whose length is not known, or is in `headers`."""
        self.put_head(status, headers)
        await self._send()

    async def send_data(self, data: bytes) -> None:
        """Send a piece of the body; return when the client can take more.

        If it is cancelled, nothing can be sent any more.

        Raises:
            ClientLeftError: It does not, for too long, or it is gone.
        """
        self.put_data(data)
        await self._send()

    async def end_response(self) -> None:
        """End the response."""
        self.put_end()
        await self._send()

    async def _send(self) -> None:
        try:
            await self.drain()
        except BaseException:  # whoever is cancelled here does not know what has gone out
            self._connection.cut()
            raise

    # The same, for those who gather what they send (see `drive.Client`).

    def put_head(self, status: int, headers: Headers) -> None:
        """See `send_response`; it goes out with the next `flush` or `drain`."""
        self._connection.put_head(status, list(headers))

    def put_end(self) -> None:
        """See `end_response`."""
        self._connection.put_end()

    async def drain(self) -> None:
        """Send all there is; return when the client can take more.

        Raises:
            ClientLeftError: It does not, for too long, or it is gone.
        """
        await self._connection.drain()

    # For a simulator of broken servers.

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are, past all framing. The connection is of no use after that."""
        self._connection.put_raw(data)
        await self._connection.drain()

    def abort(self, *, reset: bool = False) -> None:
        """Close the connection here and now."""
        self._connection.abort(reset=reset)


Handler = Callable[[HTTPRequest], Awaitable[None]]
ErrorHook = Callable[[BaseException], None]
