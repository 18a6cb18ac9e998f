"""A run is what its events are: to the reader, to the filters, to the encoders."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from grokproto import DIALECTS, NEED_DATA, AnswerReader
from grokproto.answer import (
    AnswerEvent,
    Citation,
    Cited,
    Ended,
    Image,
    Picture,
    Reasoning,
    Run,
    Text,
)
from grokproto.cuts import build_cuts
from grokproto.dialects.base import Encoder
from grokproto.filters import build_filters, filter_run, run_filters
from grokproto.request import ChatRequest, Drawing
from grokproto.settings import SearchFormat, ThinkingFormat
from tests.proto.reading import drain
from tests.strategies import cut

_OPENING = '<grok:render card_id="1" card_type="citation_card">'
_TOKENS = st.sampled_from(
    ["a", " b", "", "\n", '"', "\\", 'x\\"', "é", "中", "👋", "<", "<grok:render", _OPENING, ">&/"]
) | st.text(max_size=4)
_FRAMES: list[dict[str, object]] = [
    {"messageTag": "final", "responseId": "1"},
    {"isThinking": False, "responseId": "1"},
    {"isThinking": True, "responseId": "1"},
    {"messageTag": "header", "messageStepId": 1, "responseId": "1"},
    {"messageTag": "summary", "messageStepId": 1, "responseId": "1"},
    {"messageTag": "tool_usage_card", "responseId": "1"},
    {"messageTag": "final", "responseId": "2"},
    {"messageTag": "final", "responseId": "2", "sideBySideIndex": 1},
    {"messageTag": "final", "isSoftStop": True, "responseId": "1"},
    {"messageTag": "final", "webSearchResults": {"results": [{"url": "u"}]}},
    {"modelResponse": {"message": "token", "token": "x"}},
    {"other": {"token": "token"}},
]


@st.composite
def lines(draw: st.DrawFn) -> list[bytes]:
    """Lines of a stream that has runs: one kind of frame goes on for a while, then another."""
    made: list[bytes] = []
    for _ in range(draw(st.integers(1, 6))):
        fields = draw(st.sampled_from(_FRAMES))
        first = draw(st.booleans())
        escaped = draw(st.booleans())
        for token in draw(st.lists(_TOKENS, max_size=8)):
            told = {"token": token}
            frame = {**told, **fields} if first else {**fields, **told}
            text = json.dumps(
                {"result": {"response": frame}}, separators=(",", ":"), ensure_ascii=escaped
            )
            made.append(text.encode("utf-8", "surrogatepass"))
    return made


def read_pieces(pieces: list[bytes]) -> list[AnswerEvent]:
    reader = AnswerReader()
    events: list[AnswerEvent] = []
    for piece in pieces:
        reader.receive_data(piece)
        while (event := reader.next_run()) is not NEED_DATA:
            if isinstance(event, Run):
                assert event.tokens
                assert all(event.tokens)
                assert event.text == "".join(each.text for each in event.events())
                events += event.events()
            else:
                events.append(event)
    reader.receive_eof()
    return events + drain(reader)


@given(lines(), st.data())
def test_lines_read_as_objects_without_lines_between(
    stream: list[bytes], data: st.DataObject
) -> None:
    careful = read_pieces([b"".join(stream)])  # without line feeds, each object is decoded
    whole = b"".join(line + b"\n" for line in stream)
    assert read_pieces([whole]) == careful
    assert read_pieces([line + b"\n" for line in stream]) == careful
    places = data.draw(st.lists(st.integers(0, len(whole)), max_size=20))
    assert read_pieces(cut(whole, places)) == careful


@given(
    st.lists(st.binary(max_size=4) | st.sampled_from([b"a", b'"', b"\\", b"\n", b"\xe4\xb8", b""])),
    st.integers(0, 3),
)
def test_damage_in_a_run_harms_its_own_line_only(tokens: list[bytes], place: int) -> None:
    """What is no text between the halves of a frame is read as it would be read alone."""
    head, tail = b'{"result":{"token":"', b'","isThinking":false}}\n'
    first = [head + b"first" + tail]
    damaged = [head + token + tail for token in tokens]
    sound = [head + b"sound" + tail] * place
    together = read_pieces([b"".join(first + damaged + sound)])
    assert together == read_pieces([*first, *damaged, *sound])
    alone: list[AnswerEvent] = []
    for line in [*first, *b"".join(damaged).splitlines(keepends=True), *sound]:
        alone += read_pieces([line])
    assert join(together) == join(alone)


def join(events: list[AnswerEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


def make_run(tokens: list[str], *, thinking: bool) -> Run:
    written = [json.dumps(token, ensure_ascii=False)[1:-1].encode() for token in tokens]
    return Run(written, "".join(tokens), thinking)


_CLEAN = st.text(st.sampled_from('ab |é中👋\n"\\'), min_size=1, max_size=4)
_SINGLE: list[AnswerEvent] = [
    Citation("https://e.com/1", "1"),
    Cited("1"),
    Cited("2"),
    Picture("https://e.com/p"),
    Image("users/1"),
    Text("<a>"),
    Reasoning("b"),
]


@st.composite
def parts(draw: st.DrawFn) -> list[Run | AnswerEvent]:
    """Runs, and events between them."""
    runs = st.builds(
        lambda tokens, thinking: make_run(tokens, thinking=thinking),
        st.lists(_CLEAN, min_size=1, max_size=5),
        st.booleans(),
    )
    return draw(st.lists(runs | st.sampled_from(_SINGLE), max_size=12))


def render(
    events: list[Run | AnswerEvent],
    encoder: Encoder,
    thinking: ThinkingFormat,
    search: frozenset[SearchFormat],
) -> bytes:
    filters = build_filters(thinking, search)
    pieces: list[bytes] = []
    for event in [*events, Ended()]:
        singly: list[AnswerEvent]
        if isinstance(event, Run):
            run = filter_run(filters, event)
            if run is not None:
                pieces.append(encoder.encode_run(run))
                continue
            singly = [*event.events()]
        else:
            singly = [event]
        pieces += [encoder.encode(shown) for each in singly for shown in run_filters(filters, each)]
    return b"".join(pieces)


@given(
    parts(),
    st.sampled_from(ThinkingFormat),
    st.frozensets(st.sampled_from(SearchFormat)),
    st.sampled_from(
        [
            ("openai_chat", ChatRequest("m", (), stream=True)),
            ("openai_chat", ChatRequest("m", ())),
            ("openai_images", ChatRequest("m", (), drawing=Drawing())),
        ]
    ),
)
def test_filters_and_encoders_make_the_same_of_runs_and_their_events(
    events: list[Run | AnswerEvent],
    thinking: ThinkingFormat,
    search: frozenset[SearchFormat],
    form: tuple[str, ChatRequest],
) -> None:
    dialect, request = form
    first, second = (DIALECTS[dialect].build_encoder(request, "1", 1) for _ in range(2))
    single = [s for each in events for s in (each.events() if isinstance(each, Run) else [each])]
    assert render(events, first, thinking, search) == render([*single], second, thinking, search)


@given(
    parts(),
    st.lists(st.text(st.sampled_from('ab|é\n"'), min_size=1, max_size=3), max_size=2),
    st.none() | st.integers(1, 6),
)
def test_cuts_cut_runs_where_they_cut_events(
    events: list[Run | AnswerEvent], stops: list[str], limit: int | None
) -> None:
    by_run, by_event = build_cuts(stops, limit), build_cuts(stops, limit)
    left: list[AnswerEvent] = []
    plain: list[AnswerEvent] = []
    for event in [*events, Ended()]:
        single = event.events() if isinstance(event, Run) else [event]
        plain += [shown for each in single for shown in run_filters(by_event, each)]
        run = filter_run(by_run, event) if isinstance(event, Run) else None
        if run is not None:
            left += run.events()
        else:
            left += [shown for each in single for shown in run_filters(by_run, each)]
    assert left == plain
