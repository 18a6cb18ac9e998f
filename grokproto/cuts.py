"""Ending an answer before Grok does: at a stop sequence, or after so many tokens.

Both are filters that stand before all others, so they see the text as Grok wrote it. Where they cut
does not depend on how the text was divided into events. What they end with is `Ended`, and nothing
that comes after it is taken; whoever runs them closes the call then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from .answer import NO_RUN, AnswerEvent, Ended, EndReason, Failed, Reasoning, Run, Text
from .usage import TokenCounter


class _Search:
    """Looks for a string in a text that comes in pieces, in linear time (Knuth, Morris, Pratt).

    Of a long piece Python's own search sees most: it is a hundred times as fast.
    """

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted
        self._fallback = [0] * len(wanted)
        length = 0
        for index in range(1, len(wanted)):
            while length and wanted[index] != wanted[length]:
                length = self._fallback[length - 1]
            length += wanted[index] == wanted[length]
            self._fallback[index] = length
        self.length = len(wanted)
        self.matched = 0
        """Characters at the end of the text that are the beginning of the string."""

    def find(self, text: str) -> int | None:
        """Take more of the text; how much of it completes the string, None where it does not."""
        if len(text) <= self.length:
            return self._take(text)
        text = self._wanted[: self.matched] + text
        start = text.find(self._wanted)
        if start >= 0:
            return start + self.length - self.matched
        # The string is not there, so what there may be of it is shorter than that.
        self.matched = 0
        return self._take(text[len(text) - self.length + 1 :])

    def _take(self, text: str) -> int | None:
        """The same, one character after the other."""
        wanted, fallback, matched = self._wanted, self._fallback, self.matched
        for index, character in enumerate(text):
            while matched and wanted[matched] != character:
                matched = fallback[matched - 1]
            matched += wanted[matched] == character
            if matched == self.length:
                return index + 1
        self.matched = matched
        return None


class StopSequences:
    """Ends the answer's text before the first of some strings. Thinking is not searched.

    The first is the one that is complete first; of two that end together, the longer. Text that may
    be the beginning of one is held back, with whatever comes behind it, so that the order stays.

    Args:
        stops: What to look for; none is empty.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._searches = [_Search(stop) for stop in stops]
        self._starts = {stop[0] for stop in stops}
        self._held: deque[AnswerEvent] = deque()
        """From the first text that is held back on."""
        self._held_length = 0
        """Characters of the text in it."""
        self._over = False

    def receive(self, event: AnswerEvent) -> Sequence[AnswerEvent]:
        """See `grokproto.filters.Filter.receive`."""
        if self._over:
            return ()
        if type(event) is Text:
            if not self._held and self._starts.isdisjoint(event.text):
                return (event,)
            return self._search(event)
        if isinstance(event, Ended | Failed):
            self._over = True
            released = [*self._held, event]
            self._held.clear()
            return released
        if not self._held:
            return (event,)
        self._held.append(event)
        return ()

    def receive_run(self, run: Run) -> Run | None:
        """See `grokproto.filters.Filter.receive_run`."""
        if self._over:
            return NO_RUN
        if self._held or not (run.thinking or self._starts.isdisjoint(run.text)):
            return None
        return run

    def _search(self, event: Text) -> Sequence[AnswerEvent]:
        self._held.append(event)
        ends = [(each.find(event.text), each.length) for each in self._searches]
        found = [(end, -length) for end, length in ends if end is not None]
        if found:
            self._over = True
            end, shift = min(found)
            released = self._release(self._held_length + end + shift)
            self._held.clear()
            return [*released, Ended(EndReason.STOP)]
        self._held_length += len(event.text)
        return self._release(self._held_length - max(each.matched for each in self._searches))

    def _release(self, length: int) -> list[AnswerEvent]:
        """Let go of so many characters, with what stands between and right behind them."""
        self._held_length -= length
        released: list[AnswerEvent] = []
        while self._held:
            event = self._held[0]
            if isinstance(event, Text):
                if not length:
                    break
                if len(event.text) > length:
                    released.append(Text(event.text[:length]))
                    self._held[0] = Text(event.text[length:])
                    break
                length -= len(event.text)
            released.append(self._held.popleft())
        return released


class TokenLimit:
    """Ends the answer after so many tokens of text and thinking, by the estimate.

    Args:
        limit: Tokens, 1 or more.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counter = TokenCounter()
        self._over = False

    def receive(self, event: AnswerEvent) -> Sequence[AnswerEvent]:
        """See `grokproto.filters.Filter.receive`."""
        if self._over:
            return ()
        if not isinstance(event, Text | Reasoning):
            return (event,)
        room = self._counter.fit(event.text, self._limit)
        if room == len(event.text):
            self._counter.add(event.text)
            return (event,)
        self._over = True
        ended = Ended(EndReason.LENGTH)
        return (type(event)(event.text[:room]), ended) if room else (ended,)

    def receive_run(self, run: Run) -> Run | None:
        """See `grokproto.filters.Filter.receive_run`."""
        if self._over:
            return NO_RUN
        if self._counter.fit(run.text, self._limit) < len(run.text):
            return None
        self._counter.add(run.text)
        return run


Cut = StopSequences | TokenLimit


def build_cuts(stops: Sequence[str], max_tokens: int | None) -> list[Cut]:
    """The filters for a request, in order."""
    cuts: list[Cut] = []
    if stops:
        cuts.append(StopSequences(stops))
    if max_tokens is not None:
        cuts.append(TokenLimit(max_tokens))
    return cuts
