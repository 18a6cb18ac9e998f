"""What all converters have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

import msgspec

from ..answer import AnswerEvent, Ended, EndReason, Picture, Run, Unknown, Usage
from ..errors import LocalProtocolError
from ..failures import POLICIES, Failure
from ..grok.reader import AnswerReader
from ..grok.refusals import MAX_ERROR_BODY, is_refusal, read_refusal
from ..question import Question, check_is_one_call
from ..rendering import Rendering, build_too_long
from ..request import ChatRequest
from ..settings import Settings
from ..usage import estimate_tokens
from .framing import Framing

P = TypeVar("P")
T = TypeVar("T")


class _Refusal(msgspec.Struct):
    """A response that is no answer."""

    status: int
    headers: dict[str, str]
    body: bytearray


class Converter(ABC, Generic[P, T]):
    """What all three have in common; make one of them. It gathers `P`s and gives `T`s."""

    def __init__(
        self,
        question: Question | ChatRequest,
        settings: Settings | None,
        encode: Callable[[AnswerEvent], P],
        link_picture: Callable[[str], str] | None,
        encode_run: Callable[[Run], P] | None = None,
    ) -> None:
        if isinstance(question, Question):
            self._request = question.request
            self._settings = settings or question.settings
            self._prompt_tokens = estimate_tokens(question.message)
        else:
            check_is_one_call(question)
            self._request = question
            self._settings = settings or Settings()
            self._prompt_tokens = 0
        self._rendering = Rendering(self._request, self._settings, encode, encode_run)
        self._reader = AnswerReader(max_line_bytes=self._settings.max_line_bytes)
        self._room = self._settings.max_answer_bytes
        self._link_picture = link_picture or self._link_to_assets
        self._refusal: _Refusal | None = None
        self._begun = False
        self._framing = Framing({})
        self._body_over = False
        self.over = False
        """Nothing more will come out. The call to Grok may be closed."""
        self.failure: Failure | None = None
        """What went wrong, once it is known. `POLICIES[failure.kind]` says what follows from it."""

    # What is known of the answer

    @property
    def usage(self) -> Usage:
        """What question and answer have cost so far, in tokens; an estimate."""
        return self._rendering.measure(self._prompt_tokens)

    @property
    def status(self) -> int:
        """The HTTP status that a client is to be given, as far as one knows: 200, or what
        `POLICIES` says of the failure."""
        return 200 if self.failure is None else POLICIES[self.failure.kind].status

    @property
    def end_seen(self) -> bool:
        """Grok has said that its answer is complete. Its connection does not always end then;
        whoever has waited some seconds since may call `receive_eof`."""
        return self._reader.end_seen

    @property
    def unknown(self) -> tuple[Unknown, ...]:
        """Names that nobody here knows, how often they were seen, and what is behind them, without
        a value: Grok's API may have changed."""
        return self._reader.unknown

    @property
    def skipped(self) -> int:
        """Pieces of the stream that could not be made sense of."""
        return self._reader.skipped

    # What comes from Grok

    def receive_head(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the head of Grok's response; without one it is taken for that of an answer.

        What Grok refuses with is no answer and is read as what it is: a limit, a dead cookie, a
        challenge page. The headers also tell how one knows where the body ends.

        Args:
            status: The HTTP status.
            headers: In any case.

        Raises:
            LocalProtocolError: It does not come first.
        """
        if self._begun:
            raise LocalProtocolError("the head of the response comes first, and once")
        self._begun = True
        lower = {name.lower(): value for name, value in headers.items()}
        self._framing = Framing(headers)
        if is_refusal(status, lower):
            self._refusal = _Refusal(status, lower, bytearray())

    def receive_data(self, data: bytes) -> list[T]:
        """Take a piece of the body, cut anywhere, with content codings undone; give what it brings.

        Raises:
            LocalProtocolError: The body was over. A converter is for one answer.
        """
        self._check_goes_on()
        if self.over:
            return []
        self._framing.count(len(data))
        if self._refusal is not None:
            self._refusal.body += data
            return [] if len(self._refusal.body) < MAX_ERROR_BODY else self._refuse(self._refusal)
        self._reader.receive_data(data if len(data) <= self._room else data[: self._room])
        self._room -= len(data)
        pieces, ended = self._rendering.read(self._reader)
        if self._room < 0 and ended is None:
            ended = build_too_long(self._settings.max_answer_bytes)
        return self._end(pieces, ended) if ended is not None else self._join(pieces)

    def receive_eof(self, *, framed: bool | None = None) -> list[T]:
        """Take the end of the body; give what is left. Never leave this out.

        Args:
            framed: Whether the body is known to be whole. If not given, it is where the head had
                chunks or a length, for HTTP clients raise an exception if those are not kept; say
                False where you have caught that. Of a length as many bytes must have come too,
                which is counted where the head has no content coding, since not all clients look.
                A body that is not known to be whole, and ends without an end mark of Grok's, has
                broken off.

        Raises:
            LocalProtocolError: The body was over before.
        """
        self._check_goes_on()
        self._body_over = True
        if self.over:
            return []
        if self._refusal is not None:
            return self._refuse(self._refusal)
        self._reader.receive_eof(framed=self._framing.whole if framed is None else framed)
        pieces, ended = self._rendering.read(self._reader)
        assert ended is not None
        return self._end(pieces, ended)

    def convert(self, body: Iterable[bytes], *, framed: bool | None = None) -> Iterator[T]:
        """All of the above, for a body that can be iterated over; not for `async for`.

        What the iterable raises comes out as it is, and the answer has no end then; `receive_eof`
        gives it one.

        Args:
            body: Pieces, cut anywhere.
            framed: See `receive_eof`.

        Raises:
            LocalProtocolError: See `receive_data`.
        """
        for data in body:
            yield from self.receive_data(data)
            if self.over:
                break
        yield from self.receive_eof(framed=framed)

    # What comes out

    def _check_goes_on(self) -> None:
        self._begun = True
        if self._body_over:
            raise LocalProtocolError("the body is over; make another converter for another answer")

    def _refuse(self, refusal: _Refusal) -> list[T]:
        body = bytes(refusal.body[:MAX_ERROR_BODY])
        return self._end([], read_refusal(refusal.status, refusal.headers, body))

    def _end(self, pieces: list[P], ended: EndReason | Failure) -> list[T]:
        self.over = True
        if isinstance(ended, Failure):
            self.failure = ended
            return self._join(pieces + self._fail(ended))
        for address in self._rendering.pictures:
            pieces += self._rendering.render(self._picture(address))
        pieces += self._rendering.render(Ended(ended))
        return self._join(pieces + self._finish(ended))

    def _picture(self, address: str) -> AnswerEvent:
        if address.startswith(("http://", "https://", "data:")):
            return Picture(address)
        return Picture(self._link_picture(address))

    def _link_to_assets(self, address: str) -> str:
        return f"{self._settings.assets_url}/{address}"

    @abstractmethod
    def _join(self, pieces: list[P]) -> list[T]:
        """Make of the pieces that one read has caused what goes out."""
        ...

    @abstractmethod
    def _finish(self, reason: EndReason) -> list[P]:
        """What goes out last, after the end itself."""
        ...

    @abstractmethod
    def _fail(self, failure: Failure) -> list[P]:
        """What goes out last, after a failure."""
        ...
