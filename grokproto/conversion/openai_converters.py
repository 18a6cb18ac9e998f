"""Grok's bytes in, and out what clients of OpenAI know: chunks as objects, or the bytes to send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from ..answer import EndReason
from ..dialects import DIALECTS
from ..dialects.base import Encoder
from ..failures import Failure
from ..question import Question
from ..request import ChatRequest
from ..settings import Settings
from .converter import Converter

T = TypeVar("T")

Chunk: TypeAlias = dict[str, Any]
"""An object of type `chat.completion.chunk`; after a failure `{"error": {...}}`."""


_DATA = b"data: "
_DONE = b"data: [DONE]"
_decode = msgspec.json.Decoder(Chunk).decode


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
        streamed = replace(request, stream=True)
        encoder = DIALECTS["openai_chat"].build_encoder(streamed, identity, created)
        super().__init__(question, encoder, settings, link_picture)

    def _join(self, pieces: list[bytes]) -> list[Chunk]:
        events = b"".join(pieces).split(b"\n\n")
        return [_decode(each[len(_DATA) :]) for each in events if each and each != _DONE]
