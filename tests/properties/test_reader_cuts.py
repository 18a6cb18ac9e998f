"""For every stream, damaged anywhere, and every cut: the same events, and only known endings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grokproto import answer
from grokproto.grok.frames import decode_damaged_frame, decode_frame
from grokproto.grok.markup import MarkupStripper
from tests.fixtures.build import one
from tests.proto.reading import read
from tests.strategies import cut, damaged_streams, json_values, single_bytes


@given(damaged_streams(), st.data(), st.booleans())
def test_any_stream_in_any_cut(stream: bytes, data: st.DataObject, framed: bool) -> None:
    whole = read([stream], framed=framed)
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=30))
    assert read(cut(stream, places), framed=framed) == whole
    assert read(single_bytes(stream), framed=framed) == whole
    _check_ending(whole)


@given(st.binary(max_size=300), st.data())
def test_any_bytes_in_any_cut(stream: bytes, data: st.DataObject) -> None:
    whole = read([stream], max_line_bytes=60)
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=30))
    assert read(cut(stream, places), max_line_bytes=60) == whole
    _check_ending(whole)


@given(damaged_streams(), st.integers(1, 400), st.data())
def test_any_limit_in_any_cut(stream: bytes, limit: int, data: st.DataObject) -> None:
    whole = read([stream], max_line_bytes=limit)
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=30))
    assert read(cut(stream, places), max_line_bytes=limit) == whole
    assert read(single_bytes(stream), max_line_bytes=limit) == whole


OUT_OF_RANGE = ("1e999", "-1e999", "9" * 5000, "1" + "0" * 400 + ".5")
"""Numbers by JSON's grammar that no decoder of ours takes."""


@given(
    st.dictionaries(
        st.sampled_from(
            "token isThinking isSoftStop messageTag messageStepId responseId sideBySideIndex "
            "modelResponse webSearchResults xSearchResults cardAttachment error "
            "cachedImageGenerationResponse streamingImageGenerationResponse other".split()
        ),
        json_values
        | st.dictionaries(
            st.sampled_from(
                "results url title username postId jsonData imageUrl progress moderated message "
                "generatedImageUrls cardAttachmentsJson webSearchResults severity "
                "responseId".split()
            ),
            json_values | st.sampled_from(range(len(OUT_OF_RANGE))).map("number {}".format),
        ),
    ),
    st.sampled_from(["wrapped", "flat", "bare"]),
)
def test_any_types_in_any_field(fields: dict[str, object], form: str) -> None:
    frame: dict[str, object] = {"result": {"response": fields}}
    if form != "wrapped":
        frame = {"result": fields} if form == "flat" else fields
    line = one(frame)
    for index, number in enumerate(OUT_OF_RANGE):
        line = line.replace(f'"number {index}"'.encode(), number.encode())
    events = read([line + b"\n" + one({"result": {"token": "end"}})])
    _check_ending(events)
    for event in events:
        if isinstance(event, answer.Text | answer.Reasoning):
            event.text.encode()  # text that no client could be sent would raise here


@given(st.binary(max_size=200))
def test_decoding_never_raises(data: bytes) -> None:
    decode_frame(data)
    decode_damaged_frame(data)


@given(
    st.lists(
        st.sampled_from(
            _PIECES := [
                "<",
                ">",
                "/",
                "<grok:render",
                "</grok:render>",
                "<xai:tool_usage_card>",
                "text",
                " ",
                "</xai:tool_usage_card>",
                "<grok",
                ":render>",
                "/>",
            ]
        )
    )
)
def test_markup_in_any_cut(pieces: list[str]) -> None:
    whole, cut_up, single = MarkupStripper(), MarkupStripper(), MarkupStripper()
    text = "".join(pieces)
    expected = whole.receive(text) + whole.flush()
    assert "".join(map(cut_up.receive, pieces)) + cut_up.flush() == expected
    assert "".join(map(single.receive, text)) + single.flush() == expected


def _check_ending(events: list[answer.AnswerEvent]) -> None:
    assert isinstance(events[-1], answer.Ended | answer.Failed)
    assert not any(isinstance(event, answer.Ended | answer.Failed) for event in events[:-1])
    for event in events:
        if isinstance(event, answer.Text | answer.Reasoning):
            assert event.text
