"""Reading an answer and looking at what came out."""

from __future__ import annotations

from collections.abc import Iterable

from grokproto import answer
from grokproto.grok.reader import NEED_DATA, AnswerReader


def read(
    pieces: Iterable[bytes], *, framed: bool = True, max_line_bytes: int | None = None
) -> list[answer.AnswerEvent]:
    """All events of a stream that comes in these pieces."""
    reader = (
        AnswerReader() if max_line_bytes is None else AnswerReader(max_line_bytes=max_line_bytes)
    )
    events: list[answer.AnswerEvent] = []
    for piece in pieces:
        reader.receive_data(piece)
        events += drain(reader)
    reader.receive_eof(framed=framed)
    return events + drain(reader)


def drain(reader: AnswerReader) -> list[answer.AnswerEvent]:
    """What the reader has now."""
    events: list[answer.AnswerEvent] = []
    while (event := reader.next_event()) is not NEED_DATA:
        events.append(event)
    return events


def describe(events: list[answer.AnswerEvent]) -> dict[str, object]:
    """Events in the form of `expected.json`."""
    last = events[-1]
    results = {
        source: [
            [each.title, each.url]
            for event in events
            if isinstance(event, answer.SearchResults) and event.source is source
            for each in event.results
        ]
        for source in answer.SearchSource
    }
    return {
        "content": "".join(e.text for e in events if isinstance(e, answer.Text)),
        "reasoning": "".join(e.text for e in events if isinstance(e, answer.Reasoning)),
        "images": [e.address for e in events if isinstance(e, answer.Image)],
        "citations": list(dict.fromkeys(e.url for e in events if isinstance(e, answer.Citation))),
        "search_results": results[answer.SearchSource.WEB],
        "x_results": results[answer.SearchSource.X],
        "finish_reason": last.reason.value if isinstance(last, answer.Ended) else None,
        "error_kind": last.failure.kind.value if isinstance(last, answer.Failed) else None,
    }
