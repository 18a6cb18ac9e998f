"""OpenAI's chat completions: how answers are rendered. How requests are read: `openai_request`.

A chunk is a prefix that is encoded once per answer, the JSON text of the delta, and a suffix. That
is thirty times cheaper than encoding an object for each token, and gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..answer import AnswerEvent, CitedText, EndReason, Reasoning, Run, Sources, Text, Usage
from ..errors import InvalidRequestError
from ..failures import Failure
from ..request import ChatRequest
from . import sse
from .base import Choices, Encoder, Headers
from .openai_objects import describe_usage, encode_failure, encode_invalid
from .openai_request import decode_chat_request

_encode = msgspec.json.encode

FINISH_REASONS = {
    EndReason.STOP: "stop",
    EndReason.LENGTH: "length",
    EndReason.MODERATED: "content_filter",
}


def _describe_annotation(event: CitedText) -> dict[str, Any]:
    cited = {
        "start_index": event.start,
        "end_index": event.end,
        "url": event.url,
        "title": event.title,
    }
    return {"type": "url_citation", "url_citation": cited}


def _describe_sources(event: Sources) -> dict[str, Any]:
    results = [{"title": result.title, "url": result.url} for result in event.results]
    return {"citations": list(event.cited), "search_results": results}


def _encode_fields(fields: dict[str, Any]) -> bytes:
    """As further fields of an object that has some already; nothing for none."""
    return b"," + _encode(fields)[1:-1] if fields else b""


class _ChunkWriter:
    """What all chunks of a stream have in common."""

    def __init__(self, request: ChatRequest, identity: str, created: int) -> None:
        self._include_usage = request.include_usage
        self._null_usage = b',"usage":null' if request.include_usage else b""
        self._head = (
            b'data: {"id":' + _encode(f"chatcmpl-{identity}") + b',"object":"chat.completion.chunk"'
            b',"created":' + _encode(created) + b',"model":' + _encode(request.model)
        )

    def end(self, usage: Usage) -> bytes:
        """What follows on the last chunk of the last choice."""
        if not self._include_usage:
            return sse.DONE
        shown = _encode(describe_usage(usage))
        return self._head + b',"choices":[],"usage":' + shown + b"}\n\n" + sse.DONE


class ChatStreamEncoder(_ChunkWriter):
    """Renders an answer as `chat.completion.chunk` events."""

    headers: Headers = sse.HEADERS
    streaming = True

    def __init__(
        self, request: ChatRequest, identity: str, created: int, index: int | None = None
    ) -> None:
        super().__init__(request, identity, created)
        self._alone = index is None
        """The end of this answer is the end of the stream."""
        self._delta = self._head + b',"choices":[{"index":' + _encode(index or 0) + b',"delta":'
        self._content = self._delta + b'{"content":'
        self._reasoning = self._delta + b'{"reasoning_content":'
        self._tail = b',"finish_reason":null}]' + self._null_usage + b"}\n\n"
        self._text_tail = b"}" + self._tail
        self._content_seam = b'"' + self._text_tail + self._content + b'"'
        self._reasoning_seam = b'"' + self._text_tail + self._reasoning + b'"'
        self._root: dict[str, Any] = {}
        """Further fields of the chunk that ends the answer."""
        self._role_sent = False

    def encode(self, event: AnswerEvent) -> bytes:
        """See `Encoder.encode`."""
        if type(event) is Text:
            chunk = self._content + _encode(event.text) + self._text_tail
        elif type(event) is Reasoning:
            chunk = self._reasoning + _encode(event.text) + self._text_tail
        elif type(event) is CitedText:
            delta: dict[str, Any] = {"content": event.text}
            if event.annotated:
                delta["annotations"] = [_describe_annotation(event)]
            chunk = self._delta + _encode(delta) + self._tail
        else:
            if type(event) is Sources:
                self._root = _describe_sources(event)
            return b""
        return chunk if self._role_sent else self._role() + chunk

    def encode_run(self, run: Run) -> bytes:
        """See `Encoder.encode_run`."""
        tokens = run.tokens
        if not tokens:
            return b""
        if run.thinking:
            head, seam = self._reasoning, self._reasoning_seam
        else:
            head, seam = self._content, self._content_seam
        chunks = b'%b"%b"%b' % (head, seam.join(tokens), self._text_tail)
        return chunks if self._role_sent else self._role() + chunks

    def _role(self) -> bytes:
        self._role_sent = True
        return self._delta + b'{"role":"assistant","content":""}' + self._tail

    def finish(self, reason: EndReason, usage: Usage) -> bytes:
        """See `Encoder.finish`."""
        role = b"" if self._role_sent else self._role()
        finish_reason = _encode(FINISH_REASONS[reason])
        last = self._delta + b'{},"finish_reason":' + finish_reason + b"}]" + self._null_usage
        last += _encode_fields(self._root) + b"}\n\n"
        return role + last + (self.end(usage) if self._alone else b"")

    def fail(self, failure: Failure) -> bytes:
        """See `Encoder.fail`. No `[DONE]` follows: the answer is not done."""
        return sse.encode_data(encode_failure(failure)) if self._alone else b""

    def ping(self) -> bytes:
        """See `Encoder.ping`."""
        return sse.PING


class ChatStreamChoices(_ChunkWriter):
    """Renders several answers as the chunks of one stream."""

    headers: Headers = sse.HEADERS
    streaming = True

    def __init__(self, request: ChatRequest, identity: str, created: int) -> None:
        super().__init__(request, identity, created)
        self._arguments = (request, identity, created)

    def build_encoder(self, index: int) -> Encoder:
        """See `Choices.build_encoder`."""
        return ChatStreamEncoder(*self._arguments, index)

    def finish(self, answers: Sequence[bytes], usage: Usage) -> bytes:  # noqa: ARG002
        """See `Choices.finish`."""
        return self.end(usage)

    def fail(self, failure: Failure) -> bytes:
        """See `Choices.fail`."""
        return sse.encode_data(encode_failure(failure))

    def ping(self) -> bytes:
        """See `Choices.ping`."""
        return sse.PING


class _BodyWriter:
    """What the body of one answer and that of several have in common."""

    headers: Headers = (("content-type", "application/json"),)
    streaming = False

    def __init__(self, request: ChatRequest, identity: str, created: int) -> None:
        self._head = _encode(
            {
                "id": f"chatcmpl-{identity}",
                "object": "chat.completion",
                "created": created,
                "model": request.model,
            }
        )

    def write(self, choices: Sequence[bytes], usage: Usage, root: dict[str, Any]) -> bytes:
        """The whole body."""
        listed = b'"choices":[' + b",".join(choices) + b'],"usage":'
        described = _encode(describe_usage(usage))
        return self._head[:-1] + b"," + listed + described + _encode_fields(root) + b"}"

    def fail(self, failure: Failure) -> bytes:
        """See `Encoder.fail`; a whole body never has its head out before it is whole."""
        return encode_failure(failure)

    def ping(self) -> bytes:
        """See `Encoder.ping`; a whole body has no place for one."""
        return b""


class ChatBodyEncoder(_BodyWriter):
    """Renders an answer as one `chat.completion` object."""

    def __init__(
        self, request: ChatRequest, identity: str, created: int, index: int | None = None
    ) -> None:
        super().__init__(request, identity, created)
        self._index = index
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._annotations: list[dict[str, Any]] = []
        self._root: dict[str, Any] = {}

    def encode(self, event: AnswerEvent) -> bytes:
        """See `Encoder.encode`."""
        if type(event) is Text:
            self._content.append(event.text)
        elif type(event) is Reasoning:
            self._reasoning.append(event.text)
        elif type(event) is CitedText:
            self._content.append(event.text)
            if event.annotated:
                self._annotations.append(_describe_annotation(event))
        elif type(event) is Sources:
            self._root = _describe_sources(event)
        return b""

    def encode_run(self, run: Run) -> bytes:
        """See `Encoder.encode_run`."""
        (self._reasoning if run.thinking else self._content).append(run.text)
        return b""

    def finish(self, reason: EndReason, usage: Usage) -> bytes:
        """See `Encoder.finish`. One of several answers gives its choice only."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(self._content),
            "refusal": None,
        }
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        if self._annotations:
            message["annotations"] = self._annotations
        choice = {
            "index": self._index or 0,
            "message": message,
            "logprobs": None,
            "finish_reason": FINISH_REASONS[reason],
        }
        if self._index is not None:
            return _encode({**choice, **self._root})
        return self.write([_encode(choice)], usage, self._root)


