"""`transports.conform` and servers that refuse everything, or answer with what is no answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from transports.conform import Target, find_refusal, run_checks
from transports.conform.plain_http import ProtocolError, Response

# What makes all checks fail is said once

OPENAI = b'{"error":{"message":"No such model.","type":"t","param":null,"code":"model_not_found"}}'


class Silent(Target):
    """A server that says one thing to whoever asks, and nothing to who asks for the models."""

    said = Response(200, (), b"")
    listed: Response | None = None

    def request(self, method: str, path: str, *_: Any, **__: Any) -> Response:
        found = self.listed if path == "/models" else self.said
        if found is None:
            raise ProtocolError("nothing more came in time")
        return found


def refusal_of(
    status: int, body: bytes, *, key: str | None = "k3y", model: str = "m"
) -> str | None:
    """What is said of a server that answers so."""
    target = Silent("http://127.0.0.1:1/v1", key=key, model=model)
    target.said = Response(status, (), body)
    return find_refusal(target)


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (401, OPENAI, "the server refuses the key: it answers 401, “No such model.”"),
        (403, b'{"error":"no"}', "the server refuses the key: it answers 403, “no”"),
        (401, b'{"detail":"no"}', "the server refuses the key: it answers 401, “no”"),
        (401, b"no\n\x1b k3y!", "the server refuses the key: it answers 401, “no ...!”"),
        (401, b"[]", "the server refuses the key: it answers 401, “[]”"),
        (403, b"", "the server refuses the key: it answers 403, without a message"),
        (404, OPENAI, "the server does not know the model “m”: it answers 404, “No such model.”"),
        (400, b'{"error":{"param":"model"}}', "the server does not know the model “m”: it answers"),
        (
            404,
            b'{"message":"no `m`"}',
            "the server does not know the model “m”: it answers 404, “no",
        ),
    ],
)
def test_what_is_refused_is_said(status: int, body: bytes, sentence: str) -> None:
    found = refusal_of(status, body)
    assert found is not None
    assert found.startswith(sentence)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        *((200, b"{}"), (200, OPENAI), (429, OPENAI), (500, OPENAI), (404, b""), (404, b"<html>")),
        *((404, b'{"detail":"Not Found"}'), (400, b'{"error":{"message":"Some model."}}')),
        *((404, b"[" * 100_000), (400, b'{"error":{"message":7,"code":["model_not_found"]}}')),
    ],
)
def test_what_is_for_checks_to_tell_is_no_refusal(status: int, body: bytes) -> None:
    assert refusal_of(status, body) is None


def test_refusal_where_no_model_is_listed() -> None:
    target = Silent("http://127.0.0.1:1/v1")
    assert find_refusal(target) is None
    target.listed = Response(401, (), b'{"error":{"message":"Who is there?"}}')
    words = "the server refuses to answer without a key: it answers 401, “Who is there?”"
    assert find_refusal(target) == words


# What is no answer at all


def stream_of(*objects: Any) -> bytes:
    """A stream of these chunks."""
    return b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in objects)


DONE = b"data: [DONE]\n\n"
ODD_BODIES = [
    *(b"{}", b"[]", b"null", b"7", b"", b"<html>", b"[" * 100_000, OPENAI),
    *(b'{"data":[],"choices":[]}', b'{"data":[7],"choices":[7]}', b'{"data":{},"choices":{}}'),
    (
        b'{"data":[{"id":7}],"choices":[{"index":0,"message":{"role":"assistant","content":"a"},'
        b'"finish_reason":["stop"]}],"object":"chat.completion","id":"","created":1,"model":""}'
    ),
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}],'
    b'"object":"chat.completion","id":"","created":1' + b"0" * 400 + b',"model":[]}',
    *(DONE, stream_of({}) + DONE, stream_of({"choices": 7}) + DONE),
    *(stream_of({"choices": [7]}) + DONE, b"data: " + b"[" * 100_000 + b"\n\n" + DONE),
    stream_of({"choices": [{"index": 0, "delta": []}], "id": [], "model": {}}) + DONE,
    stream_of({"choices": [{"index": 0, "delta": {"content": 7}}], "object": []}) + DONE,
    stream_of({"choices": [{"index": 0, "delta": {}, "finish_reason": []}]}) + DONE,
    stream_of({"choices": [], "object": "chat.completion.chunk", "id": [], "model": []}) + DONE,
]


@pytest.mark.parametrize("media_type", ["application/json", "text/event-stream"])
@pytest.mark.parametrize("body", ODD_BODIES, ids=lambda body: body[:60].decode())
@pytest.mark.parametrize("status", [200, 404])
def test_no_check_takes_apart_what_it_has_not_looked_at(
    status: int, body: bytes, media_type: str
) -> None:
    class Odd(Target):
        def request(self, *_: Any, **__: Any) -> Response:
            return Response(status, (("content-type", media_type),), body)

        def connect(self, **_: Any) -> Any:
            raise ProtocolError("there is no connection")

    for model in (None, "m"):
        for result in run_checks(Odd("http://127.0.0.1:1/v1", key="k", model=model)):
            assert "another shape" not in result.seen, result.check.name
