"""Whatever Grok sends and however it is cut: a transcript can be made, and done again."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from grokproto import commands as c
from grokproto import events as e
from grokproto.settings import ImageMode, Settings
from grokproto.transcript import build_transcript, decode_transcript, encode_transcript, replay
from grokproto.transcript.redaction import Redaction
from tests.playbook import OK, FakeHost, Response, chat_body
from tests.recorded import record
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

    settings = Settings(image_mode=ImageMode.UPSTREAM)
    transcript = build_transcript(record(FakeHost(respond), body, settings=settings))
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


def _is_filler(text: str) -> bool:
    return Redaction(b"{}", []).text(text) == text
