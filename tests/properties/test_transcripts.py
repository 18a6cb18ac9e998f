"""Whatever Grok sends and however it is cut: a transcript can be made, and done again."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from grokproto import commands as c
from grokproto import events as e
from grokproto.errors import ConfigurationError
from grokproto.settings import ImageMode, Settings
from grokproto.transcript import (
    build_transcript,
    decode_transcript,
    encode_transcript,
    replay,
    tell,
)
from grokproto.transcript.redaction import Redaction
from tests.fixtures.load import read_stream
from tests.playbook import OK, FakeHost, Response, chat_body
from tests.recorded import note_accounts, record
from tests.strategies import cuts, damaged_streams, json_values

BODIES = [
    chat_body(stream=True),
    chat_body(search_results="inline,list", stop=["the"], max_tokens=20),
    chat_body(n=2, stream=True, thinking_format="reasoning_content"),
]
ENDS: list[e.Event] = [e.EndOfMessage(), e.EndOfMessage(framed=False), e.RequestFailed("reset")]


@given(data=st.data(), stream=damaged_streams(), body=st.sampled_from(BODIES))
def test_any_answer(data: st.DataObject, stream: bytes, body: bytes) -> None:
    pieces = data.draw(cuts(stream))
    end = data.draw(st.sampled_from(ENDS))
    status = data.draw(st.sampled_from([200, 200, 200, 403, 429]))

    def respond(request: c.UpstreamRequest) -> Response:
        assert "conversations" in request.url or "rate-limits" in request.url
        return Response(status, OK, pieces, end)

    upstream = Settings(image_mode=ImageMode.UPSTREAM)
    transcript = build_transcript(record(FakeHost(respond), body, settings=upstream))
    read = decode_transcript(encode_transcript(transcript))
    assert list(replay(read)) == [None] * len(transcript.entries[: transcript.differs])


@given(data=st.binary(max_size=300) | damaged_streams())
def test_any_answer_keeps_its_length(data: bytes) -> None:
    assert len(Redaction(b"{}", []).answer(data)) == len(data)


@given(fields=st.dictionaries(st.text(max_size=8), json_values, max_size=6), chat=st.booleans())
def test_any_request_keeps_its_length_and_its_shape(fields: dict[str, Any], chat: bool) -> None:
    body = json.dumps({**json.loads(chat_body()), **fields} if chat else fields).encode()
    redacted = Redaction(body, ["grok-3"]).request(body)
    assert len(redacted) == len(body)
    assert len(json.loads(redacted)) <= len(json.loads(body))


@given(text=st.text(st.characters(categories=["Lu", "Ll"]), min_size=4), body=st.booleans())
def test_no_word_is_left(text: str, body: bool) -> None:
    redaction = Redaction(b"{}", ["grok-3"])
    if body:
        shown = redaction.request(chat_body(text=f"{text} {text}"))
        assert f"{text} {text}" not in json.loads(shown)["messages"][0]["content"] or _is_filler(
            text
        )
    else:
        line = json.dumps({"result": {"response": {"token": text}}}).encode()
        shown = redaction.answer(line)
        assert json.loads(shown)["result"]["response"]["token"] != text or _is_filler(text)


# What nobody shall find in one

CANARY = "Qzjkvwyq"
"""Eight letters that nothing else here is made of; no four in a row may be left."""
DRESSES = [
    *("{}", "my {}, please", "USER: {}", "<think>{}", "</{}>", "`{}`", "“{}", "'{}'"),
    *("<grok:render {}", "<grok:render type='{}'", '<grok:render card_id="{}" {}=', "<grok:{}"),
    *(
        "<xai:tool_usage_card {}/>",
        "<xai:tool_usage_card>{{{}</xai:tool_usage_card>",
        "card_id={}>",
    ),
    *('{{"{}": "{}", "type": "{}"}}', '{{"error":{{"code":"{}"}}}}', '{{"token":"{}'),
    *("data:text/plain;name={}.txt;base64,aGVsbG8=", "data:image/{};base64,iVBO", "](data:{}"),
    *("https://{}.example/{}.png?x={}", "users/{}/x-part-0/{}.jpg", "{}@{}.example", "/{}/"),
    *(
        "GIF89a{}",
        "RIFF{}WEBP",
        "<html><title>{}</title>",
        "[WKE=unauthenticated:{}]",
        "blocked-user {}",
    ),
    *(
        "bytearray(b'it\\'s {}')",
        'b"{}\'s"',
        "407 {}",
        "text/html; {}",
        "no way to {}:443",
        "{}_{}-{}",
    ),
    *("\\{}", '"{}', "{}\n{{", "\n\ndata: {}", "}}{{", ">", "x", "ⓢ"),
]
dressed = st.lists(st.sampled_from(DRESSES), min_size=1, max_size=4).map(
    lambda found: " ".join(found).replace("{{", "{").replace("}}", "}").replace("{}", CANARY)
)


def _has_canary(written: bytes) -> bool:
    shown = written.decode().lower()
    runs = (CANARY[start : start + 4].lower() for start in range(len(CANARY) - 3))
    return any(run in shown for run in runs)


@given(data=st.data(), said=dressed, asked=dressed, third=dressed)
def test_nothing_of_what_was_said_is_left(
    data: st.DataObject, said: str, asked: str, third: str
) -> None:
    parts = [
        {"type": "text", "text": asked},
        {"type": "image_url", "image_url": {"url": third}},
        {"type": "file", "file": {"filename": third, "file_data": third}},
    ]
    content = data.draw(st.sampled_from([asked, parts[:1], parts[:2], parts]))
    more = data.draw(st.sampled_from([{}, {"user": third}, {third: asked}, {"model": third}]))
    body = json.dumps({**json.loads(chat_body()), **_ask(content), **more}).encode()
    half = len(said) // 2
    frames: list[dict[str, Any]] = [
        {"token": said[:half]},
        {"token": said[half:], "messageTag": third},
        {"cardAttachment": {"jsonData": json.dumps({"id": said, "type": third, "url": said})}},
        {"modelResponse": {"message": said, "generatedImageUrls": [third]}},
        {"webSearchResults": {"results": [{"url": third, "title": said}]}},
        {"error": {"code": third, "message": said, "severity": "STREAM_ERROR_SEVERITY_FATAL"}},
    ]
    stream = "".join(json.dumps({"result": {"response": frame}}) + "\n" for frame in frames)
    flat = json.dumps({"error": {"code": said, "message": third, "type": said}})
    bare = said.replace('"', "")  # names of keys may stay in what Grok itself sends as JSON
    answer = data.draw(st.sampled_from([stream, flat, bare])).encode()
    status = data.draw(st.sampled_from([200, 200, 403, 429, 500]))
    end = data.draw(st.sampled_from([*ENDS, e.RequestFailed(third)]))
    headers = (*OK, ("retry-after", third), ("content-type", said))

    def respond(request: c.UpstreamRequest) -> Response:
        return Response(status, headers, data.draw(cuts(answer)), end)

    host = FakeHost(respond, pictures={third: e.PictureFetched(answer)})
    recording = record(host, body, describe=lambda *_: _note(said))
    assert not _has_canary(encode_transcript(build_transcript(recording)))


def _ask(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def _note(reason: str) -> dict[str, Any]:
    account = {"name": "a", "state": "cooling", "remaining": 1, "total": 2, "in_flight": 0}
    return {"rotation": "balanced", "accounts": [{**account, "reason": reason}]}


# Transcripts that are damaged


def _write_recorded(**fields: Any) -> list[Any]:
    """The lines of a good one, in which most things happen that can."""
    answers = [b'{"error":{"code":8,"message":"No more."}}', read_stream("search.ndjson")]

    def respond(request: c.UpstreamRequest) -> Response:
        if "rate-limits" in request.url:
            return Response(pieces=[b'{"remainingQueries":46,"totalQueries":50}'])
        return Response(pieces=[answers.pop(0) if answers else read_stream("plain.ndjson")])

    host = FakeHost(respond, wants_quota=True)
    recording = record(host, chat_body(**fields), describe=note_accounts)
    written = encode_transcript(build_transcript(recording))
    return [json.loads(line) for line in written.splitlines()]


RECORDED = [_write_recorded(stream=True), _write_recorded(n=2), _write_recorded(stop=["the"])]
RECORDED[2][0]["differs"] = 5
ODD: list[Any] = [
    *(None, True, -1, 7, 10**30, 10**400, 1.5, float("nan"), float("inf")),
    *("x", "", "\ud800", "\n", [], [1], {}, {"is": "x"}, {"is": []}),
]


def _list_places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every object and list in a value, with each of its keys."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _list_places(value[key])


def _read_all(data: bytes) -> None:
    """Read a transcript, tell it and do it again; or say in one line which line is wrong."""
    why = ""
    try:
        transcript = decode_transcript(data)
    except ConfigurationError as exc:
        why = str(exc)
    if why:
        assert re.fullmatch("line [0-9]+ is no transcript's( last)?: [^\n]+", why)
        assert why.encode()
        return
    assert all(told.sentence for told in tell(transcript))
    assert len(list(replay(transcript))) <= len(transcript.entries)


@settings(max_examples=500)
@given(data=st.data(), lines=st.sampled_from(RECORDED))
def test_any_damage_is_told(data: st.DataObject, lines: list[Any]) -> None:
    changed = copy.deepcopy(lines)
    for _ in range(data.draw(st.integers(1, 2))):
        inside, key = data.draw(st.sampled_from([*_list_places(changed)][:2000]))
        if data.draw(st.booleans()):
            # A copy: the next one may be put into this one.
            inside[key] = copy.deepcopy(data.draw(st.sampled_from(ODD)))
        else:
            del inside[key]
    _read_all("\n".join(map(json.dumps, changed)).encode())


@given(data=st.data(), lines=st.sampled_from(RECORDED))
def test_any_damage_to_the_bytes_is_told(data: st.DataObject, lines: list[Any]) -> None:
    written = bytearray("\n".join(map(json.dumps, lines)).encode())
    start = data.draw(st.integers(0, len(written)))
    written[start : start + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    _read_all(bytes(written))


def _is_filler(text: str) -> bool:
    return Redaction(b"{}", []).text(text) == text
