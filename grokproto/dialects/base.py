"""What every dialect can do. A dialect is one file, and one line in `grokproto.dialects`."""

from __future__ import annotations

from typing import Protocol

from ..answer import AnswerEvent, EndReason, Usage
from ..errors import InvalidRequestError
from ..failures import Failure
from ..request import ChatRequest

Headers = tuple[tuple[str, str], ...]


class Encoder(Protocol):
    """Renders one answer for one client. Everything it gives is to be sent, in order.

    A streaming encoder gives bytes as events come; one that makes a whole body gives nothing until
    `finish`. Neither has a head: its `headers` go with status 200.
    """

    headers: Headers
    streaming: bool

    def encode(self, event: AnswerEvent) -> bytes:
        """Render an event; nothing for those that the dialect has no place for."""
        ...

    def finish(self, reason: EndReason, usage: Usage) -> bytes:
        """Render the clean end. Call this or `fail`, once."""
        ...

    def fail(self, failure: Failure) -> bytes:
        """Render the end of a stream that broke off after its head was sent."""
        ...

    def ping(self) -> bytes:
        """Something that keeps a silent stream alive and means nothing."""
        ...


class Dialect(Protocol):
    """An API that clients speak."""

    name: str

    def decode_request(self, body: bytes) -> ChatRequest:
        """Read a request's body.

        Raises:
            InvalidRequestError: It cannot be right; says what, where, and what would be.
        """
        ...

    def build_encoder(self, request: ChatRequest, identity: str, created: int) -> Encoder:
        """A fresh encoder for one try at an answer.

        Args:
            request: What `decode_request` gave.
            identity: Unique for each answer; the dialect puts its own prefix before it.
            created: Unix time, seconds.
        """
        ...

    def encode_invalid(self, error: InvalidRequestError) -> bytes:
        """The body that goes with `error.status`."""
        ...

    def encode_failure(self, failure: Failure) -> bytes:
        """The body that goes with the status of the failure's kind."""
        ...
