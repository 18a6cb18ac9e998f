"""For those who make the call to Grok themselves: Grok's bytes in, and out whatever is wanted.

    converter = ChunkConverter(question, identity=identity, created=created)
    converter.receive_head(response.status, response.headers)
    for data in response:                       # or `async for`
        for chunk in converter.receive_data(data):
            ...
    for chunk in converter.receive_eof():
        ...

The same in one line, where the body can be iterated over: `for chunk in converter.convert(body)`.

There are three, which differ in what they give: `EventConverter` answer events, `ChunkConverter`
OpenAI's chunks as objects, `BodyConverter` the bytes of the response to the client. All go the way
that the exchange goes (`grokproto.rendering`): the same reader, `stop` and `max_tokens`, thinking
and search results as they were asked for, and the same encoder. One converter is for one answer.

1. What comes out does not depend on how the bytes were cut, but for where it is cut itself.
2. A failure is no exception: it comes out last, in the form that clients of OpenAI know, and it is
   `failure`. An answer that broke off never has a `finish_reason`.
3. `over` says that nothing more will come. That may be before the body's end, where `stop` or
   `max_tokens` ended the answer; the call may be closed then.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

import attrs
import msgspec

from .answer import AnswerEvent, Ended, EndReason, Failed, Image, Picture, Run, Unknown, Usage
from .dialects import DIALECTS
from .dialects.base import Encoder
from .errors import LocalProtocolError
from .failures import POLICIES, Failure
from .grok.reader import AnswerReader
from .grok.refusals import MAX_ERROR_BODY, is_refusal, read_refusal
from .question import Question, check_is_one_call
from .rendering import Rendering, build_too_long
from .request import ChatRequest
from .settings import Settings, ThinkingFormat
from .usage import estimate_tokens

P = TypeVar("P")
T = TypeVar("T")

Chunk: TypeAlias = dict[str, Any]
"""An object of type `chat.completion.chunk`; after a failure `{"error": {...}}`."""

_FRAMING = frozenset({"content-length", "transfer-encoding"})
_DATA = b"data: "
_DONE = b"data: [DONE]"
_decode = msgspec.json.Decoder(Chunk).decode
_ANY = ChatRequest("grok", ())
"""For an answer to a question that is not known."""


@attrs.define
class _Refusal:
    """A response that is no answer."""

    status: int
    headers: dict[str, str]
    body: bytearray = attrs.field(factory=bytearray)


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
        self._framed = False
        """The head has said how one knows the end of the body."""
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
        self._framed = not _FRAMING.isdisjoint(lower)
        if is_refusal(status, lower):
            self._refusal = _Refusal(status, lower)

    def receive_data(self, data: bytes) -> list[T]:
        """Take a piece of the body, cut anywhere, with content codings undone; give what it brings.

        Raises:
            LocalProtocolError: The body was over. A converter is for one answer.
        """
        self._check_goes_on()
        if self.over:
            return []
        if self._refusal is not None:
            self._refusal.body += data
            return [] if len(self._refusal.body) < MAX_ERROR_BODY else self._refuse(self._refusal)
        self._reader.receive_data(data if len(data) <= self._room else data[: self._room])
        self._room -= len(data)
        pieces, ended = self._rendering.read(self._reader)
        if self._room < 0:
            ended = build_too_long(self._settings.max_answer_bytes)
        return self._end(pieces, ended) if ended is not None else self._join(pieces)

    def receive_eof(self, *, framed: bool | None = None) -> list[T]:
        """Take the end of the body; give what is left. Never leave this out.

        Args:
            framed: Whether the body is known to be whole. If not given, it is where the head had a
                length or chunks, for HTTP clients raise an exception if those are not kept; say
                False where you have caught that. Else an answer that ends without an end mark of
                Grok's has broken off.

        Raises:
            LocalProtocolError: The body was over before.
        """
        self._check_goes_on()
        self._body_over = True
        if self.over:
            return []
        if self._refusal is not None:
            return self._refuse(self._refusal)
        self._reader.receive_eof(framed=self._framed if framed is None else framed)
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


class EventConverter(Converter[AnswerEvent, AnswerEvent]):
    """Grok's bytes in, answer events out (`grokproto.answer`).

    The last event is always `Ended` or `Failed`. With a question they are what an encoder takes:
    `stop` and `max_tokens` have cut the text, and thinking, search results and pictures have become
    text where the question wants that. Without one they are what Grok said: `Text`, `Reasoning`,
    `SearchResults`, `Citation`, `Cited`, and `Image`s last.

    Args:
        question: From `read_question`, or a `ChatRequest` where there is none.
        settings: Instead of the question's.
        link_picture: Gives the address to show for a picture that only the account may see, by its
            path under the assets host. By default that is where Grok keeps it.

    Raises:
        InvalidRequestError: The request takes more than one call.
    """

    def __init__(
        self,
        question: Question | ChatRequest | None = None,
        *,
        settings: Settings | None = None,
        link_picture: Callable[[str], str] | None = None,
    ) -> None:
        self._is_raw = question is None
        if question is None:
            settings = attrs.evolve(
                settings or Settings(),
                thinking=ThinkingFormat.REASONING_CONTENT,
                search=frozenset(),
            )
        super().__init__(question or _ANY, settings, _pass, link_picture)

    def _picture(self, address: str) -> AnswerEvent:
        return Image(address) if self._is_raw else super()._picture(address)

    def _join(self, pieces: list[AnswerEvent]) -> list[AnswerEvent]:
        if self.failure is not None and pieces[-2:-1] == pieces[-1:]:
            pieces.pop()  # the reader had told of it
        return pieces

    def _finish(self, reason: EndReason) -> list[AnswerEvent]:  # noqa: ARG002
        return []  # `Ended` was among the pieces

    def _fail(self, failure: Failure) -> list[AnswerEvent]:
        return [Failed(failure)]


def _pass(event: AnswerEvent) -> AnswerEvent:
    return event


class _EncodingConverter(Converter[bytes, T]):
    """Gathers what an encoder gives."""

    def __init__(
        self,
        question: Question | ChatRequest,
        encoder: Encoder,
        settings: Settings | None,
        link_picture: Callable[[str], str] | None,
    ) -> None:
        super().__init__(question, settings, encoder.encode, link_picture, encoder.encode_run)
        self._encoder = encoder

    def _finish(self, reason: EndReason) -> list[bytes]:
        return [self._encoder.finish(reason, self.usage)]

    def _fail(self, failure: Failure) -> list[bytes]:
        return [self._encoder.fail(failure)]


class BodyConverter(_EncodingConverter[bytes]):
    """Grok's bytes in, the bytes of the response to the client out.

    Where the request has `stream`, these are server-sent events that end with `data: [DONE]`, or
    after a failure with an error event; one read of Grok's gives one piece at the most. Else it is
    one JSON object, which comes with the end and goes with `status`.

    Args:
        question: From `read_question`, or a `ChatRequest` where there is none.
        identity: Unique for each answer, such as a random UUID; the answer's `id` is made of it.
        created: Unix time, seconds.
        settings: Instead of the question's.
        link_picture: See `EventConverter`.

    Raises:
        InvalidRequestError: The request takes more than one call.
    """

    def __init__(
        self,
        question: Question | ChatRequest,
        *,
        identity: str,
        created: int,
        settings: Settings | None = None,
        link_picture: Callable[[str], str] | None = None,
    ) -> None:
        if isinstance(question, Question):
            dialect, request = question.dialect, question.request
        else:
            dialect, request = DIALECTS["openai_chat"], question
        encoder = dialect.build_encoder(request, identity, created)
        super().__init__(question, encoder, settings, link_picture)

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers that the response to the client is to have: its content type, and for a
        stream what keeps proxies from holding it back."""
        return self._encoder.headers

    def _join(self, pieces: list[bytes]) -> list[bytes]:
        data = b"".join(pieces)
        return [data] if data else []


