"""The front: from the head of a request to what is to be done about it, whatever serves it.

No I/O here. A host has the head of a request, asks for a `Call`, and does what each step says:

    call = front.open(Head(method, path, headers), now)
    step = call.begin()
    while True:
        match step:
            case ReceiveBody(limit):            # read it, then go on
                step = call.proceed(body)       # or refuse(too_large(limit))
            case FindPicture(token):
                step = call.proceed(found)
            case Order():                       # about the accounts
                step = call.proceed(carry_out(scheduler, step))
            case Respond(status, headers, body):
                ...                             # send it whole, and be done
            case Converse(exchange):
                ...                             # drive it, and be done

Whichever of the two it ends with, the head that goes out is what `call.send_response` makes of it,
and `call.describe` has the line for the log.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeAlias

import attrs

from grokproto.commands import Branch, Summary
from grokproto.dialects.openai_objects import encode_error
from grokproto.errors import InvalidRequestError
from grokproto.secret import Secret

from ..pool.orders import Order
from ..server.http_request import RequestHeaders

Headers: TypeAlias = tuple[tuple[str, str], ...]

JSON: Headers = (("content-type", "application/json"),)
_EVERY_RESPONSE: Headers = (
    ("access-control-allow-origin", "*"),
    (
        "access-control-expose-headers",
        "x-request-id, x-grokproto-ignored, openai-processing-ms, x-should-retry, retry-after",
    ),
)
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:\-]{1,128}")


@attrs.frozen
class Head:
    """The head of a request."""

    method: str
    path: str
    """As it came: not decoded, without the query."""
    headers: RequestHeaders

    @property
    def key(self) -> str:
        """The key that it gives; empty where it gives none."""
        scheme, _, key = (self.headers.get("authorization") or "").partition(" ")
        return key.strip(" \t") if scheme.lower() == "bearer" else ""


@attrs.frozen
class ReceiveBody:
    """Read the request's body. The answer is the whole of it."""

    limit: int
    """Bytes. A longer one is refused with `refuse(too_large(limit))`."""


@attrs.frozen
class FindPicture:
    """Look for a picture that is kept here. The answer is its media type and bytes, None, or why
    it cannot be read."""

    token: str


@attrs.frozen
class Respond:
    """Answer with a whole body. The last step."""

    status: int
    headers: Headers
    body: bytes


@attrs.frozen
class Converse:
    """Drive an exchange, and leave its summary in `call.summary`. The last step."""

    exchange: Branch
    cookies: Mapping[str, Secret] | None
    """Of the account that it is to use, where the request has brought them; None where the pool
    chooses one."""


Question: TypeAlias = ReceiveBody | FindPicture | Order
Step: TypeAlias = Question | Respond | Converse
Steps: TypeAlias = Generator[Question, Any, Respond | Converse]


def refuse(error: InvalidRequestError, *headers: tuple[str, str]) -> Respond:
    """Answer that a request cannot be right, or cannot be answered now."""
    type_ = "server_error" if error.status >= 500 else "invalid_request_error"
    body = encode_error(error.message, type_, param=error.param, code=error.code)
    return Respond(error.status, (*JSON, *headers), body)


def too_large(limit: int) -> InvalidRequestError:
    """What is said of a body that is longer than it may be."""
    return InvalidRequestError(
        f"The body is longer than the {limit} bytes that are taken here.",
        code="body_too_large",
        status=413,
    )


def shutting_down() -> InvalidRequestError:
    """What is said of a request that has not come whole when its server stops."""
    return InvalidRequestError(
        "This server is stopping; try again in a moment.", code="shutting_down", status=503
    )


class Call:
    """One request, and what the log line will say of it.

    Args:
        head: The request's.
        decide: What is done about it: an answer, or the steps to one.
        new_id: Makes an id, for a request that brings none.
        now: The host's clock, seconds.
        on_summary: Told what became of its exchange.
    """

    def __init__(
        self,
        head: Head,
        decide: Callable[[Call], Respond | Steps],
        new_id: Callable[[], str],
        now: float,
        on_summary: Callable[[Summary], object] = lambda _: None,
    ) -> None:
        self.head = head
        self._decide = decide
        self._started = now
        given = head.headers.get("x-request-id") or ""
        self.identity = given if _REQUEST_ID.fullmatch(given) else new_id()
        """The client's own id of the request, where it gives a plain one."""
        self.tail = ""
        """What the path has after its route's `{}`."""
        self.status: int | None = None
        """What the client was told; None where it was told nothing."""
        self._summary: Summary | None = None
        self._on_summary = on_summary
        self._steps: Steps | None = None

    @property
    def summary(self) -> Summary | None:
        """What became of the exchange, if there was one. Whoever drives it leaves it here."""
        return self._summary

    @summary.setter
    def summary(self, summary: Summary | None) -> None:
        self._summary = summary
        if summary is not None:
            self._on_summary(summary)

    def begin(self) -> Step:
        """The first step."""
        try:
            decided = self._decide(self)
        except InvalidRequestError as error:
            return refuse(error)
        if isinstance(decided, Respond):
            return decided
        self._steps = decided
        return self.proceed(None)

    def proceed(self, answer: Any) -> Step:
        """The next step, once the last one's question has its answer."""
        assert self._steps is not None
        try:
            return self._steps.send(answer)
        except StopIteration as stop:
            last: Respond | Converse = stop.value
            return last
        except InvalidRequestError as error:
            return refuse(error)

    def send_response(self, status: int, headers: Headers, now: float) -> Headers:
        """A head is about to be sent; what it must hold. The framing is the host's.

        Args:
            status: Its status.
            headers: What whoever answers wants in it.
            now: The host's clock.
        """
        self.status = status
        milliseconds = math.ceil((now - self._started) * 1000)
        return (
            *headers,
            *_EVERY_RESPONSE,
            ("x-request-id", self.identity),
            ("openai-processing-ms", str(milliseconds)),
        )

    def describe(self, now: float) -> dict[str, object]:
        """What the log says of it. Nothing in it is secret."""
        summary = self.summary
        fields: dict[str, object] = {
            "method": self.head.method[:20],
            "path": self.head.path[:200],
            "status": self.status,
            "seconds": round(now - self._started, 4),
            "request_id": self.identity,
        }
        if summary is not None:
            fields["model"] = summary.model
            fields["attempts"] = summary.attempts
            fields["credential"] = summary.credential
            fields["prompt_tokens"] = summary.prompt_tokens
            fields["completion_tokens"] = summary.completion_tokens
            if summary.client_closed:
                fields["client_closed"] = True
            if summary.failure is not None:
                fields["failure"] = summary.failure.kind.value
                fields["reason"] = summary.failure.message
        return fields
