"""OpenAI's chat completions: how answers are rendered. How requests are read: `openai_request`.

A chunk is a prefix that is encoded once per answer, the JSON text of the delta, and a suffix. That
is thirty times cheaper than encoding an object for each token, and gives the same bytes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..answer import AnswerEvent, EndReason, Reasoning, Text, Usage
from ..errors import InvalidRequestError
from ..failures import POLICIES, Failure
from ..models import ModelTable
from ..request import ChatRequest
from . import sse
from .base import Encoder, Headers
from .openai_request import decode_chat_request

_encode = msgspec.json.encode

FINISH_REASONS = {EndReason.STOP: "stop", EndReason.MODERATED: "content_filter"}


def encode_error(
    message: str, type_: str, *, param: str | None = None, code: str | None = None
) -> bytes:
    """An error in OpenAI's shape."""
    error = {"message": message, "type": type_, "param": param, "code": code}
    return _encode({"error": error})


def encode_invalid(error: InvalidRequestError) -> bytes:
    """The body for a request that cannot be right."""
    return encode_error(error.message, "invalid_request_error", param=error.param, code=error.code)


def encode_failure(failure: Failure) -> bytes:
    """The body for an answer that could not be had."""
    type_ = POLICIES[failure.kind].type
    return encode_error(failure.message, type_, code=failure.kind.value)


def _describe_model(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "xai"}


def encode_models(models: ModelTable, created: int) -> bytes:
    """The list of models."""
    data = [_describe_model(name, created) for name in models]
    return _encode({"object": "list", "data": data})


def encode_model(name: str, created: int) -> bytes:
    """One model."""
    return _encode(_describe_model(name, created))


def _describe_usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


class ChatStreamEncoder:
    """Renders an answer as `chat.completion.chunk` events."""

    headers: Headers = sse.HEADERS
    streaming = True

    def __init__(self, request: ChatRequest, identity: str, created: int) -> None:
        self._include_usage = request.include_usage
        self._head = (
            b'{"id":' + _encode(f"chatcmpl-{identity}") + b',"object":"chat.completion.chunk",'
            b'"created":' + _encode(created) + b',"model":' + _encode(request.model)
        )
        choice = b"data: " + self._head + b',"choices":[{"index":0,"delta":'
        self._delta = choice
        self._content = choice + b'{"content":'
        self._reasoning = choice + b'{"reasoning_content":'
        null_usage = b',"usage":null' if request.include_usage else b""
        self._tail = b',"finish_reason":null}]' + null_usage + b"}\n\n"
        self._text_tail = b"}" + self._tail
        self._usage_head = self._head
        self._null_usage = null_usage
        self._role_sent = False

    def encode(self, event: AnswerEvent) -> bytes:
        """See `Encoder.encode`."""
        if type(event) is Text:
            chunk = self._content + _encode(event.text) + self._text_tail
        elif type(event) is Reasoning:
            chunk = self._reasoning + _encode(event.text) + self._text_tail
        else:
            return b""
        return chunk if self._role_sent else self._role() + chunk

    def _role(self) -> bytes:
        self._role_sent = True
        return self._delta + b'{"role":"assistant","content":""}' + self._tail

    def finish(self, reason: EndReason, usage: Usage) -> bytes:
        """See `Encoder.finish`."""
        parts = [] if self._role_sent else [self._role()]
        finish_reason = _encode(FINISH_REASONS[reason])
        parts.append(
            self._delta + b'{},"finish_reason":' + finish_reason + b"}]" + self._null_usage
        )
        parts.append(b"}\n\n")
        if self._include_usage:
            shown = _encode(_describe_usage(usage))
            parts.append(
                sse.encode_data(self._usage_head + b',"choices":[],"usage":' + shown + b"}")
            )
        parts.append(sse.DONE)
        return b"".join(parts)

    def fail(self, failure: Failure) -> bytes:
        """See `Encoder.fail`. No `[DONE]` follows: the answer is not done."""
        return sse.encode_data(encode_failure(failure))

    def ping(self) -> bytes:
        """See `Encoder.ping`."""
        return sse.PING


class ChatBodyEncoder:
    """Renders an answer as one `chat.completion` object."""

    headers: Headers = (("content-type", "application/json"),)
    streaming = False

    def __init__(self, request: ChatRequest, identity: str, created: int) -> None:
        self._model = request.model
        self._id = f"chatcmpl-{identity}"
        self._created = created
        self._content: list[str] = []
        self._reasoning: list[str] = []

    def encode(self, event: AnswerEvent) -> bytes:
        """See `Encoder.encode`."""
        if type(event) is Text:
            self._content.append(event.text)
        elif type(event) is Reasoning:
            self._reasoning.append(event.text)
        return b""

    def finish(self, reason: EndReason, usage: Usage) -> bytes:
        """See `Encoder.finish`."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(self._content),
            "refusal": None,
        }
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": FINISH_REASONS[reason],
        }
        return _encode(
            {
                "id": self._id,
                "object": "chat.completion",
                "created": self._created,
                "model": self._model,
                "choices": [choice],
                "usage": _describe_usage(usage),
            }
        )

    def fail(self, failure: Failure) -> bytes:
        """See `Encoder.fail`; a whole body never has its head out before it is whole."""
        return encode_failure(failure)

    def ping(self) -> bytes:
        """See `Encoder.ping`; a whole body has no place for one."""
        return b""


class OpenAIChat:
    """`POST /v1/chat/completions`."""

    name = "openai_chat"

    def decode_request(self, body: bytes) -> ChatRequest:
        """See `Dialect.decode_request`."""
        return decode_chat_request(body)

    def build_encoder(self, request: ChatRequest, identity: str, created: int) -> Encoder:
        """See `Dialect.build_encoder`."""
        kind = ChatStreamEncoder if request.stream else ChatBodyEncoder
        return kind(request, identity, created)

    def encode_invalid(self, error: InvalidRequestError) -> bytes:
        """See `Dialect.encode_invalid`."""
        return encode_invalid(error)

    def encode_failure(self, failure: Failure) -> bytes:
        """See `Dialect.encode_failure`."""
        return encode_failure(failure)
