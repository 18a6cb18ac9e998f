"""Filters: answer events in, answer events out. What the client is to see of thinking and search.

A filter is one method, so a host chains as many as it likes. The order here is: pictures, so that
everything else takes them for text; results, so that thinking is closed before them; thinking; and
citations last, since they count the characters of all the content.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from .answer import (
    AnswerEvent,
    Citation,
    Cited,
    Picture,
    Reasoning,
    SearchResult,
    SearchResults,
    Text,
)
from .citations import CitationLinks, escape_link
from .settings import SearchFormat, ThinkingFormat

_BLANKS = re.compile(r"\s+")
_MAX_TITLE = 120
"""Characters of a title; a post of X has no title, and its text may be long."""


class Filter(Protocol):
    """Changes the events of one answer."""

    @property
    def text_passes(self) -> bool:
        """Whether `Text` that comes next passes as it is, and changes nothing here. What is true
        after one `Text` stays so as long as nothing else comes."""
        ...

    def receive(self, event: AnswerEvent) -> Sequence[AnswerEvent]:
        """Take the next event; give what shall come in its place."""
        ...


class ThinkTags:
    """Puts the thinking in front of the answer, as `<think>...</think>` in its text.

    The block opens with the first thinking and closes when anything else comes, once. Grok
    sometimes thinks on after the answer began; that has no place any more and is left out.
    """

    def __init__(self) -> None:
        self._open = False
        self._closed = False

    @property
    def text_passes(self) -> bool:
        """See `Filter.text_passes`."""
        return self._closed

    def receive(self, event: AnswerEvent) -> Sequence[AnswerEvent]:
        """See `Filter.receive`."""
        match event:
            case Reasoning(text):
                if self._closed:
                    return ()
                if self._open:
                    return (Text(text),)
                self._open = True
                return (Text(f"<think>{text}"),)
            case SearchResults() | Citation() | Cited():
                return (event,)  # these come between thoughts, and are no text
            case _ if self._closed:
                return (event,)
        self._closed = True
        if not self._open:
            return (event,)
        if isinstance(event, Text):
            return (Text(f"</think>\n{event.text}"),)
        return (Text("</think>\n"), event)


class HiddenThinking:
    """Leaves the thinking out."""

    text_passes = True

    def receive(self, event: AnswerEvent) -> Sequence[AnswerEvent]:
        """See `Filter.receive`."""
        return () if isinstance(event, Reasoning) else (event,)


def _list_results(results: Iterable[SearchResult]) -> str:
    lines: list[str] = []
    for result in results:
        title = _BLANKS.sub(" ", result.title[: 4 * _MAX_TITLE]).strip() or result.url
        if len(title) > _MAX_TITLE:
            title = title[: _MAX_TITLE - 1] + "…"
        title = title.replace("[", "\\[").replace("]", "\\]")
        lines.append(f"- [{title}]({escape_link(result.url)})\n")
    return "".join(lines) + "\n"


class ResultsInFront:
    """Puts a list of the search results, with title and address, in front of the answer.

    Results that come when the answer has begun are too late for that and stay events.
    """

    def __init__(self) -> None:
        self._results: list[SearchResult] = []
        self._begun = False

    @property
    def text_passes(self) -> bool:
        """See `Filter.text_passes`."""
        return self._begun

    def receive(self, event: AnswerEvent) -> Sequence[AnswerEvent]:
        """See `Filter.receive`."""
        match event:
            case SearchResults(_, results):
                if not self._begun:
                    self._results += results
                return (event,)
            case Reasoning() | Citation() | Cited():
                return (event,)
        self._begun = True
        if not self._results:
            return (event,)
        listed = Text(_list_results(self._results))
        self._results.clear()
        return (listed, event)


class PicturesInText:
    """Puts pictures into the text, as Markdown."""

    def __init__(self) -> None:
        self._text_given = False

    @property
    def text_passes(self) -> bool:
        """See `Filter.text_passes`."""
        return self._text_given

    def receive(self, event: AnswerEvent) -> Sequence[AnswerEvent]:
        """See `Filter.receive`."""
        match event:
            case Text():
                self._text_given = True
            case Picture(link):
                gap = "\n\n" if self._text_given else ""
                self._text_given = True
                return (Text(f"{gap}![image]({escape_link(link)})"),)
        return (event,)


def build_filters(thinking: ThinkingFormat, search: Collection[SearchFormat]) -> list[Filter]:
    """The filters for an answer in words, in order, fresh for one answer."""
    filters: list[Filter] = [PicturesInText()]
    if SearchFormat.FRONT in search:
        filters.append(ResultsInFront())
    if thinking is ThinkingFormat.THINK:
        filters.append(ThinkTags())
    elif thinking is ThinkingFormat.HIDDEN:
        filters.append(HiddenThinking())
    if set(search) - {SearchFormat.FRONT}:
        filters.append(CitationLinks(search))
    return filters


def run_filters(filters: Sequence[Filter], event: AnswerEvent) -> Sequence[AnswerEvent]:
    """Pass one event through all of them."""
    if len(filters) == 1:
        return filters[0].receive(event)
    events: Sequence[AnswerEvent] = (event,)
    for each in filters:
        events = [changed for event in events for changed in each.receive(event)]
    return events
