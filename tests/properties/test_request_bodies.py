"""Bodies of requests, of any kind: each is read, or refused with an error that names no fault of
ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokproto.dialects import DIALECTS
from grokproto.dialects.openai_params import PARAMETERS
from grokproto.errors import InvalidRequestError
from tests.strategies import json_values

PNG = "data:image/png;base64,iVBORw0KGgo="
WHOLE: dict[str, Any] = {
    "model": "grok-3",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is it?"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]},
        {
            "role": "user",
            "content": [{"type": "file", "file": {"filename": "a.txt", "file_data": "aGk="}}],
        },
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
    ],
    "stream": True,
    "stream_options": {"include_usage": True},
    "stop": ["END"],
    "max_tokens": 9,
    "n": 2,
    "prompt": "A cat",
    "size": "1024x1024",
    "response_format": "b64_json",
}
FIELDS = sorted({*(parameter.name for parameter in PARAMETERS), *WHOLE})
dialects = pytest.mark.parametrize("dialect", sorted(DIALECTS))


def read(dialect: str, body: bytes) -> None:
    """Read a body. Whatever else than a refusal comes out is a mistake."""
    refused: InvalidRequestError | None = None
    try:
        DIALECTS[dialect].decode_request(body, {})
    except InvalidRequestError as exc:
        refused = exc
    if refused is not None:
        assert 400 <= refused.status < 500
        assert refused.message
        assert len(refused.message) < 2000
        assert refused.message.encode()


@dialects
@given(body=st.binary(max_size=200))
def test_any_bytes(dialect: str, body: bytes) -> None:
    read(dialect, body)


@dialects
@given(value=json_values)
def test_any_json(dialect: str, value: Any) -> None:
    read(dialect, json.dumps(value).encode())


@dialects
@given(name=st.sampled_from(FIELDS), value=json_values)
def test_any_value_in_any_field(dialect: str, name: str, value: Any) -> None:
    read(dialect, json.dumps({**WHOLE, name: value}).encode())


@dialects
@given(data=st.data())
def test_any_value_anywhere(dialect: str, data: st.DataObject) -> None:
    """Somewhere in a good body, at any depth, stands something else."""
    body = json.loads(json.dumps(WHOLE))
    place: Any = body
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else _keys(place)))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            place[key] = data.draw(json_values)
            break
        place = inner
    read(dialect, json.dumps(body).encode())


def _keys(place: list[Any]) -> list[int]:
    return list(range(len(place)))


@dialects
@given(data=st.data())
def test_damaged_bodies(dialect: str, data: st.DataObject) -> None:
    body = bytearray(json.dumps(WHOLE).encode())
    for _ in range(data.draw(st.integers(1, 5))):
        start = data.draw(st.integers(0, len(body)))
        nasty = st.sampled_from([b"\\ud800", b"\xff", b"NaN", b"1e999", b"[" * 30, b'"', b"\0"])
        body[start : start + data.draw(st.integers(0, 20))] = data.draw(
            nasty | st.binary(max_size=8)
        )
    read(dialect, bytes(body))
