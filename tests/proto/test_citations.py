"""`grokproto.citations`, alone and behind the reader."""

from __future__ import annotations

from typing import Any

import pytest

from grokproto.answer import (
    AnswerEvent,
    Citation,
    Cited,
    CitedText,
    Ended,
    Failed,
    Reasoning,
    SearchResult,
    SearchResults,
    SearchSource,
    Sources,
    Text,
)
from grokproto.citations import MAX_HELD, CitationLinks, escape_link
from grokproto.failures import Failure, FailureKind
from grokproto.settings import SearchFormat, Settings
from tests.playbook import FakeHost, answered, chat_body, make_exchange

ONE, TWO = "https://e.com/1", "https://e.com/2"
FOUND = SearchResults(SearchSource.WEB, (SearchResult("One", ONE), SearchResult("", TWO)))
F = SearchFormat


def linked(*events: AnswerEvent, formats: set[SearchFormat] | None = None) -> list[AnswerEvent]:
    """What becomes of the events."""
    links = CitationLinks({F.INLINE} if formats is None else formats)
    return [shown for event in events for shown in links.receive(event)]


def test_links_are_numbered_by_address() -> None:
    events = (Citation(ONE, "a"), Citation(TWO, "b"), Citation(ONE, "c"))
    marks = (Text("x"), Cited("b"), Text("y"), Cited("a"), Cited("c"))
    assert linked(*events, *marks) == [
        Text("x"),
        CitedText(f"[[1]]({TWO})", 1, TWO, TWO, annotated=False),
        Text("y"),
        CitedText(f"[[2]]({ONE})", 24, ONE, ONE, annotated=False),
        CitedText(f"[[2]]({ONE})", 46, ONE, ONE, annotated=False),
    ]


def test_offsets_are_code_points() -> None:
    events = (FOUND, Citation(ONE, "a"), Text("👋é"), Cited("a"), Text("中"), Cited("a"))
    got = linked(*events, formats={F.ANNOTATIONS})
    assert got == [
        FOUND,
        Text("👋é"),
        CitedText("", 2, ONE, "One"),
        Text("中"),
        CitedText("", 3, ONE, "One"),
    ]
    both = linked(*events, formats={F.ANNOTATIONS, F.INLINE})
    spans = [(event.start, event.end) for event in both if isinstance(event, CitedText)]
    content = "".join(event.text for event in both if isinstance(event, Text | CitedText))
    assert [content[start:end] for start, end in spans] == [f"[[1]]({ONE})"] * 2


def test_text_waits_for_the_card() -> None:
    links = CitationLinks({F.INLINE})
    assert links.receive(Cited("a")) == []
    assert links.receive(Text("b")) == []
    assert links.receive(Reasoning("r")) == (Reasoning("r"),)
    assert links.receive(Citation(ONE, "z")) == []
    assert links.receive(Citation(ONE, "a")) == [
        CitedText(f"[[1]]({ONE})", 0, ONE, ONE, annotated=False),
        Text("b"),
    ]


def test_text_does_not_wait_for_ever() -> None:
    texts = [Text(str(number)) for number in range(MAX_HELD + 5)]
    got = linked(Cited("none"), *texts)
    assert got == texts
    assert linked(Cited("none"), Text("a"), Ended()) == [Text("a"), Ended()]
    failed = Failed(Failure(FailureKind.NETWORK, "x"))
    assert linked(FOUND, Cited("none"), Text("a"), failed, formats={F.LIST}) == [
        FOUND,
        Text("a"),
        failed,
    ]


def test_list() -> None:
    events = (FOUND, Citation(TWO, "a"), Text("x"), Cited("a"), Cited("a"), Ended())
    assert linked(*events, formats={F.LIST}) == [
        FOUND,
        Text("x"),
        Sources(FOUND.results, (TWO,)),
        Ended(),
    ]
    assert linked(Text("x"), Ended(), formats={F.LIST}) == [Text("x"), Ended()]


def test_addresses_cannot_leave_their_link() -> None:
    assert escape_link("https://a/(b) <c>\\\u2028") == "https://a/%28b%29%20%3Cc%3E%5C%E2%80%A8"


def ask(stream: bool, search: Any, **fields: Any) -> FakeHost:
    """Ask for the fixture with citations."""
    host = FakeHost(lambda _: answered("search.ndjson"))
    body = chat_body(stream=stream, search_results=search, thinking_format="hidden", **fields)
    host.run(make_exchange(body))
    return host


A, B = "https://example.com/a?b=1&c=2", "https://example.org/nest"
LINKED = f"Herons nest[[1]]({A}) high.[[2]]({B}) a<b, <b>, <grokking>"


@pytest.mark.parametrize("stream", [False, True])
def test_inline(stream: bool) -> None:
    host = ask(stream, "inline")
    assert host.text == LINKED
    assert b"annotations" not in host.body


def test_annotations_of_a_body() -> None:
    host = ask(False, ["inline", "annotations", "list"])
    message = host.json["choices"][0]["message"]
    assert message["content"] == LINKED
    cited = [each["url_citation"] for each in message["annotations"]]
    assert [each["type"] for each in message["annotations"]] == ["url_citation"] * 2
    assert [LINKED[each["start_index"] : each["end_index"]] for each in cited] == [
        f"[[1]]({A})",
        f"[[2]]({B})",
    ]
    assert [each["title"] for each in cited] == ["A & <b>", B]
    assert host.json["citations"] == [A, B]
    assert host.json["search_results"][0] == {"title": "A & <b>", "url": A}


def test_annotations_of_a_stream_come_with_their_text() -> None:
    host = ask(True, ["inline", "annotations", "list"], stream_options={"include_usage": True})
    deltas = [chunk["choices"][0]["delta"] for chunk in host.chunks if chunk and chunk["choices"]]
    content = ""
    for delta in deltas:
        for each in delta.get("annotations", ()):
            cited = each["url_citation"]
            assert cited["start_index"] == len(content)
            assert cited["end_index"] == len(content) + len(delta["content"])
        content += delta.get("content") or ""
    assert content == LINKED
    assert sum("annotations" in delta for delta in deltas) == 2
    last = host.chunks[-3]
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["citations"] == [A, B]
    assert [result["url"] for result in last["search_results"]] == [
        A,
        "https://x.com/heron_example/status/42",
    ]


def test_configured_formats_and_none() -> None:
    settings = Settings(search=frozenset({F.INLINE}))
    host = FakeHost(lambda _: answered("search.ndjson"))
    host.run(make_exchange(chat_body(thinking_format="hidden"), settings))
    assert host.text == LINKED
    host = FakeHost(lambda _: answered("search.ndjson"))
    host.run(make_exchange(chat_body(search_results="none"), settings))
    assert "[[1]]" not in host.text
