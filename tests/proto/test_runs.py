"""`grokproto.grok.runs`, and what becomes of runs further on."""

from __future__ import annotations

import json

import pytest

from grokproto import (
    DIALECTS,
    NEED_DATA,
    AnswerReader,
    Exchange,
    Lease,
    ModelTable,
    Settings,
    answer,
    commands,
    events,
)
from grokproto.answer import NO_RUN, Ended, Reasoning, Run, Text
from grokproto.cuts import build_cuts
from grokproto.filters import build_filters, filter_run, run_filters
from grokproto.settings import SearchFormat, ThinkingFormat
from tests.proto.reading import drain, read
from tests.proto.test_openai_chat import encoder

HEAD = b'{"result":{"response":{"token":"'
TAIL = b'","isThinking":false,"responseId":"1"}}}\n'
THINKING = b'","isThinking":true,"responseId":"1"}}}\n'


def lines(*tokens: bytes, tail: bytes = TAIL) -> bytes:
    """A line for each token, as it stands between the quotes."""
    return b"".join(HEAD + token + tail for token in tokens)


def runs(reader: AnswerReader) -> list[answer.AnswerEvent | Run]:
    """What the reader has now, with runs as runs."""
    found: list[answer.AnswerEvent | Run] = []
    while (event := reader.next_run()) is not NEED_DATA:
        found.append(event)
    return found


def test_tokens_that_come_together_are_one_run() -> None:
    reader = AnswerReader()
    reader.receive_data(lines(b"one"))
    assert runs(reader) == [Text("one")]
    reader.receive_data(lines(b" two", b"", b" three"))
    assert runs(reader) == [Run([b" two", b" three"], " two three")]
    reader.receive_data(lines(b'\\n\\"', "中".encode(), b"\\\\"))
    assert runs(reader) == [Run([b'\\n\\"', "中".encode(), b"\\\\"], '\n"中\\')]
    reader.receive_data(lines(b"", b""))
    assert runs(reader) == []


def test_whoever_wants_events_gets_events() -> None:
    reader = AnswerReader()
    reader.receive_data(lines(b"one", b" two", b" three"))
    assert drain(reader) == [Text("one"), Text(" two"), Text(" three")]


def test_what_needs_care_is_read_with_care() -> None:
    reader = AnswerReader()
    reader.receive_data(lines(b"one"))
    drain(reader)
    reader.receive_data(lines(b"a", b"\\u003cb", b"c", b"\\/", b"\\u00e9", b"d", b"<e", b"f"))
    found = runs(reader)
    assert found == [
        Run([b"a"], "a"),
        *(Text("<b"), Run([b"c"], "c")),
        *(Text("/"), Text("é"), Run([b"d"], "d")),
        *(Text("<e"), Run([b"f"], "f")),
    ]


def test_run_in_the_middle_of_markup_is_no_text() -> None:
    stream = lines(b"one", b'<grok:render card_id=\\"1\\">', b"inside", b"</grok:render>", b"two")
    assert read([stream]) == [Text("one"), Text("two"), Ended()]
    thought = lines(b"one", b"<xai:tool_usage_card>", b"in", tail=THINKING)
    thought += lines(b"</xai:tool_usage_card>", b"two", tail=THINKING)
    assert [e for e in read([thought]) if isinstance(e, Reasoning)] == [
        Reasoning("one"),
        Reasoning("two"),
    ]


def test_thinking_and_text_take_turns() -> None:
    reader = AnswerReader()
    reader.receive_data(
        lines(b"a", b"b", b"c", tail=THINKING) + lines(b"d", b"e", b"f", b"g") + lines(b"h")
    )
    assert runs(reader) == [
        Reasoning("a"),
        Run([b"b", b"c"], "bc", True),
        *(Text("d"), Text("e")),
        Run([b"f", b"g", b"h"], "fgh"),
    ]


def test_other_lines_between_leave_the_mould_as_it_is() -> None:
    reader = AnswerReader()
    other = b'{"result":{"response":{"llmInfo":{"modelHash":"x"},"responseId":"1"}}}\n'
    reader.receive_data(other + lines(b"a", b"b") + other + lines(b"c") + other + other)
    assert "".join(e.text for e in runs(reader) if isinstance(e, Run | Text)) == "abc"
    reader.receive_data(other + lines(b"d", b"e") + other)
    assert runs(reader) == [Run([b"d", b"e"], "de")]
    reader.receive_data(other)
    assert runs(reader) == []


@pytest.mark.parametrize(
    "line",
    [
        b'{"result":{"response":{"token": "a","responseId":"1"}}}\n',
        b'{"result":{"response":{"x":{"token":"a"},"token":"b"}}}\n',
        b'{"result":{"response":{"\\"token":"a","token":"a"}}}\n',
        b'{"result":{"response":{"token":"a","responseId":"\xff"}}}\n',
    ],
)
def test_line_whose_token_cannot_be_told_makes_no_mould(line: bytes) -> None:
    reader = AnswerReader()
    reader.receive_data(line * 3)
    assert all(isinstance(event, Text) for event in runs(reader))


