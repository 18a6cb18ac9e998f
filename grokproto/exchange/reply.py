"""The client's side: what it has been told so far, and what may therefore still be said.

    head sent   content sent    an attempt fails     nothing left to try
    no          no              try another          status and body of the failure
    yes (pings) no              try another          error frame, end
    yes         yes             no other             error frame, end

A streamed answer that ends with an error frame has no finish reason, so nobody takes it for whole.
"""

from __future__ import annotations

import math

from ..commands import EndResponse, SendData, SendResponse
from ..dialects.base import Choices, Dialect, Encoder, Headers
from ..errors import InvalidRequestError
from ..failures import POLICIES, Failure, FailureKind, should_retry
from ..settings import Settings
from .holdings import Holdings, Steps

_JSON: Headers = (("content-type", "application/json"),)


class Reply:
    """The response to the client.

    Args:
        dialect: How errors are rendered.
        holdings: The clock.
        settings: The operator's.
    """

    def __init__(self, dialect: Dialect, holdings: Holdings, settings: Settings) -> None:
        self._dialect = dialect
        self._holdings = holdings
        self._ping_interval = settings.ping_interval
        self._own_cookie = settings.own_cookie
        self._encoder: Encoder | Choices | None = None
        self._last_sent = 0.0
        self.status: int | None = None
        """The status that the client was sent."""
        self.content_sent = False
        """The client has seen a part of an answer."""
        self.ended = False
        self.notes: Headers = ()
        """Headers that tell of what became of the request; sent with every status."""

    def begin(self, encoder: Encoder | Choices) -> None:
        """A fresh attempt begins, whose answer `encoder` renders."""
        assert not self.content_sent
        if self._encoder is None:
            self._last_sent = self._holdings.now
        self._encoder = encoder

    @property
    def next_ping(self) -> float:
        """When silence will have lasted long enough; host clock."""
        if self._encoder is None or not self._encoder.streaming or self.ended:
            return math.inf
        return self._last_sent + self._ping_interval

    def ping(self) -> Steps[None]:
        """Tell a streaming client that we are still there, if it is time to."""
        if self._encoder is None or self._holdings.now < self.next_ping:
            return
        if self.status is None:
            yield from self._send_head(200, self._encoder.headers)
        yield from self._send(self._encoder.ping())

    def send(self, data: bytes) -> Steps[None]:
        """Send a part of a streamed answer."""
        assert self._encoder is not None
        if self.status is None:
            yield from self._send_head(200, self._encoder.headers)
        self.content_sent = True
        yield from self._send(data)

    def note_sending(self) -> bool:
        """More of a streamed answer is about to be sent, by whoever asks; whether the head is out,
        so that `SendData` is all there is to it."""
        self.content_sent = True
        self._last_sent = self._holdings.now
        return self.status is not None

    def finish(self, data: bytes) -> Steps[None]:
        """End a complete answer, with the last of it."""
        yield from self.send(data)
        yield from self._end()

    def fail(self, failure: Failure) -> Steps[None]:
        """End with a failure, in the way that is still open."""
        if self.status is not None:
            assert self._encoder is not None
            yield from self._send(self._encoder.fail(failure))
        else:
            headers = (*_JSON, ("x-should-retry", "true" if should_retry(failure) else "false"))
            wait = failure.retry_after
            if wait is not None and wait < math.inf:
                headers = (*headers, ("retry-after", str(math.ceil(wait))))
            yield from self._send_head(self._choose_status(failure), headers)
            yield from self._send(self._dialect.encode_failure(failure))
        yield from self._end()

    def _choose_status(self, failure: Failure) -> int:
        if self._own_cookie and failure.kind is FailureKind.UNAUTHORIZED:
            return 401
        return POLICIES[failure.kind].status

    def refuse(self, error: InvalidRequestError) -> Steps[None]:
        """End with an error of the client's. Nothing has been sent before."""
        yield from self._send_head(error.status, _JSON)
        yield from self._send(self._dialect.encode_invalid(error))
        yield from self._end()

    def _send_head(self, status: int, headers: Headers) -> Steps[None]:
        self.status = status
        yield SendResponse(status, (*headers, *self.notes))

    def _send(self, data: bytes) -> Steps[None]:
        if data:
            yield SendData(data)
        self._last_sent = self._holdings.now

    def _end(self) -> Steps[None]:
        self.ended = True
        yield EndResponse()