class ChatBodyChoices(_BodyWriter):
    """Renders several answers as one `chat.completion` object."""

    def __init__(self, request: ChatRequest, identity: str, created: int) -> None:
        super().__init__(request, identity, created)
        self._arguments = (request, identity, created)

    def build_encoder(self, index: int) -> Encoder:
        """See `Choices.build_encoder`."""
        return ChatBodyEncoder(*self._arguments, index)

    def finish(self, answers: Sequence[bytes], usage: Usage) -> bytes:
        """See `Choices.finish`."""
        return self.write(answers, usage, {})


class OpenAIChat:
    """`POST /v1/chat/completions`."""

    name = "openai_chat"

    def decode_request(self, body: bytes, headers: Mapping[str, str]) -> ChatRequest:
        """See `Dialect.decode_request`."""
        return decode_chat_request(body, headers)

    def build_encoder(self, request: ChatRequest, identity: str, created: int) -> Encoder:
        """See `Dialect.build_encoder`."""
        kind = ChatStreamEncoder if request.stream else ChatBodyEncoder
        return kind(request, identity, created)

    def build_choices(self, request: ChatRequest, identity: str, created: int) -> Choices:
        """See `Dialect.build_choices`."""
        kind = ChatStreamChoices if request.stream else ChatBodyChoices
        return kind(request, identity, created)

    def encode_invalid(self, error: InvalidRequestError) -> bytes:
        """See `Dialect.encode_invalid`."""
        return encode_invalid(error)

    def encode_failure(self, failure: Failure) -> bytes:
        """See `Dialect.encode_failure`."""
        return encode_failure(failure)
