"""Filler: what stands in a transcript in place of somebody's text.

Letters and digits are replaced one by one, with a character of the same case, the same width in
UTF-8 and the same weight in `grokproto.usage`; all else stays, blanks and punctuation among it. So
filler has the length of the text, breaks into the same lines, and is cut at the same places. What
was written cannot be told from it; how long the words were can.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from unicodedata import category, normalize

LOWER, UPPER, DIGIT = "x", "X", "0"

_BRAILLE = (0x2800, 0x28FF)
"""Symbols to Unicode, letters to their readers."""

_SPANS: tuple[tuple[int, int, str], ...] = (
    # Up to and including, and what stands for the letters there. Two bytes in UTF-8:
    (0x0080, 0x024F, "é"),
    (0x0250, 0x036F, "ɐ"),
    (0x0370, 0x058F, "ж"),
    (0x0590, 0x07FF, "ש"),
    # Three bytes:
    (0x0800, 0x08FF, "ࠀ"),
    (0x0900, 0x0FFF, "अ"),
    (0x1000, 0x10FF, "ა"),
    (0x1100, 0x11FF, "ᄀ"),
    (0x1200, 0x177F, "አ"),
    (0x1780, 0x17FF, "ក"),
    (0x1800, 0x1DFF, "ᠠ"),
    (0x1E00, 0x1EFF, "ḁ"),
    (0x1F00, 0x1FFF, "ἀ"),
    (0x2000, 0x2BFF, "ℓ"),
    (0x2C00, 0x2E7F, "ⰰ"),
    (0x2E80, 0x2FFF, "中"),
    (0x3000, 0x30FF, "の"),
    (0x3100, 0x312F, "中"),
    (0x3130, 0x318F, "한"),
    (0x3190, 0x9FFF, "中"),
    (0xA000, 0xABFF, "ꀀ"),
    (0xAC00, 0xD7AF, "한"),
    (0xD7B0, 0xD7FF, "ힰ"),
    (0xE000, 0xF8FF, "\ue000"),
    (0xF900, 0xFAFF, "中"),
    (0xFB00, 0xFEFF, "ﬀ"),
    (0xFF00, 0xFFEF, "ｘ"),
    # Four bytes:
    (0x10000, 0x10FFFF, "𐀀"),
)
_UPPER = {"é": "É", "ж": "Ж", "ḁ": "Ḁ", "ℓ": "ℒ"}

_INVISIBLE = "\u2060"
"""For what joins and directs, of which a message can be made too."""

MAX_APART = 8
"""Characters that are kept apart at the most; with more of them a text could be guessed."""


class Filler:
    """Replaces characters.

    Args:
        apart: Letters and digits that are to stay different from all others and from one another,
            such as those of a text that is looked for. More than `MAX_APART` are not kept apart.
    """

    def __init__(self, apart: Iterable[str] = ()) -> None:
        self._table = _Table(_choose(apart))

    def fill(self, text: str) -> str:
        """Filler for a text."""
        return text.translate(self._table)


def _choose(apart: Iterable[str]) -> dict[str, str]:
    """A filler for each character that is to stay apart; none where there are too many."""
    wanted = [c for c in dict.fromkeys(apart) if c.isascii() and c.isalnum()]
    if len(wanted) > MAX_APART:
        return {}
    chosen: dict[str, str] = {}
    for index, character in enumerate(wanted):
        if character.isdigit():
            chosen[character] = str(index + 1)
        else:
            letter = chr(ord("a") + index)
            chosen[character] = letter.upper() if character.isupper() else letter
    return chosen


class _Table(dict[int, str]):
    """What stands for each code point, found when it is first met."""

    def __init__(self, chosen: Mapping[str, str]) -> None:
        super().__init__({ord(character): filler for character, filler in chosen.items()})

    def __missing__(self, code: int) -> str:
        filler = self[code] = _find(chr(code))
        return filler


def _find(character: str) -> str:
    code = ord(character)
    if code < 0x80:
        if character.isdigit():
            return DIGIT
        if character.isalpha():
            return UPPER if character.isupper() else LOWER
        return character
    if not _is_text(character):
        return character
    for first, last, filler in _SPANS:
        if first <= code <= last:
            if filler == "ℓ" and category(character) in ("Cf", "Cn"):
                return _INVISIBLE  # where all else is to be seen
            return _UPPER.get(filler, filler) if character.isupper() else filler
    return character


def _is_text(character: str) -> bool:
    """Whether a character beyond ASCII is part of a word, or tells what a text is about.

    Letters and digits are also those in circles, in brackets and raised, in whatever block.
    """
    kind = category(character)
    if kind[0] in "LMN" or kind in ("Cf", "Cn", "Co") or ord(character) >= 0x10000:
        return True
    if _BRAILLE[0] <= ord(character) <= _BRAILLE[1]:
        return True
    return any(map(str.isalnum, normalize("NFKC", character)))
