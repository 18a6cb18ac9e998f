"""What Grok's answers have had that nobody here knows, over all requests: the drift alarm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from grokproto.answer import Unknown

MAX_NAMES = 64
"""Names that are kept."""


@attrs.define
class _Seen:
    """One name."""

    shape: str
    first: float
    """Unix seconds; as the next."""
    last: float
    times: int = 0
    answers: int = 0


class Drift:
    """Adds up what the exchanges have seen.

    Args:
        on_news: Called with what is seen for the first time.
    """

    def __init__(self, on_news: Callable[[Unknown], object] = lambda _: None) -> None:
        self._on_news = on_news
        self._seen: dict[str, _Seen] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, unknown: Sequence[Unknown], unix_now: float) -> None:
        """Take what one exchange has seen."""
        for each in unknown:
            seen = self._seen.get(each.name)
            if seen is None:
                if len(self._seen) >= MAX_NAMES:
                    continue
                seen = self._seen[each.name] = _Seen(each.shape, unix_now, unix_now)
                self._on_news(each)
            seen.last = unix_now
            seen.times += each.times
            seen.answers += 1

    def describe(self) -> list[dict[str, Any]]:
        """All of it, for those who may see it. No value of Grok's is in it."""
        return [{"name": name, **attrs.asdict(seen)} for name, seen in self._seen.items()]
