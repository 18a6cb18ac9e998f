"""What is done with each parameter, and that its name is told where it is nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from grokproto.dialects.openai_params import MAX_IGNORED, PARAMETERS, Support
from grokproto.dialects.openai_request import decode_chat_request
from grokproto.errors import InvalidRequestError
from grokproto.request import ChatRequest
from grokproto.settings import SearchFormat, Settings, ThinkingFormat
from tests.playbook import FakeHost, answered, chat_body, make_exchange


def decode(headers: dict[str, str] | None = None, **fields: Any) -> ChatRequest:
    """Decode a request with these fields."""
    return decode_chat_request(chat_body("m", **fields), headers)


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 1},
        {"temperature": 1.0},
        {"top_p": 1, "presence_penalty": 0, "frequency_penalty": 0.0},
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": False},
        {"response_format": {"type": "text"}, "logprobs": False, "seed": None, "whatever": None},
        {"user": "u", "metadata": {"a": "b"}, "store": True},
        {"stream_options": {"include_usage": True, "include_obfuscation": False}},
        {"n": 2, "stop": "x", "max_tokens": 5, "reasoning_effort": "low"},
    ],
)
def test_nothing_is_ignored(fields: dict[str, Any]) -> None:
    assert decode(**fields).ignored == ()


def test_ignored() -> None:
    fields = {
        "temperature": 0.2,
        "top_p": True,
        "tools": [{}],
        "tool_choice": "required",
        "logprobs": True,
        "seed": 0,
        "frobnicate": 1,
        "stream_options": {"x": 1},
    }
    assert decode(**fields).ignored == (*list(fields)[:-1], "stream_options.x")


def test_names_are_fit_for_a_header() -> None:
    assert decode(**{"a\r\nb": 1, "é": 1, "x" * 65: 1, "": 1}).ignored == ("?",)
    assert len(decode(**{f"p{number}": 1 for number in range(100)}).ignored) == MAX_IGNORED


def test_every_parameter_that_is_ignored_says_so() -> None:
    for parameter in PARAMETERS:
        if parameter.support is Support.IGNORED:
            assert decode(**{parameter.name: {"some": "value"}}).ignored == (parameter.name,)
            for neutral in parameter.neutral:
                assert decode(**{parameter.name: neutral}).ignored == ()


def test_header_of_the_answer() -> None:
    host = FakeHost(lambda _: answered("plain.ndjson"))
    host.run(make_exchange(chat_body(temperature=0, seed=1)))
    assert host.headers["x-grokproto-ignored"] == "temperature, seed"
    host = FakeHost(lambda _: answered("plain.ndjson"))
    host.run(make_exchange(chat_body()))
    assert "x-grokproto-ignored" not in host.headers


def test_strict() -> None:
    host = FakeHost(lambda _: answered("plain.ndjson"))
    host.run(make_exchange(chat_body(temperature=0), Settings(strict_params=True)))
    assert host.status == 400
    assert host.json["error"]["param"] == "temperature"
    assert host.json["error"]["code"] == "unsupported_parameter"
    assert not host.requests
    host = FakeHost(lambda _: answered("plain.ndjson"))
    host.run(make_exchange(chat_body(temperature=1, stop="x"), Settings(strict_params=True)))
    assert host.status == 200


@pytest.mark.parametrize(
    ("fields", "stop"),
    [
        ({}, ()),
        ({"stop": None}, ()),
        ({"stop": ""}, ()),
        ({"stop": []}, ()),
        ({"stop": "a"}, ("a",)),
        ({"stop": ["a", "b"]}, ("a", "b")),
    ],
)
def test_stop(fields: dict[str, Any], stop: tuple[str, ...]) -> None:
    assert decode(**fields).stop == stop


def test_max_tokens() -> None:
    assert decode().max_tokens is None
    assert decode(max_tokens=7).max_tokens == 7
    assert decode(max_completion_tokens=7.0).max_tokens == 7
    assert decode(max_tokens=9, max_completion_tokens=7).max_tokens == 7


def test_thinking() -> None:
    assert decode().thinking is None
    assert decode(thinking_format="hidden").thinking is ThinkingFormat.HIDDEN
    header = {"x-thinking-format": " think "}
    assert decode(header).thinking is ThinkingFormat.THINK
    assert decode(header, thinking_format="reasoning_content").thinking is (
        ThinkingFormat.REASONING_CONTENT
    )


def test_search() -> None:
    assert decode().search is None
    assert decode({"x-search-results": ""}).search is None
    assert decode(search_results="none").search == frozenset()
    assert decode(search_results=[]).search == frozenset()
    assert decode(search_results="inline, list").search == {SearchFormat.INLINE, SearchFormat.LIST}
    assert decode({"x-search-results": "front"}).search == {SearchFormat.FRONT}
    assert decode({"x-search-results": "front"}, search_results=["none"]).search == frozenset()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stop": 7}, "stop"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ["a", 7]}, "stop[1]"),
        ({"stop": ["a", ""]}, "stop[1]"),
        ({"stop": "a" * 1001}, "stop"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_completion_tokens": "7"}, "max_completion_tokens"),
        ({"reasoning_effort": "ultra"}, "reasoning_effort"),
        ({"reasoning_effort": 7}, "reasoning_effort"),
        ({"thinking_format": "loud"}, "thinking_format"),
        ({"search_results": 7}, "search_results"),
        ({"search_results": ["inline", None]}, "search_results"),
        ({"search_results": "inline,none"}, "search_results"),
        ({"n": 1.5}, "n"),
        ({"n": "2"}, "n"),
    ],
)
def test_wrong(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode(**fields)
    assert caught.value.param == param
    assert caught.value.message.startswith(param)


def test_wrong_header() -> None:
    for name in ("x-thinking-format", "x-search-results"):
        with pytest.raises(InvalidRequestError) as caught:
            decode({name: "loud"})
        assert caught.value.param == name


@pytest.mark.parametrize(
    ("model", "effort", "asked", "ignored"),
    [
        ("grok-3", None, {"modelName": "grok-3", "isReasoning": False}, False),
        ("grok-3", "none", {"modelName": "grok-3", "isReasoning": False}, False),
        ("grok-3", "high", {"modelName": "grok-3", "isReasoning": True}, False),
        ("grok-3-reasoning", "minimal", {"modelName": "grok-3", "isReasoning": False}, False),
        ("grok-3-reasoning", "low", {"modelName": "grok-3", "isReasoning": True}, False),
        ("grok-auto", "none", {"modeId": "fast"}, False),
        ("grok-auto", "medium", {"modeId": "expert"}, False),
        ("grok-2", "xhigh", {"modelName": "grok-latest"}, True),
        ("grok-heavy", "none", {"modeId": "heavy"}, True),
    ],
)
def test_effort(model: str, effort: str | None, asked: dict[str, Any], ignored: bool) -> None:
    host = FakeHost(lambda _: answered("plain.ndjson"))
    host.run(make_exchange(chat_body(model, reasoning_effort=effort)))
    payload = json.loads(host.requests[0].body)
    assert {name: payload.get(name) for name in asked} == asked
    assert ("x-grokproto-ignored" in host.headers) is ignored
    assert host.json["model"] == model
    groups = {command.group for command in host.commands if hasattr(command, "group")}
    assert groups == {"grok-3-reasoning" if asked.get("isReasoning") else groups.copy().pop()}
