"""Stop sequences and token limits do not depend on how the text was divided."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from grokproto.answer import AnswerEvent, Ended, EndReason, Reasoning, Text
from grokproto.cuts import build_cuts
from grokproto.filters import run_filters

TEXTS = st.text(st.sampled_from("ab<|é中👋"), max_size=60)
STOPS = st.lists(st.text(st.sampled_from("ab<|中👋"), min_size=1, max_size=5), max_size=4)


def find_stop(text: str, stops: list[str]) -> int:
    """Where the text ends, by looking at every place."""
    for end in range(len(text) + 1):
        found = [len(stop) for stop in stops if text[:end].endswith(stop)]
        if found:
            return end - max(found)
    return -1


def run(pieces: list[str], stops: list[str], limit: int | None) -> tuple[str, AnswerEvent]:
    """The text that is left, and how it ends."""
    filters = build_cuts(stops, limit)
    shown: list[AnswerEvent] = []
    for event in (*map(Text, pieces), Ended()):
        shown += run_filters(filters, event)
    *texts, last = shown
    assert all(isinstance(event, Text) and event.text for event in texts)
    return "".join(event.text for event in texts if isinstance(event, Text)), last


@given(data=st.data(), text=TEXTS, stops=STOPS, limit=st.none() | st.integers(1, 12))
def test_cuts_do_not_matter(
    data: st.DataObject, text: str, stops: list[str], limit: int | None
) -> None:
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=20))
    edges = [0, *sorted(set(places)), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(edges) if a < b]
    whole = run([text] if text else [], stops, limit)
    assert run(pieces, stops, limit) == whole
    assert run(list(text), stops, limit) == whole


@given(text=TEXTS, stops=STOPS)
def test_stop_is_where_a_plain_search_finds_it(text: str, stops: list[str]) -> None:
    place = find_stop(text, stops)
    left, last = run([text] if text else [], stops, None)
    assert left == (text if place < 0 else text[:place])
    assert last == Ended(EndReason.STOP)


@given(
    pieces=st.lists(st.tuples(st.booleans(), st.text(st.sampled_from("ab<|"), min_size=1))),
    stops=STOPS,
)
def test_nothing_is_lost_or_moved(pieces: list[tuple[bool, str]], stops: list[str]) -> None:
    events = [Reasoning(text) if thinks else Text(text) for thinks, text in pieces]
    filters = build_cuts(stops, None)
    shown = [got for event in events for got in run_filters(filters, event)]
    shown += run_filters(filters, Ended())
    assert shown.pop() == Ended()
    flat = [(type(event), character) for event in shown for character in event.text]
    whole = [(type(event), character) for event in events for character in event.text]
    text = "".join(event.text for event in events if isinstance(event, Text))
    place = find_stop(text, stops)
    if place < 0:
        assert flat == whole
    else:
        assert flat == whole[: len(flat)]
        assert sum(kind is Text for kind, _ in flat) == place