def test_halves_that_overlap_are_no_frame() -> None:
    reader = AnswerReader()
    reader.receive_data(lines(b"a", b"b"))
    drain(reader)
    overlapping = HEAD + TAIL[1:]
    reader.receive_data(overlapping)
    reader.receive_data(overlapping * 2 + lines(b"c") + overlapping)
    assert runs(reader) == [Text("c")]
    assert reader.skipped == 4


def test_end_of_a_frame_before_its_beginning_is_no_frame() -> None:
    reader = AnswerReader()
    reader.receive_data(lines(b"a"))
    drain(reader)
    reader.receive_data(b"x" + TAIL + HEAD + b"\n")
    assert runs(reader) == []
    assert reader.skipped == 2


def test_run_after_a_line_that_is_too_long_is_not_read() -> None:
    reader = AnswerReader(max_line_bytes=100)
    reader.receive_data(lines(b"a"))
    reader.receive_data(lines(b"b" * 100, b"c"))
    reader.receive_data(lines(b"d"))
    text, failed = drain(reader)
    assert text == Text("a")
    assert isinstance(failed, answer.Failed)


def test_many_windows() -> None:
    tokens = [b"token%d " % n for n in range(1000)]
    stream = lines(*tokens) + lines(b"x" * 40_000) + lines(b"end") + b"\n" * 40_000
    events = read([stream])
    assert [e.text for e in events if isinstance(e, Text)] == [
        *(token.decode() for token in tokens),
        "x" * 40_000,
        "end",
    ]


def test_empty_run_is_nothing() -> None:
    hidden = build_filters(ThinkingFormat.HIDDEN, ())
    assert filter_run(hidden, Run([b"a"], "a", True)) is NO_RUN
    tagged = build_filters(ThinkingFormat.THINK, ())
    assert run_filters(tagged, Text("a")) == [Text("a")]
    assert filter_run(tagged, Run([b"a"], "a", True)) is NO_RUN
    assert encoder().encode_run(NO_RUN) == b""


def test_text_behind_a_mark_whose_card_is_to_come_waits() -> None:
    filters = build_filters(ThinkingFormat.HIDDEN, {SearchFormat.INLINE})
    run = Run([b"a"], "a")
    assert filter_run(filters, run) == run
    assert run_filters(filters, answer.Cited("1")) == []
    assert filter_run(filters, run) is None


def test_exchange_renders_a_run_singly_where_it_must() -> None:
    stream = lines(b"a", b'<grok:render card_id=\\"1\\" type=\\"citation\\"></grok:render>')
    stream += lines(b"b", b"c")
    body = {"stream": True, "search_results": "inline", "model": "grok-3"}
    whole = answer_of({**body, "messages": [{"role": "user", "content": "hi"}]}, [stream])
    contents = [json.loads(each[6:])["choices"][0]["delta"].get("content") for each in whole]
    assert contents == ["", "a", "b", "c", None]


def answer_of(body: dict[str, object], reads: list[bytes]) -> list[bytes]:
    """The chunks of a whole exchange, less its end mark."""
    exchange = Exchange(
        json.dumps(body).encode(),
        dialect=DIALECTS["openai_chat"],
        models=ModelTable(),
        settings=Settings(),
        new_id=lambda: "1",
        created=1,
    )
    left = [*reads]
    sent = b""
    command = exchange.handle(events.Start(), 0.0)
    while not isinstance(command, commands.Finish):
        event: events.Event = events.Completed()
        if isinstance(command, commands.ReceiveData):
            event = events.DataReceived(left.pop(0)) if left else events.EndOfMessage()
        elif isinstance(command, commands.AcquireCredential):
            event = events.CredentialAcquired(Lease(1, "a", "grok-3"))
        elif isinstance(command, commands.SendRequest):
            event = events.ResponseReceived(200)
        elif isinstance(command, commands.SendData):
            sent += command.data
        command = exchange.handle(event, 0.0)
    *chunks, done, rest = sent.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    return chunks


def test_what_is_left_out_of_a_run_and_what_is_not() -> None:
    thought, text = Run([b"a"], "a", True), Run([b"b"], "b")
    beside = build_filters(ThinkingFormat.REASONING_CONTENT, {SearchFormat.INLINE})
    assert filter_run(beside, thought) == thought
    cuts = build_cuts(["|"], 1)
    assert filter_run(cuts, text) == text
    long = Run([b"c" * 9], "c" * 9)
    assert filter_run(cuts, long) is None
    shown = [each for event in long.events() for each in run_filters(cuts, event)]
    assert shown[-1] == Ended(answer.EndReason.LENGTH)
    assert filter_run(cuts[1:], text) is NO_RUN
    assert filter_run(build_cuts(["b"], None), text) is None
    stops = build_cuts(["b"], None)
    assert [e for event in text.events() for e in run_filters(stops, event)] == [Ended()]
    assert filter_run(stops, text) is NO_RUN
