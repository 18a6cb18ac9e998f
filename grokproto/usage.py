"""Estimating tokens. Grok does not count them for us, and a tokenizer would have to be downloaded.

A token covers about as many characters as the writing system is frequent in what tokenizers were
made from: four and a half Latin letters, but less than one Chinese character. So characters are
counted by class and each class has a weight. Sums of weights do not depend on how a text is cut.
The weights are fitted to a vocabulary of 200,000 tokens, as the models of today have; older ones
take more for every script but Latin. `benchmarks/bench_tokens.py` holds the estimates against it.
"""

from __future__ import annotations

from array import array

_UNIT = 1000
"""Weights are thousandths of a token, so that sums stay exact."""

_ASCII = 240
"""A character of plain English or of code."""

_OTHER = 1800
"""What is in none of the classes: emoji and rare scripts."""

_CLASSES: tuple[tuple[int, tuple[tuple[int, int], ...]], ...] = (
    (_ASCII, ((0x0000, 0x007F),)),
    # Latin beyond ASCII: a letter with a mark splits a word that would have been one token.
    (700, ((0x0080, 0x024F), (0x1E00, 0x1EFF))),
    # Greek, Cyrillic, Armenian.
    (270, ((0x0370, 0x058F),)),
    # Hebrew, Arabic, Syriac.
    (320, ((0x0590, 0x07FF),)),
    # Scripts of India and Southeast Asia.
    (340, ((0x0900, 0x0FFF), (0x1780, 0x17FF))),
    # Georgian, Ethiopic and other scripts that tokenizers hardly know.
    (1200, ((0x1000, 0x10FF), (0x1200, 0x177F), (0x1800, 0x1DFF))),
    # Punctuation and symbols.
    (800, ((0x2000, 0x2BFF),)),
    # Kana, with the punctuation of East Asia.
    (680, ((0x3000, 0x30FF), (0xFF00, 0xFFEF))),
    # Hangul.
    (770, ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7AF))),
    # Ideographs.
    (760, ((0x2E80, 0x2FFF), (0x3100, 0x312F), (0x3190, 0x9FFF), (0xF900, 0xFAFF))),
    # Halves of the characters beyond the first 65,536.
    (_OTHER // 2, ((0xD800, 0xDFFF),)),
)


def _build_table() -> array[int]:
    table = array("H", [_OTHER]) * 0x10000
    for weight, spans in _CLASSES:
        for first, last in spans:
            table[first : last + 1] = array("H", [weight]) * (last + 1 - first)
    return table


_weight_of = _build_table().__getitem__
"""The weight of each UTF-16 code unit."""


def _weigh(text: str) -> int:
    if text.isascii():
        return len(text) * _ASCII
    units = memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H")
    return sum(map(_weight_of, units))


class TokenCounter:
    """Adds a text up, piece by piece."""

    def __init__(self) -> None:
        self._weight = 0

    def add(self, text: str) -> None:
        """Count more of the text."""
        self._weight += len(text) * _ASCII if text.isascii() else _weigh(text)

    def fit(self, text: str, limit: int) -> int:
        """How many characters more of the text can be added up to `limit` tokens in all."""
        room = limit * _UNIT - self._weight
        if _weigh(text) <= room:
            return len(text)
        least, most = 0, len(text) - 1  # these many fit, more than those do not
        while least < most:
            middle = (least + most + 1) // 2
            if _weigh(text[:middle]) <= room:
                least = middle
            else:
                most = middle - 1
        return least

    @property
    def tokens(self) -> int:
        """The estimate: 0 for nothing, else 1 or more."""
        return -(-self._weight // _UNIT)


def estimate_tokens(text: str) -> int:
    """The estimate for a whole text."""
    counter = TokenCounter()
    counter.add(text)
    return counter.tokens
