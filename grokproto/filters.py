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
    NO_RUN,
    AnswerEvent,
    Citation,
    Cited,
    Picture,
    Reasoning,
    Run,
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

    def receive(self, event: AnswerEvent) -> Sequence[AnswerEvent]:
        """Take the next event; give what shall come in its place."""
        ...

    def receive_run(self, run: Run) -> Run | None:
        """Take a run; give one that shall come in its place, and may be empty. None where that is
        not to be had: nothing was taken then, and the run's events are to be passed singly."""
        ...


class ThinkTags:
    """Puts the thinking in front of the answer, as `<think>...</think>` in its text.

    The block opens with the first thinking and closes when anything else comes, once. Grok
    sometimes thinks on after the answer began; that has no place any more and is left out.
    """

    def __init__(self) -> None:
        self._open = False
        self._closed = False

    def receive_run(self, run: Run) -> Run | None:
        """See `Filter.receive_run`."""
        if not run.thinking:
            return run if self._closed else None
        if self._closed:
            return NO_RUN
        return Run(run.tokens, run.text) if self._open else None

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

    def receive(self, event: AnswerEvent) -> Sequence[AnswerEvent]:
        """See `Filter.receive`."""
        return () if isinstance(event, Reasoning) else (event,)

    def receive_run(self, run: Run) -> Run | None:
        """See `Filter.receive_run`."""
        return NO_RUN if run.thinking else run


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

    def receive_run(self, run: Run) -> Run | None:
        """See `Filter.receive_run`."""
        return run if self._begun or run.thinking else None

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

    def receive_run(self, run: Run) -> Run | None:
        """See `Filter.receive_run`."""
        self._text_given = self._text_given or not run.thinking
        return run

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


def filter_run(filters: Iterable[Filter], run: Run) -> Run | None:
    """Pass a run through all of them; None where its events are to be passed singly."""
    for each in filters:
        passed = each.receive_run(run)
        if passed is None:
            return None
        run = passed
    return run


def run_filters(filters: Sequence[Filter], event: AnswerEvent) -> Sequence[AnswerEvent]:
    """Pass one event through all of them."""
    if len(filters) == 1:
        return filters[0].receive(event)
    events: Sequence[AnswerEvent] = (event,)
    for each in filters:
        events = [changed for event in events for changed in each.receive(event)]
    return events
