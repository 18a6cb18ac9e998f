"""Objects of OpenAI's API that its endpoints share: errors, models, usage."""

from __future__ import annotations

from typing import Any

import msgspec

from ..answer import Usage
from ..errors import InvalidRequestError
from ..failures import POLICIES, Failure
from ..models import ModelTable

_encode = msgspec.json.encode


def encode_error(
    message: str, type_: str, *, param: str | None = None, code: str | None = None
) -> bytes:
    """An error in OpenAI's shape."""
    message = message.encode("utf-8", "replace").decode()  # a host may pass on the system's words
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


def describe_usage(usage: Usage) -> dict[str, Any]:
    """What an answer cost."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
