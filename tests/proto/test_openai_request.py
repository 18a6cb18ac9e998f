"""`grokproto.dialects.openai_request`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from grokproto.dialects.openai_request import decode_chat_request
from grokproto.errors import InvalidRequestError
from grokproto.request import ChatRequest, ImagePart, Role, TextPart, Turn

PNG = "data:image/PNG;base64,iVBORw0KGgo="


def decode(**fields: Any) -> ChatRequest:
    """Decode a request with these fields."""
    request: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    return decode_chat_request(json.dumps({**request, **fields}).encode())


def content(value: Any) -> tuple[Any, ...]:
    """The parts of a message with this content."""
    return decode(messages=[{"role": "user", "content": value}]).turns[0].parts


def test_plain() -> None:
    assert decode() == ChatRequest("m", (Turn(Role.USER, (TextPart("hi"),)),))


def test_lenient() -> None:
    request = decode(
        stream=None, stream_options=None, n=None, temperature=7, tools=[{}], anything={"a": 1}
    )
    assert (request.stream, request.include_usage) == (False, False)
    request = decode(stream=True, stream_options={"include_usage": True}, n=1)
    assert (request.stream, request.include_usage) == (True, True)
    assert decode_chat_request(b'\xef\xbb\xbf{"model":"m","messages":[{"role":"user"}]}')


@pytest.mark.parametrize(
    ("role", "read"),
    [
        ("system", Role.SYSTEM),
        ("developer", Role.SYSTEM),
        ("user", Role.USER),
        ("assistant", Role.ASSISTANT),
        ("tool", Role.TOOL),
        ("function", Role.TOOL),
    ],
)
def test_roles(role: str, read: Role) -> None:
    assert decode(messages=[{"role": role, "content": "x", "name": "n"}]).turns[0].role is read


def test_content() -> None:
    assert content(None) == ()
    parts = ["a", {"type": "text", "text": "b"}, {"type": "refusal", "refusal": "c"}]
    assert content(parts) == (TextPart("a"), TextPart("b"), TextPart("c"))
    for image in (PNG, {"url": PNG, "detail": "low"}):
        assert content([{"type": "image_url", "image_url": image}]) == (
            ImagePart("iVBORw0KGgo=", "image/png"),
        )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 7}, "model"),
        ({"model": ""}, "model"),
        ({"n": 9}, "n"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"messages": None}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [{"role": "user"}, {"role": "robot"}]}, "messages[1].role"),
        ({"messages": [{"role": ["user"]}]}, "messages[0].role"),
    ],
)
def test_wrong_fields(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode(**fields)
    assert caught.value.param == param
    assert caught.value.message.startswith(param)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (7, ""),
        ([7], "[0]"),
        ([None], "[0]"),
        ([{"type": "video"}], "[0].type"),
        ([{}], "[0].type"),
        ([{"type": "text", "text": 7}], "[0].text"),
        ([{"type": "image_url"}], "[0].image_url"),
        ([{"type": "image_url", "image_url": {"url": 1.5}}], "[0].image_url.url"),
        (["a", {"type": "image_url", "image_url": "ftp://e.com/a.png"}], "[1].image_url"),
        ([{"type": "image_url", "image_url": "https://e.com/" + "a" * 9000}], "[0].image_url"),
        ([{"type": "image_url", "image_url": "data:image/png;base64,aGVsbG8="}], "[0].image_url"),
        ([{"type": "input_image", "file_id": "f"}], "[0].file_id"),
        ([{"type": "file", "file": "f"}], "[0].file"),
        ([{"type": "file", "file": {"file_id": "f"}}], "[0].file.file_id"),
        ([{"type": "file", "file": {"file_data": 7}}], "[0].file.file_data"),
        ([{"type": "file", "file": {"file_data": "AAAA"}}], "[0].file.file_data"),
        ([{"type": "input_file", "file_data": "gICA"}], "[0].file_data"),
        ([{"type": "image_url", "image_url": "data:image/png;base64,"}], "[0].image_url"),
        ([{"type": "image_url", "image_url": "data:image/png;base64,a"}], "[0].image_url"),
        ([{"type": "image_url", "image_url": "data:image/png;base64,ü"}], "[0].image_url"),
    ],
)
def test_wrong_content(value: Any, path: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        content(value)
    assert caught.value.param == f"messages[0].content{path}"


@pytest.mark.parametrize(
    "body",
    [b"", b"hello", b"[]", b"7", b'{"model":', b"\xff\xfe", b'{"messages":' + b"[" * 90_000],
)
def test_no_json_object(body: bytes) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode_chat_request(body)
    assert caught.value.status == 400
    assert caught.value.message.startswith("The body ")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"temperature":1e400}', "has a number that is out of range"),
        (b'{"a":"\\ud83d"}', "has half of a surrogate pair"),
        (b'{"a":"\\ud83d cut"}\n', "has half of a surrogate pair"),
        (b'{"a":"\\udc00"}', "has half of a surrogate pair"),
        (b'{"a":"\\ud83d', "is not JSON: Input data was truncated"),
        (b'{"a":"x"', "is not JSON: Input data was truncated"),
        (b'{"a":{"b":"x"}', "is not JSON: Input data was truncated"),
    ],
)
def test_what_is_wrong_with_the_body_is_told(body: bytes, told: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode_chat_request(body)
    assert caught.value.message.startswith(f"The body {told}")


@pytest.mark.parametrize("body", ["{}", {}, None])
def test_body_that_is_no_bytes(body: Any) -> None:
    with pytest.raises(TypeError, match=f"bytes, not {type(body).__name__}"):
        decode_chat_request(body)
