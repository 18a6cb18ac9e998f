"""What every dialect can do. A dialect is one file, and one line in `grokproto.dialects`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ..answer import AnswerEvent, EndReason, Run, Usage
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

    def encode_run(self, run: Run) -> bytes:
        """Render what a run stands for; the same bytes as `encode` gives for its events."""
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


class Choices(Protocol):
    """Renders several answers to one request for one client, as they come in no fixed order."""

    headers: Headers
    streaming: bool

    def build_encoder(self, index: int) -> Encoder:
        """For one of the answers. What its `finish` gives ends this answer only; it has no end for
        one that fails."""
        ...

    def finish(self, answers: Sequence[bytes], usage: Usage) -> bytes:
        """Render the clean end of all.

        Args:
            answers: For each, what its encoder gave; in a stream they have been sent.
            usage: Of all.
        """
        ...

    def fail(self, failure: Failure) -> bytes:
        """See `Encoder.fail`."""
        ...

    def ping(self) -> bytes:
        """See `Encoder.ping`."""
        ...


class Dialect(Protocol):
    """An API that clients speak."""

    name: str

    def decode_request(self, body: bytes, headers: Mapping[str, str]) -> ChatRequest:
        """Read a request.

        Args:
            body: As it came.
            headers: By names in lower case; a dialect reads those that it documents.

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

    def build_choices(self, request: ChatRequest, identity: str, created: int) -> Choices:
        """A fresh encoder for `request.choices` answers, where those are more than one."""
        ...

    def encode_invalid(self, error: InvalidRequestError) -> bytes:
        """The body that goes with `error.status`."""
        ...

    def encode_failure(self, failure: Failure) -> bytes:
        """The body that goes with the status of the failure's kind."""
        ...
