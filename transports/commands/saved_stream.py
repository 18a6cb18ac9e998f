"""`grokproto parse --check`: a saved answer of Grok's, cut in every way.

What comes out must not depend on how the bytes were cut. Three ways of cutting are tried: into
single bytes, at random places, and in two at every position. The last takes time in proportion to
the square of the answer's length, so where that would be too much each line is cut in two, all
lines at once, at every position of a line: one reading for each byte of the longest line.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs
import msgspec

from grokproto import EventConverter
from grokproto.answer import AnswerEvent

RANDOM_CUTS = 200
"""Readings with cuts at random places, from few cuts to one every four bytes."""
_MAX_OFFSET = 4096
"""Positions of a line that are all tried; of those behind it, one is, at random, each time."""

Pieces = Sequence[bytes]


@attrs.frozen
class Cutting:
    """What came of one way of cutting."""

    way: str
    """What was tried, for people."""
    readings: int
    complete: bool
    """All was tried that there is to try; else time was up."""
    difference: str | None
    """What is not the same, and with which cut; None where all is."""


def read_events(pieces: Iterable[bytes]) -> list[AnswerEvent]:
    """All events of an answer that comes in these pieces."""
    return list(EventConverter().convert(pieces))


def describe_event(event: AnswerEvent) -> dict[str, object]:
    """An event as an object, such as `{"event": "Text", "text": " sans"}`."""
    return {"event": type(event).__name__, **msgspec.to_builtins(event)}


def check_cuts(
    data: bytes,
    *,
    seed: int,
    seconds: float,
    read: Callable[[Pieces], list[AnswerEvent]] = read_events,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Cutting]:
    """Cut an answer in every way.

    Args:
        data: The answer.
        seed: Makes chance repeatable.
        seconds: How long each way of cutting may take.
        read: Reads pieces.
        clock: Seconds.
    """
    began = clock()
    expected = read([data])
    patience = seconds / max(clock() - began, 1e-6)
    """Readings that there is time for."""
    chance = random.Random(seed)  # noqa: S311 - it cuts, and guards nothing
    ways: list[tuple[str, Iterable[Pieces]]] = [
        ("in single bytes", [[data[i : i + 1] for i in range(len(data))]]),
        (f"at random places (seed {seed})", _cut_at_random(data, chance)),
        ("in two, at every position", _cut_in_two(data))
        if len(data) <= patience
        else ("each line in two, at every position of a line", _cut_lines(data, chance)),
    ]
    for way, cuts in ways:
        until = clock() + seconds
        readings = 0
        complete, difference = True, None
        for pieces in cuts:
            if readings and clock() > until:
                complete = False
                break
            readings += 1
            events = read(pieces)
            if events != expected:
                difference = _tell_difference(expected, events, pieces)
                break
        yield Cutting(way, readings, complete, difference)


def _cut_in_two(data: bytes) -> Iterator[Pieces]:
    return ((data[:place], data[place:]) for place in range(1, len(data)))


def _cut_at_random(data: bytes, chance: random.Random) -> Iterator[Pieces]:
    for number in range(RANDOM_CUTS):
        places = sorted(chance.randrange(len(data) + 1) for _ in range(len(data) * number // 800))
        yield [data[a:b] for a, b in itertools.pairwise([0, *places, len(data)]) if a < b]


def _cut_lines(data: bytes, chance: random.Random) -> Iterator[Pieces]:
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    longest = max(map(len, lines))
    for offset in range(1, min(longest, _MAX_OFFSET) + 1):
        pieces: list[bytes] = []
        for line in lines:
            place = offset
            if offset == _MAX_OFFSET and len(line) > offset:
                place = chance.randrange(offset, len(line))
            pieces += (line[:place], line[place:]) if place < len(line) else (line,)
        yield pieces


def _tell_difference(
    expected: Sequence[AnswerEvent], events: Sequence[AnswerEvent], pieces: Pieces
) -> str:
    pairs = itertools.zip_longest(expected, events)
    number, (one, other) = next(
        (number, pair) for number, pair in enumerate(pairs) if pair[0] != pair[1]
    )
    cut = f"cut after byte {len(pieces[0])}" if len(pieces) == 2 else f"in {len(pieces)} pieces"
    return f"event {number} is {_show(one)} as a whole, and {_show(other)} {cut}"


def _show(event: AnswerEvent | None) -> str:
    return "missing" if event is None else msgspec.json.encode(describe_event(event)).decode()
