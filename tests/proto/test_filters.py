"""`grokproto.filters`."""

from __future__ import annotations

from grokproto.answer import (
    AnswerEvent,
    Citation,
    Ended,
    Failed,
    Image,
    Reasoning,
    SearchResult,
    SearchResults,
    SearchSource,
    Text,
)
from grokproto.failures import Failure, FailureKind
from grokproto.filters import build_filters, run_filters
from grokproto.settings import SearchFormat, Settings, ThinkingFormat

FAILED = Failed(Failure(FailureKind.NETWORK, "x"))
FOUND = SearchResults(
    SearchSource.WEB,
    (SearchResult("A [b]", "https://e.com/(x) y"), SearchResult("", "https://e.com/2")),
)


def filtered(settings: Settings, *events: AnswerEvent) -> list[AnswerEvent]:
    """What the filters make of the events."""
    filters = build_filters(settings.thinking, settings.search)
    return [changed for event in events for changed in run_filters(filters, event)]


def texts(settings: Settings, *events: AnswerEvent) -> list[str]:
    """The texts among them."""
    return [e.text for e in filtered(settings, *events) if isinstance(e, Text)]


THINK = Settings()
BESIDE = Settings(thinking=ThinkingFormat.REASONING_CONTENT)
HIDDEN = Settings(thinking=ThinkingFormat.HIDDEN)


def test_think_tags_open_the_content_and_close_once() -> None:
    events = (Reasoning("a"), FOUND, Reasoning("b"), Text("c"), Reasoning("late"), Text("d"))
    assert texts(THINK, *events) == ["<think>a", "b", "</think>\nc", "d"]
    assert FOUND in filtered(THINK, *events)


def test_think_tags_close_whatever_comes() -> None:
    for last in (Ended(), FAILED, Image("users/1")):
        assert filtered(THINK, Reasoning("a"), last) == [Text("<think>a"), Text("</think>\n"), last]
        assert filtered(THINK, Text("a"), last) == [Text("a"), last]
        assert filtered(THINK, last, Reasoning("late")) == [last]


def test_thinking_beside_the_content_is_not_touched() -> None:
    events = [Reasoning("a"), Text("b"), Reasoning("c"), Ended()]
    assert filtered(BESIDE, *events) == events


def test_hidden_thinking() -> None:
    assert filtered(HIDDEN, Reasoning("a"), Text("b"), Ended()) == [Text("b"), Ended()]


def test_results_in_front_of_the_answer() -> None:
    settings = Settings(search=frozenset({SearchFormat.FRONT}))
    listed = "- [A \\[b\\]](https://e.com/%28x%29%20y)\n- [https://e.com/2](https://e.com/2)\n\n"
    events = (Reasoning("a"), FOUND, Citation("https://e.com/2"), Text("b"), FOUND, Ended())
    assert texts(settings, *events) == ["<think>a", f"</think>\n{listed}", "b"]
    assert texts(settings, FOUND, Ended()) == [listed]
    assert texts(settings, Text("b"), Ended()) == ["b"]


def test_long_titles_are_cut() -> None:
    settings = Settings(search=frozenset({SearchFormat.FRONT}))
    post = SearchResults(SearchSource.X, (SearchResult("word \n" * 100, "https://x.com/1"),))
    (text, _) = texts(settings, post, Text("b"))
    assert "word word" in text
    assert "…](https://x.com/1)" in text
    assert len(text) < 160