class ChunkConverter(_EncodingConverter[Chunk]):
    """Grok's bytes in, OpenAI's chunks out, as objects.

        {"id": "chatcmpl-...", "object": "chat.completion.chunk", "created": 0, "model": "grok-3",
         "choices": [{"index": 0, "delta": {"content": " sans"}, "finish_reason": None}]}

    They are those of a stream, whether or not the request has `stream`. The last one of a whole
    answer has a `finish_reason`; where the request wants the usage, one more with `usage` and no
    choices follows. After a failure the last is `{"error": {"message", "type", "param", "code"}}`.

    Args:
        question: See `BodyConverter`; it must be a chat of OpenAI's.
        identity: See `BodyConverter`.
        created: See `BodyConverter`.
        settings: See `BodyConverter`.
        link_picture: See `EventConverter`.

    Raises:
        InvalidRequestError: The request takes more than one call.
    """

    def __init__(
        self,
        question: Question | ChatRequest,
        *,
        identity: str,
        created: int,
        settings: Settings | None = None,
        link_picture: Callable[[str], str] | None = None,
    ) -> None:
        request = question.request if isinstance(question, Question) else question
        streamed = attrs.evolve(request, stream=True)
        encoder = DIALECTS["openai_chat"].build_encoder(streamed, identity, created)
        super().__init__(question, encoder, settings, link_picture)

    def _join(self, pieces: list[bytes]) -> list[Chunk]:
        events = b"".join(pieces).split(b"\n\n")
        return [_decode(each[len(_DATA) :]) for each in events if each and each != _DONE]
