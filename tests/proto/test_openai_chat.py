"""`grokproto.dialects.openai_chat`: what clients are sent."""

from __future__ import annotations

import json

from grokproto.answer import Citation, EndReason, Reasoning, Text, Usage
from grokproto.dialects import DIALECTS
from grokproto.dialects.base import Encoder
from grokproto.dialects.openai_objects import encode_model, encode_models
from grokproto.errors import InvalidRequestError
from grokproto.failures import Failure, FailureKind
from grokproto.models import ModelTable
from grokproto.request import ChatRequest

DIALECT = DIALECTS["openai_chat"]
USAGE = Usage(3, 5, 2)


def encoder(*, stream: bool = True, include_usage: bool = False) -> Encoder:
    """A fresh one."""
    request = ChatRequest('grok-"3"', (), stream, include_usage)
    return DIALECT.build_encoder(request, "7", 1_700_000_000)


HEAD = (
    'data: {"id":"chatcmpl-7","object":"chat.completion.chunk","created":1700000000,'
    '"model":"grok-\\"3\\""'
)


def test_stream_to_the_byte() -> None:
    each = encoder()
    got = each.encode(Text('a"\n\u2028é')) + each.encode(Citation("https://e.com"))
    got += each.encode(Reasoning("hm")) + each.finish(EndReason.STOP, USAGE)
    end = ',"finish_reason":null}]}\n\n'
    delta = f'{HEAD},"choices":[{{"index":0,"delta":'
    assert got.decode() == (
        f'{delta}{{"role":"assistant","content":""}}{end}'
        f'{delta}{{"content":"a\\"\\n\u2028é"}}{end}'
        f'{delta}{{"reasoning_content":"hm"}}{end}'
        f'{delta}{{}},"finish_reason":"stop"}}]}}\n\n'
        "data: [DONE]\n\n"
    )


def test_usage_chunk_where_it_is_asked_for() -> None:
    each = encoder(include_usage=True)
    got = each.encode(Text("a")) + each.finish(EndReason.STOP, USAGE)
    *chunks, usage, done = [line.removeprefix("data: ") for line in got.decode().split("\n\n")[:-1]]
    assert done == "[DONE]"
    assert all(json.loads(chunk)["usage"] is None for chunk in chunks)
    assert json.loads(usage)["choices"] == []
    assert json.loads(usage)["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 5,
        "total_tokens": 8,
        "completion_tokens_details": {"reasoning_tokens": 2},
    }


def test_stream_without_text_has_a_role_all_the_same() -> None:
    got = encoder().finish(EndReason.MODERATED, USAGE).decode()
    assert got.count('"role":"assistant"') == 1
    assert '"finish_reason":"content_filter"' in got


def test_body() -> None:
    each = encoder(stream=False)
    assert each.encode(Text("a")) == each.encode(Reasoning("r")) == b""
    assert each.encode(Text("b")) == each.encode(Citation("c")) == each.ping() == b""
    body = json.loads(each.finish(EndReason.STOP, USAGE))
    assert body["object"] == "chat.completion"
    assert body["id"] == "chatcmpl-7"
    assert body["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "ab",
                "refusal": None,
                "reasoning_content": "r",
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert body["usage"]["total_tokens"] == 8


def test_errors() -> None:
    failure = Failure(FailureKind.RATE_LIMITED, "Used up.")
    error = {
        "message": "Used up.",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limited",
    }
    assert json.loads(DIALECT.encode_failure(failure)) == {"error": error}
    assert json.loads(encoder(stream=False).fail(failure)) == {"error": error}
    in_stream = encoder().fail(failure).decode()
    assert json.loads(in_stream.removeprefix("data: ")) == {"error": error}
    invalid = InvalidRequestError("No.", param="n", code="c")
    assert json.loads(DIALECT.encode_invalid(invalid))["error"] == {
        "message": "No.",
        "type": "invalid_request_error",
        "param": "n",
        "code": "c",
    }
    assert encoder().ping() == b": ping\n\n"


def test_models() -> None:
    listed = json.loads(encode_models(ModelTable(), 5))
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == list(ModelTable())
    assert json.loads(encode_model("grok-3", 5)) in listed["data"]
