"""`grokproto.cuts`."""

from __future__ import annotations

from collections.abc import Sequence

from grokproto.answer import (
    AnswerEvent,
    Citation,
    Cited,
    Ended,
    EndReason,
    Failed,
    Image,
    Reasoning,
    Text,
)
from grokproto.cuts import build_cuts
from grokproto.failures import Failure, FailureKind
from grokproto.filters import run_filters
from grokproto.usage import estimate_tokens

STOP = Ended(EndReason.STOP)
LENGTH = Ended(EndReason.LENGTH)
FAILED = Failed(Failure(FailureKind.NETWORK, "x"))


def cut(
    *events: AnswerEvent | str, stops: Sequence[str] = (), limit: int | None = None
) -> list[AnswerEvent]:
    """What is left of the events; texts may be given as strings."""
    filters = build_cuts(stops, limit)
    named = [Text(event) if isinstance(event, str) else event for event in events]
    return [shown for event in named for shown in run_filters(filters, event)]


def words(events: Sequence[AnswerEvent]) -> str:
    """The text of the events."""
    return "".join(event.text for event in events if isinstance(event, Text))


def test_nothing_to_do() -> None:
    assert build_cuts((), None) == []


def test_text_without_a_stop_passes_at_once() -> None:
    assert cut("ab", "cd", stops=["x"]) == [Text("ab"), Text("cd")]
    assert cut("ab", Ended(EndReason.MODERATED), stops=["x"]) == [
        Text("ab"),
        Ended(EndReason.MODERATED),
    ]


def test_stop_within_a_piece() -> None:
    assert cut("one. two. three", "four", Ended(), stops=[". t"]) == [Text("one"), STOP]
    assert cut("END", stops=["END"]) == [STOP]


def test_stop_over_pieces() -> None:
    assert cut("ab", "<", "|e", "nd|", ">cd", stops=["<|end|>"]) == [Text("ab"), STOP]
    assert cut("👋a👋", "👋b", stops=["👋👋"]) == [Text("👋a"), STOP]


def test_beginning_of_a_stop_that_does_not_go_on_is_text() -> None:
    assert cut("a<", "b", stops=["<|"]) == [Text("a"), Text("<"), Text("b")]
    assert words(cut("aab", "aaac", stops=["aaac"])) == "aab"
    assert words(cut("abababc", stops=["ababc"])) == "ab"
    assert words(cut("aba", "bc", Ended(), stops=["abac"])) == "ababc"


def test_held_text_is_let_go_at_the_end_and_before_an_error() -> None:
    assert cut("a<", Ended(), stops=["<|"]) == [Text("a"), Text("<"), Ended()]
    assert cut("a<", FAILED, stops=["<|"]) == [Text("a"), Text("<"), FAILED]


def test_the_first_complete_stop_counts() -> None:
    for pieces in (["xabcde"], ["xab", "cde"], list("xabcde")):
        assert words(cut(*pieces, stops=["abcde", "cd"])) == "xab"
        assert words(cut(*pieces, stops=["cd", "bcd"])) == "xa"


def test_thinking_is_not_searched_and_order_stays() -> None:
    events = [Reasoning("END"), Text("a<"), Reasoning("b"), Cited("1"), Text("c")]
    assert cut(*events, stops=["<|", "END"]) == [
        Reasoning("END"),
        Text("a"),
        Text("<"),
        Reasoning("b"),
        Cited("1"),
        Text("c"),
    ]
    assert cut("a<", Citation("u"), "|", Image("i"), stops=["<|"]) == [Text("a"), STOP]
    assert cut("ab", Cited("1"), "cd", stops=["bx", "cd"]) == [
        Text("a"),
        Text("b"),
        Cited("1"),
        STOP,
    ]


def test_limit() -> None:
    assert cut("a" * 12, limit=3) == [Text("a" * 12)]
    assert cut("a" * 13, limit=3) == [Text("a" * 12), LENGTH]
    assert cut("a" * 12, "b", "c", Ended(), limit=3) == [Text("a" * 12), LENGTH]
    assert cut("a" * 12, Ended(), limit=3) == [Text("a" * 12), Ended()]
    assert cut(Reasoning("a" * 10), Text("b" * 10), limit=3) == [
        Reasoning("a" * 10),
        Text("bb"),
        LENGTH,
    ]
    assert cut(Reasoning("a" * 14), limit=3) == [Reasoning("a" * 12), LENGTH]
    assert cut("中" * 10, limit=1) == [Text("中"), LENGTH]
    assert cut("👋", limit=1) == [LENGTH]


def test_limit_is_that_of_the_estimate() -> None:
    text = "Ein Satz mit Ümläuten, 中文字 and 👋 emoji. " * 20
    for limit in (1, 2, 7, 50, 300):
        left = words(cut(text, limit=limit))
        assert text.startswith(left)
        assert estimate_tokens(left) <= limit
        assert estimate_tokens(text[: len(left) + 1]) > limit or left == text


def test_stop_and_limit() -> None:
    assert cut("a" * 20, "STOP", stops=["STOP"], limit=3) == [Text("a" * 12), LENGTH]
    assert cut("aSTOP" + "b" * 20, stops=["STOP"], limit=3) == [Text("a"), STOP]
