"""Taking Grok's own markup out of the text, however it is cut.

[recorded] Two kinds of elements stand in tokens and mean nothing to a client: tool calls
(`<xai:tool_usage_card>...</xai:tool_usage_card>`, in thinking) and cards
(`<grok:render card_id="..." type="...">...</grok:render>`, in the answer). Either may be spread
over several tokens. Everything else is text, also what looks nearly like them: `a<b`, `<grokking>`.

A `MarkupStripper` holds text back only while it may be the beginning of such an element: never
longer than `<xai:tool_usage_card`. Sources: fixtures `search.ndjson`, `markup_spread.ndjson`.
"""

from __future__ import annotations

_ELEMENTS = ("xai:tool_usage_card", "grok:render")
_OPENINGS = tuple(f"<{name}" for name in _ELEMENTS)
_CLOSINGS = tuple(f"</{name}>" for name in _ELEMENTS)
_AFTER_NAME = frozenset(" \t\r\n>/")
"""What may follow an element's name; anything else makes it another name."""


class MarkupStripper:
    """Passes text on without Grok's elements. One for each run of text; it has no other state."""

    def __init__(self) -> None:
        self._held = ""
        """The last of the text, which may be the beginning of a mark."""
        self._closing: str | None = None
        """The mark that ends the element we are in."""
        self._in_tag = False
        """The opening tag of that element has not ended yet."""

    def receive(self, text: str) -> str:
        """Take more text; give the part that is certainly none of Grok's markup."""
        if not self._held and self._closing is None and "<" not in text:
            return text
        text = self._held + text
        self._held = ""
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
        if self._closing is not None or held in _OPENINGS:
            return ""
        return held

    def _copy(self, text: str, position: int, kept: list[str]) -> int:
        mark = text.find("<", position)
        if mark < 0:
            kept.append(text[position:])
            return len(text)
        kept.append(text[position:mark])
        for opening, closing in zip(_OPENINGS, _CLOSINGS, strict=True):
            after = mark + len(opening)
            if after >= len(text):
                if opening.startswith(text[mark:]):
                    self._held = text[mark:]
                    return len(text)
            elif text.startswith(opening, mark) and text[after] in _AFTER_NAME:
                self._closing = closing
                self._in_tag = True
                return after
        kept.append("<")
        return mark + 1

    def _skip_tag(self, text: str, position: int) -> int:
        end = text.find(">", position)
        if end < 0:
            # A slash that ends this piece may be that of an element that closes itself.
            self._held = "/" if text.endswith("/") else ""
            return len(text)
        self._in_tag = False
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
