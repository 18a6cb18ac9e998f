"""Taking Grok's own markup out of the text, however it is cut.

[recorded] Two kinds of elements stand in tokens and mean nothing to a client: tool calls
(`<xai:tool_usage_card>...</xai:tool_usage_card>`, in thinking) and cards
(`<grok:render card_id="..." type="...">...</grok:render>`, in the answer). Either may be spread
over several tokens. Everything else is text, also what looks nearly like them: `a<b`, `<grokking>`.

A `MarkupStripper` holds text back only while it may be the beginning of such an element: never
longer than `<xai:tool_usage_card`. Where a card cites, it leaves a mark.
Sources: fixtures `search.ndjson`, `markup_spread.ndjson`.
"""

from __future__ import annotations

import re

_ELEMENTS = ("xai:tool_usage_card", "grok:render")
_OPENINGS = tuple(f"<{name}" for name in _ELEMENTS)
_OPENING = re.compile(rf"<({'|'.join(_ELEMENTS)})(?=[ \t\r\n>/])")
"""Anything else behind the name makes it another name."""
_LONGEST = max(map(len, _OPENINGS))
_CARD_ID = re.compile(r"""\scard_id=(?:"([^"]{1,128})"|'([^']{1,128})')""")
_MAX_TAG = 512
"""Characters of a tag that are looked at."""


class MarkupStripper:
    """Passes text on without Grok's elements. One for each run of text; it has no other state."""

    def __init__(self) -> None:
        self._held = ""
        """The last of the text, which may be the beginning of a mark."""
        self._closing: str | None = None
        """The mark that ends the element we are in."""
        self._in_tag = False
        """The opening tag of that element has not ended yet."""
        self._tag = ""
        """What that tag has been so far, less its name."""
        self._given = 0
        """Characters that `receive` is going to give."""
        self.marks: list[tuple[int, str]] = []
        """Of the text that `receive` gave last: where a card cited something, and its id."""

    @property
    def passes(self) -> bool:
        """Whether text that holds no `<` is given as it comes."""
        return not self._held and self._closing is None

    def receive(self, text: str) -> str:
        """Take more text; give the part that is certainly none of Grok's markup."""
        if self.marks:
            self.marks = []
        if not self._held and self._closing is None and "<" not in text:
            return text
        text = self._held + text
        self._held = ""
        self._given = 0
        kept: list[str] = []
        position = 0
        while position < len(text):
            if self._closing is None:
                position = self._copy(text, position, kept)
            elif self._in_tag:
                position = self._skip_tag(text, position)
            else:
                position = self._skip_content(text, position, self._closing)
        return "".join(kept)

    def flush(self) -> str:
        """The text is over: give what was held back and has turned out to be text."""
        held, self._held = self._held, ""
        self.marks = []
        if self._closing is not None or held in _OPENINGS:
            return ""
        return held

    def _copy(self, text: str, position: int, kept: list[str]) -> int:
        found = _OPENING.search(text, position)
        if found is not None:
            end, after = found.span()
            self._closing = f"</{found[1]}>"
            self._in_tag = True
            self._tag = ""
        else:
            end = after = len(text)
            mark = text.rfind("<", max(position, end - _LONGEST))
            if mark >= 0 and any(opening.startswith(text[mark:]) for opening in _OPENINGS):
                self._held = text[mark:]
                end = mark
        kept.append(text[position:end])
        self._given += end - position
        return after

    def _skip_tag(self, text: str, position: int) -> int:
        end = text.find(">", position)
        room = _MAX_TAG - len(self._tag)
        if end < 0:
            # A slash that ends this piece may be that of an element that closes itself.
            self._held = "/" if text.endswith("/") else ""
            self._tag += text[position : min(position + room, len(text) - len(self._held))]
            return len(text)
        self._tag += text[position : min(position + room, end)]
        self._in_tag = False
        found = _CARD_ID.search(self._tag)
        if found is not None and "citation" in self._tag:
            self.marks.append((self._given, found[1] or found[2]))
        if end > position and text[end - 1] == "/":
            self._closing = None
        return end + 1

    def _skip_content(self, text: str, position: int, closing: str) -> int:
        end = text.find(closing, position)
        if end >= 0:
            self._closing = None
            return end + len(closing)
        last = text.rfind("<", max(position, len(text) - len(closing) + 1))
        if last >= 0 and closing.startswith(text[last:]):
            self._held = text[last:]
        return len(text)
