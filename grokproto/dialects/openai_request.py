"""Reading the body of a chat completion request.

Lenient in what is merely odd (unknown parameters, null for absent), exact about what is wrong: the
error names the path of the part, as in `messages[2].content[0].image_url`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..request import ChatRequest
from ..settings import SearchFormat, ThinkingFormat
from .openai_fields import (
    decode_object,
    name_type,
    read_choice,
    read_flag,
    read_member,
    read_whole,
    wrong,
)
from .openai_format import read_format
from .openai_messages import read_messages
from .openai_params import list_ignored

MAX_CHOICES = 8
MAX_STOPS = 4
MAX_STOP_LENGTH = 1000

THINKING_HEADER = "x-thinking-format"
SEARCH_HEADER = "x-search-results"

EFFORTS: dict[str, bool] = {
    "none": False,
    "minimal": False,
    "low": True,
    "medium": True,
    "high": True,
    "xhigh": True,
}
"""`reasoning_effort`: whether the model shall think. Grok knows no degrees of it."""


def decode_chat_request(body: bytes, headers: Mapping[str, str] | None = None) -> ChatRequest:
    """Read the body of `POST /v1/chat/completions`.

    Args:
        body: As it came.
        headers: The request's, by names in lower case; fields of the body go before them.

    Raises:
        InvalidRequestError: It cannot be right.
    """
    fields = decode_object(body)
    form = read_format(fields.get("response_format"))
    effort = read_choice(fields.get("reasoning_effort"), "reasoning_effort", EFFORTS)
    return ChatRequest(
        model=read_model(fields.get("model")),
        turns=read_messages(fields.get("messages")),
        stream=read_flag(fields.get("stream"), "stream"),
        include_usage=_read_include_usage(fields.get("stream_options")),
        choices=read_whole(fields.get("n"), "n", 1, MAX_CHOICES) or 1,
        stop=_read_stop(fields.get("stop")),
        max_tokens=_read_max_tokens(fields),
        thinks=None if effort is None else EFFORTS[effort],
        thinking=_read_thinking(fields, headers or {}),
        search=_read_search(fields, headers or {}),
        instruction=form.instruction,
        ignored=(*list_ignored(fields), *form.ignored),
    )


def read_model(value: Any) -> str:
    """The name of a model."""
    if not isinstance(value, str) or not value:
        raise wrong("model", "must be the name of a model.")
    return value


def _read_include_usage(options: Any) -> bool:
    if options is None:
        return False
    if not isinstance(options, dict):
        raise wrong("stream_options", f"must be an object, not {name_type(options)}.")
    return read_flag(options.get("include_usage"), "stream_options.include_usage")


def _read_stop(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list):
        raise wrong("stop", f"must be a string or a list of strings, not {name_type(value)}.")
    if len(stops) > MAX_STOPS:
        raise wrong("stop", f"may hold at most {MAX_STOPS} strings, not {len(stops)}.")
    for index, stop in enumerate(stops):
        path = "stop" if stops is not value else f"stop[{index}]"
        if not isinstance(stop, str):
            raise wrong(path, f"must be a string, not {name_type(stop)}.")
        if len(stop) > MAX_STOP_LENGTH:
            raise wrong(path, f"may be at most {MAX_STOP_LENGTH} characters long.")
        if not stop and stops is value:
            raise wrong(path, "must not be empty.")
    return tuple(stop for stop in stops if stop)


def _read_max_tokens(fields: Mapping[str, Any]) -> int | None:
    names = ("max_completion_tokens", "max_tokens")
    limits = [read_whole(fields.get(name), name, 1) for name in names]
    return min((limit for limit in limits if limit is not None), default=None)


def _read_thinking(fields: Mapping[str, Any], headers: Mapping[str, str]) -> ThinkingFormat | None:
    value = fields.get("thinking_format")
    if value is None and headers.get(THINKING_HEADER):
        return read_member(headers[THINKING_HEADER].strip(), THINKING_HEADER, ThinkingFormat)
    return read_member(value, "thinking_format", ThinkingFormat)


def _read_search(
    fields: Mapping[str, Any], headers: Mapping[str, str]
) -> frozenset[SearchFormat] | None:
    value, path = fields.get("search_results"), "search_results"
    if value is None:
        value, path = headers.get(SEARCH_HEADER) or None, SEARCH_HEADER
    if value is None:
        return None
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list):
        raise wrong(path, f"must be a string or a list of strings, not {name_type(value)}.")
    named = [word.strip() if isinstance(word, str) else word for word in words]
    if named == ["none"]:
        return frozenset()
    known = {each.value: each for each in SearchFormat}
    if any(not isinstance(word, str) or word not in known for word in named):
        raise wrong(path, f"must be none, or some of {', '.join(known)}.")
    return frozenset(known[word] for word in named)
