"""Citations: from the marks that Grok's page makes links of to what a client can show.

Grok's text has a mark where it cites, and a card beside the text says what the mark stands for. The
card comes before or after its mark. So behind a mark whose card has yet to come the text waits a
little; where no card comes, it goes on without the link.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Sequence

from .answer import (
    AnswerEvent,
    Citation,
    Cited,
    CitedText,
    Ended,
    Failed,
    Run,
    SearchResult,
    SearchResults,
    Sources,
    Text,
)
from .settings import SearchFormat

MAX_HELD = 64
"""Events that wait for a card. Grok sends it with the mark, or right after it [recorded]."""

_UNSAFE_IN_LINK = re.compile(r"[\s()<>\\]")


def escape_link(url: str) -> str:
    """An address that stands in Markdown; what would end it early is percent-encoded."""
    return _UNSAFE_IN_LINK.sub(
        lambda found: "".join(f"%{byte:02X}" for byte in found.group().encode()), url
    )


class CitationLinks:
    """Gives citations the shape that was asked for. Stands behind whatever adds to the text.

    Args:
        formats: What was asked for.
    """

    def __init__(self, formats: Collection[SearchFormat]) -> None:
        self._inline = SearchFormat.INLINE in formats
        self._annotated = SearchFormat.ANNOTATIONS in formats
        self._listed = SearchFormat.LIST in formats
        self._urls: dict[str, str] = {}
        """By card."""
        self._numbers: dict[str, int] = {}
        """By address: what `[[1]]` is."""
        self._results: dict[str, SearchResult] = {}
        """By address."""
        self._held: deque[AnswerEvent] = deque()
        """From the first mark on whose card has yet to come."""
        self._length = 0
        """Code points of the content so far."""

    def receive_run(self, run: Run) -> Run | None:
        """See `grokproto.filters.Filter.receive_run`."""
        if run.thinking:
            return run
        if self._held:
            return None
        self._length += len(run.text)
        return run

    def receive(self, event: AnswerEvent) -> Sequence[AnswerEvent]:
        """See `grokproto.filters.Filter.receive`."""
        match event:
            case Text(text) if not self._held:
                self._length += len(text)
                return (event,)
            case SearchResults(_, results):
                for result in results:
                    self._results.setdefault(result.url, result)
                return (event,)
            case Citation(url, card):
                self._urls[card] = url
                return self._release(MAX_HELD)
            case Cited() | Text():
                self._held.append(event)
                return self._release(MAX_HELD)
            case Ended():
                return [*self._release(0), *self._list_sources(), event]
            case Failed():
                return [*self._release(0), event]
        return (event,)

    def _release(self, most: int) -> list[AnswerEvent]:
        """Let go of what need not wait any more; at most so many may stay."""
        released: list[AnswerEvent] = []
        while self._held:
            event: AnswerEvent | None = self._held[0]
            if isinstance(event, Cited):
                url = self._urls.get(event.card)
                if url is None and len(self._held) <= most:
                    break
                event = self._cite(url)
            self._held.popleft()
            if isinstance(event, Text | CitedText):
                self._length += len(event.text)
                released.append(event)
        return released

    def _cite(self, url: str | None) -> AnswerEvent | None:
        if url is None:
            return None
        number = self._numbers.setdefault(url, len(self._numbers) + 1)
        if not self._inline and not self._annotated:
            return None
        text = f"[[{number}]]({escape_link(url)})" if self._inline else ""
        result = self._results.get(url)
        title = url if result is None else result.title or url
        return CitedText(text, self._length, url, title, self._annotated)

    def _list_sources(self) -> list[AnswerEvent]:
        if not self._listed or not (self._results or self._numbers):
            return []
        return [Sources(tuple(self._results.values()), tuple(self._numbers))]
