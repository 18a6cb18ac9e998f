"""The converters: what they give is what the exchange gives, and misuse is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokproto import (
    BodyConverter,
    ChatRequest,
    ChunkConverter,
    EventConverter,
    FailureKind,
    InvalidRequestError,
    LocalProtocolError,
    SearchFormat,
    Settings,
    ThinkingFormat,
    answer,
    read_question,
)
from grokproto.request import Drawing
from grokproto.settings import ImageMode
from tests.fixtures.load import STREAM_EXPECTATIONS, read_body, read_stream
from tests.playbook import FakeHost, Response, answered, chat_body, make_exchange
from tests.proto.reading import describe, read
from tests.strategies import cuts, names, single_bytes

SETTINGS = Settings(image_mode=ImageMode.UPSTREAM, max_attempts=1)
SHAPES: list[dict[str, Any]] = [
    {},
    {"stream": True},
    {"stream": True, "stream_options": {"include_usage": True}},
    {"stream": True, "thinking_format": "reasoning_content", "search_results": "inline,list"},
    {"stream": True, "thinking_format": "hidden", "search_results": "front,annotations"},
    {"stop": ["e"], "search_results": "list"},
    {"stream": True, "max_tokens": 3},
]


def to_body(body: bytes, settings: Settings = SETTINGS) -> BodyConverter:
    """A converter that gives what an exchange of the playbook gives."""
    question = read_question(body, settings=settings)
    return BodyConverter(question, identity="0", created=1_700_000_000)


def to_chunks(**fields: Any) -> ChunkConverter:
    """A converter to chunks."""
    return ChunkConverter(read_question(chat_body(**fields)), identity="0", created=0)


@pytest.mark.parametrize("fields", SHAPES, ids=str)
@pytest.mark.parametrize("name", sorted(STREAM_EXPECTATIONS))
def test_bytes_are_those_of_the_exchange(name: str, fields: dict[str, Any]) -> None:
    body = chat_body(**fields)
    host = FakeHost(lambda _: answered(name), leases=["a"])
    summary = host.run(make_exchange(body, SETTINGS))
    converter = to_body(body)
    made = b"".join(converter.convert([read_stream(name)], framed=True))
    if summary.failure is None:
        assert made == host.body
        assert converter.headers == tuple(host.headers.items())
        assert (converter.status, converter.failure) == (200, None)
    elif host.status == 200:
        assert made == host.body
    elif fields.get("stream"):
        assert made == b"data: " + host.body + b"\n\n"
    else:
        assert (converter.status, made) == (host.status, host.body)
    assert converter.failure == summary.failure
    assert converter.over
    usage = converter.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.reasoning_tokens) == (
        summary.prompt_tokens,
        summary.completion_tokens,
        summary.reasoning_tokens,
    )


@given(data=st.data(), name=names, fields=st.sampled_from(SHAPES))
def test_any_cut_gives_the_same(data: st.DataObject, name: str, fields: dict[str, Any]) -> None:
    stream, body = read_stream(name), chat_body(**fields)
    expected = b"".join(to_body(body).convert([stream]))
    assert b"".join(to_body(body).convert(data.draw(cuts(stream)))) == expected
    assert b"".join(to_body(body).convert(single_bytes(stream))) == expected


@pytest.mark.parametrize("name", sorted(STREAM_EXPECTATIONS))
def test_chunks_are_those_of_the_stream(name: str) -> None:
    fields = {"stream_options": {"include_usage": True}, "search_results": "inline,list"}
    sent = b"".join(to_body(chat_body(stream=True, **fields)).convert([read_stream(name)]))
    events = [each.removeprefix(b"data: ") for each in sent.split(b"\n\n")[:-1]]
    expected = [json.loads(each) for each in events if each != b"[DONE]"]
    question = read_question(chat_body(**fields), settings=SETTINGS)
    converter = ChunkConverter(question, identity="0", created=1_700_000_000)
    assert list(converter.convert(single_bytes(read_stream(name)))) == expected


@pytest.mark.parametrize("name", sorted(STREAM_EXPECTATIONS))
def test_events_without_a_question_are_those_of_the_reader(name: str) -> None:
    events = list(EventConverter().convert([read_stream(name)], framed=True))
    assert describe(events) == describe(read([read_stream(name)]))
    assert sum(isinstance(each, answer.Ended | answer.Failed) for each in events) == 1


def test_events_of_a_question_are_as_it_wants_them() -> None:
    question = read_question(chat_body(stop="bour", search_results="none"))
    events = list(EventConverter(question).convert([read_stream("plain.ndjson")]))
    text = "".join(each.text for each in events if isinstance(each, answer.Text))
    assert text
    assert STREAM_EXPECTATIONS["plain.ndjson"]["content"].startswith(text + "bour")
    assert events[-1] == answer.Ended()


def test_pictures_come_last_and_where_they_are_said_to_be() -> None:
    stream = [read_stream("image_streaming.ndjson")]
    raw = [e for e in EventConverter().convert(stream) if isinstance(e, answer.Image)]
    request = ChatRequest("grok-3", ())
    linked = EventConverter(request, link_picture=lambda path: f"https://me.example/{path}")
    text = "".join(e.text for e in linked.convert(stream) if isinstance(e, answer.Text))
    assert raw
    assert all(f"![image](https://me.example/{image.address})" in text for image in raw)
    plain = "".join(
        e.text for e in EventConverter(request).convert(stream) if isinstance(e, answer.Text)
    )
    assert f"![image](https://assets.grok.com/{raw[0].address})" in plain


def test_picture_elsewhere_keeps_its_address() -> None:
    line = (
        b'{"result":{"response":{"modelResponse":{"message":"x",'
        b'"generatedImageUrls":["https://a.example/1.jpg"]}}}}\n'
    )
    converter = EventConverter(ChatRequest("grok-3", ()), link_picture=lambda _: "no")
    text = "".join(e.text for e in converter.convert([line]) if isinstance(e, answer.Text))
    assert text == "x\n\n![image](https://a.example/1.jpg)"


def test_settings_count_where_the_request_says_nothing() -> None:
    settings = Settings(
        thinking=ThinkingFormat.HIDDEN, search=frozenset({SearchFormat.LIST}), base_url="http://x"
    )
    question = read_question(chat_body(), settings=settings)
    given_there = EventConverter(ChatRequest("grok-3", ()), settings=settings)
    for converter in (EventConverter(question), given_there):
        events = list(converter.convert([read_stream("search.ndjson")]))
        assert not any(isinstance(each, answer.Reasoning) for each in events)
        assert any(isinstance(each, answer.Sources) for each in events)


# Refusals


def test_refusal_is_read_as_what_it_is() -> None:
    converter = to_body(chat_body())
    converter.receive_head(403, {"Content-Type": "text/html"})
    data = read_body("challenge.html")
    pieces = [piece for byte in single_bytes(data) for piece in converter.receive_data(byte)]
    pieces += converter.receive_eof()
    assert json.loads(b"".join(pieces))["error"]["code"] == "cloudflare"
    assert converter.failure is not None
    assert converter.failure.kind is FailureKind.CLOUDFLARE
    assert converter.status == 503


def test_refusal_with_waiting_time() -> None:
    converter = EventConverter()
    converter.receive_head(429, {"Retry-After": "30"})
    assert converter.receive_data(read_body("limit.json")) == []
    (event,) = converter.receive_eof()
    assert isinstance(event, answer.Failed)
    assert event.failure.retry_after == 30
    assert event.failure == converter.failure


def test_endless_refusal_is_read_as_far_as_it_is_worth_reading() -> None:
    converter = to_chunks()
    converter.receive_head(502, {})
    chunks = converter.receive_data(b"x" * 1_000_000)
    assert [list(chunk) for chunk in chunks] == [["error"]]
    assert converter.over
    assert converter.receive_data(b"x") == []
    assert converter.receive_eof() == []


def test_good_head_changes_nothing() -> None:
    converter = to_chunks()
    converter.receive_head(200, {"content-type": "application/json"})
    assert converter.receive_data(read_stream("plain.ndjson"))
    assert converter.end_seen
    assert converter.receive_eof()[-1]["choices"][0]["finish_reason"] == "stop"


# Ends


def test_broken_connection_is_told() -> None:
    data = read_stream("plain.ndjson")
    converter = to_chunks()
    chunks = list(converter.convert([data[: len(data) // 2]], framed=False))
    assert chunks[-1]["error"]["code"] == "truncated"
    assert not any(c["choices"][0]["finish_reason"] for c in chunks[:-1])


UNMARKED = read_stream("no_end_mark.ndjson")
"""An answer that is whole if its body is."""
SIZE = str(len(UNMARKED))


@pytest.mark.parametrize(
    ("headers", "whole"),
    [
        *(({}, False), ({"X": "y"}, False), ({"Content-Length": SIZE}, True)),
        *(({"Transfer-Encoding": each}, True) for each in ("chunked", "Chunked", "gzip, chunked")),
        *(({"Transfer-Encoding": each}, False) for each in ("gzip", "identity")),
        *(({"transfer-encoding": each, "content-length": "9"}, False) for each in ("gzip", "x")),
        ({"transfer-encoding": "chunked", "content-length": "99999"}, True),
        *(({"content-length": each}, True) for each in ("0", "9", f"{SIZE}, {SIZE}", f" {SIZE} ")),
        *(({"content-length": each}, False) for each in ("99999", "99999,99999", "9" * 18)),
        *(({"content-length": each}, False) for each in ("", ",", "many", "-1", "+1", "1.0", "²")),
        *(({"content-length": each}, False) for each in (f"{SIZE}, 9", "9" * 19, "9" * 5000)),
        *(({"content-length": SIZE, "Content-Length": each}, False) for each in ("9", "99999")),
        ({"content-length": "99999", "Content-Encoding": "gzip"}, True),
        ({"content-length": "99999", "content-encoding": "identity"}, False),
        ({"content-length": "many", "content-encoding": "gzip"}, False),
    ],
)
@pytest.mark.parametrize("size", [1, 10_000])
def test_end_without_an_end_mark(headers: dict[str, str], whole: bool, size: int) -> None:
    converter = EventConverter()
    converter.receive_head(200, headers)
    pieces = (UNMARKED[i : i + size] for i in range(0, len(UNMARKED), size))
    last = list(converter.convert(pieces))[-1]
    assert isinstance(last, answer.Ended if whole else answer.Failed)


def test_fewer_bytes_than_were_said_do_not_end_an_answer() -> None:
    """As `http.client` lets it pass; what it was cut behind is a whole line."""
    data = b'{"result":{"response":{"token":"Half an"}}}\n'
    converter = to_chunks()
    converter.receive_head(200, {"content-length": "5000"})
    chunks = list(converter.convert([data]))
    assert chunks[-1]["error"]["code"] == "truncated"
    assert not any(c["choices"][0]["finish_reason"] for c in chunks[:-1])


@pytest.mark.parametrize("framed", [True, False])
def test_who_calls_may_know_better_than_the_head(framed: bool) -> None:
    converter = EventConverter()
    converter.receive_head(200, {"content-length": "99999" if framed else SIZE})
    last = list(converter.convert([UNMARKED], framed=framed))[-1]
    assert isinstance(last, answer.Ended if framed else answer.Failed)


def test_end_mark_counts_more_than_a_length() -> None:
    converter = EventConverter()
    converter.receive_head(200, {"content-length": "99999"})
    assert list(converter.convert([read_stream("plain.ndjson")]))[-1] == answer.Ended()


def test_head_without_its_body_fails() -> None:
    """Such as of HEAD."""
    converter = EventConverter()
    converter.receive_head(200, {"content-length": "5000"})
    (failed,) = converter.receive_eof()
    assert isinstance(failed, answer.Failed)


def test_what_the_body_raises_comes_out() -> None:
    def body() -> Iterator[bytes]:
        yield read_stream("plain.ndjson")[:900]
        raise ConnectionError

    converter = to_chunks()
    chunks = []
    with pytest.raises(ConnectionError):
        chunks += converter.convert(body())
    assert "error" in converter.receive_eof(framed=False)[-1]


def test_rest_of_the_body_is_not_read_when_the_answer_is_over() -> None:
    body = iter([read_stream("plain.ndjson"), b"never"])
    converter = to_chunks(max_tokens=1)
    chunks = list(converter.convert(body))
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert next(body) == b"never"


def test_answer_without_end_is_ended() -> None:
    settings = Settings(max_answer_bytes=5000)
    converter = EventConverter(settings=settings)
    line = b'{"result":{"response":{"token":"more "}}}\n'
    events = list(converter.convert(line for _ in range(1000)))
    assert sum(isinstance(each, answer.Failed) for each in events) == 1
    assert converter.failure is not None
    assert "did not end" in converter.failure.message


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize(
    ("fields", "reason"), [({"stop": ["END"]}, "stop"), ({"max_tokens": 1}, "length")]
)
def test_end_before_there_was_too_much(size: int, fields: dict[str, Any], reason: str) -> None:
    """Also where one read goes beyond both."""
    data = b'{"token":"hello END"}\n' + b'{"token":"more"}\n' * 20
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    settings = Settings(max_answer_bytes=200)
    body = chat_body(**fields)
    converter = to_body(body, settings)
    whole = b"".join(converter.convert(pieces, framed=True))
    assert json.loads(whole)["choices"][0]["finish_reason"] == reason
    host = FakeHost(lambda _: Response(pieces=pieces))
    host.run(make_exchange(body, settings))
    assert host.body == whole


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_failure_before_there_was_too_much(size: int) -> None:
    data = b'{"token":"hi"}\n{"error":{"code":13,"message":"m"}}\n' + b" " * 300
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    text, failed = EventConverter(settings=Settings(max_answer_bytes=200)).convert(pieces)
    assert text == answer.Text("hi")
    assert isinstance(failed, answer.Failed)
    assert "error 13" in failed.failure.message


def test_drift_and_garbage_are_seen() -> None:
    converter = EventConverter()
    list(converter.convert([read_stream("unknown_kinds.ndjson"), b"garbage\n"]))
    assert {each.name: each.times for each in converter.unknown} == {
        "holoDeck": 2,
        "weather": 1,
        "novelty": 1,
    }
    assert converter.skipped == 1


# Misuse


def test_head_comes_first_and_once() -> None:
    converter = EventConverter()
    converter.receive_head(200, {})
    with pytest.raises(LocalProtocolError, match="comes first"):
        converter.receive_head(200, {})
    converter = EventConverter()
    converter.receive_data(b"")
    with pytest.raises(LocalProtocolError, match="comes first"):
        converter.receive_head(200, {})


def test_converter_is_for_one_answer() -> None:
    converter = EventConverter()
    list(converter.convert([read_stream("plain.ndjson")]))
    with pytest.raises(LocalProtocolError, match="another converter"):
        converter.receive_data(b"x")
    with pytest.raises(LocalProtocolError, match="another converter"):
        converter.receive_eof()


@pytest.mark.parametrize(
    "request_", [ChatRequest("m", (), choices=2), ChatRequest("m", (), drawing=Drawing())]
)
def test_what_takes_several_calls_is_refused(request_: ChatRequest) -> None:
    with pytest.raises(InvalidRequestError):
        ChunkConverter(request_, identity="0", created=0)


def test_body_without_a_question() -> None:
    converter = BodyConverter(ChatRequest("grok-3", ()), identity="0", created=0)
    body = json.loads(b"".join(converter.convert([read_stream("plain.ndjson")])))
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["prompt_tokens"] == 0
    assert not converter.skipped
