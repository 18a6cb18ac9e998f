"""Waiting for a far end, with a deadline, while the client is kept alive."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from ..commands import ReceiveData, ReceiveResponse, SendRequest, UpstreamRequest
from ..events import DataReceived, EndOfMessage, RequestFailed, ResponseReceived, TimedOut
from ..failures import Failure, FailureKind
from ..settings import Settings
from .holdings import Holdings, Steps
from .reply import Reply


class Whole(msgspec.Struct, frozen=True):
    """A whole response."""

    status: int
    headers: dict[str, str]
    body: bytes


class Upstream:
    """The one upstream request that an exchange may have open.

    Failures are given back as values; only the flow knows what they mean. Whoever opens a request
    reads it to its end or closes it, by `Holdings.close`.
    """

    def __init__(self, settings: Settings, holdings: Holdings, reply: Reply) -> None:
        self._settings = settings
        self._holdings = holdings
        self._reply = reply
        self.ends = 0.0
        """When the response that is open must be over; host clock."""
        self._total = 0.0
        """Seconds that it has all in all."""
        self.repeated = False
        """The last call was the second try: a fault of nobody's is worth no third."""

    def open(
        self, request: UpstreamRequest, *, again: bool = False, within: float = math.inf
    ) -> Steps[ResponseReceived | Failure]:
        """Send a request and wait for the head of its response.

        Args:
            request: What to send.
            again: It is a second try.
            within: Seconds for all of the response, where that is less than for others.
        """
        self.repeated = again
        total = self._total = min(self._settings.total_timeout, within)
        timeout = min(self._settings.first_byte_timeout, total)
        deadline = self._holdings.now + timeout
        self.ends = self._holdings.now + total
        self._holdings.request_open = True
        event = yield SendRequest(request, min(deadline, self._reply.next_ping))
        while type(event) is TimedOut:
            if self._holdings.now >= deadline:
                yield from self._holdings.close()
                return _timed_out(f"Grok sent no answer within {timeout:g} seconds")
            yield from self._reply.ping()
            event = yield ReceiveResponse(min(deadline, self._reply.next_ping))
        if isinstance(event, RequestFailed):
            self._holdings.request_open = False
            self.repeated |= event.repeated
            return _broke(event, "no answer could be had")
        assert isinstance(event, ResponseReceived)
        return event

    def receive(self, timeout: float) -> Steps[DataReceived | EndOfMessage | Failure]:
        """Wait for more of the open response. On a failure it is closed already.

        Args:
            timeout: Seconds of silence that are too many.
        """
        deadline = min(self._holdings.now + timeout, self.ends)
        event = yield ReceiveData(min(deadline, self._reply.next_ping))
        return (yield from self.settle(event, timeout, deadline))

    def settle(
        self, event: Any, timeout: float, deadline: float
    ) -> Steps[DataReceived | EndOfMessage | Failure]:
        """Make of the answer to a `ReceiveData` what `receive` gives; it may take waiting on."""
        while type(event) is TimedOut:
            if self._holdings.now >= deadline:
                yield from self._holdings.close()
                if deadline >= self.ends:
                    return self.tell_no_end()
                return _timed_out(f"Grok's answer stood still for {timeout:g} seconds")
            yield from self._reply.ping()
            event = yield ReceiveData(min(deadline, self._reply.next_ping))
        if isinstance(event, RequestFailed):
            self._holdings.request_open = False
            return _broke(event, "the answer broke off")
        if isinstance(event, EndOfMessage):
            self._holdings.request_open = False
            return event
        assert isinstance(event, DataReceived)
        return event

    def tell_no_end(self) -> Failure:
        """What to say of a response that goes on for ever."""
        return _timed_out(f"Grok's answer did not end within {self._total:g} seconds")

    def receive_body(self, limit: int) -> Steps[bytes | Failure]:
        """Read the open response to its end, or to `limit` bytes and close it."""
        body = bytearray()  # it may come in very small pieces
        while len(body) <= limit:
            event = yield from self.receive(self._settings.idle_timeout)
            if isinstance(event, Failure):
                return event
            if isinstance(event, EndOfMessage):
                return bytes(body)
            body += event.data
        yield from self._holdings.close()
        return bytes(body)

    def call(
        self,
        request: UpstreamRequest,
        limit: int,
        *,
        again: bool = False,
        within: float = math.inf,
    ) -> Steps[Whole | Failure]:
        """Send a request and read its whole response.

        Args:
            request: What to send.
            limit: Bytes of the body that are read; a longer body comes cut, one byte or more
                over the limit.
            again: It is a second try.
            within: Seconds for all of it, where that is less than for others.
        """
        response = yield from self.open(request, again=again, within=within)
        if isinstance(response, Failure):
            return response
        body = yield from self.receive_body(limit)
        if isinstance(body, Failure):
            return body
        return Whole(response.status, dict(response.headers), body)


def _timed_out(what: str) -> Failure:
    return Failure(FailureKind.TIMED_OUT, f"{what}; try again later.")


def _broke(event: RequestFailed, what: str) -> Failure:
    return Failure(
        FailureKind.NETWORK,
        f"The connection to Grok failed ({event.reason}): {what}; try again, and if it stays so "
        "the operator of this server should look at its network and PROXY.",
    )
