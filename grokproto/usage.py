"""Estimating tokens. Grok does not count them for us, and a tokenizer would have to be downloaded.

A token covers about as many characters as the writing system is frequent in what tokenizers were
made from: four and a half Latin letters, but less than one Chinese character. So characters are
counted by class and each class has a weight. Sums of weights do not depend on how a text is cut.
The weights are fitted to a vocabulary of 200,000 tokens, as the models of today have; older ones
take more for every script but Latin. `benchmarks/bench_tokens.py` holds the estimates against it.
"""

from __future__ import annotations

import re

_UNIT = 1000
"""Weights are thousandths of a token, so that sums stay exact."""

_ASCII = 240
"""A character of plain English or of code."""

_CLASSES: tuple[tuple[str, int], ...] = (
    # Latin beyond ASCII: a letter with a mark splits a word that would have been one token.
    (r"\u0080-\u024f\u1e00-\u1eff", 700),
    # Greek, Cyrillic, Armenian.
    (r"\u0370-\u058f", 270),
    # Hebrew, Arabic, Syriac.
    (r"\u0590-\u07ff", 320),
    # Scripts of India and Southeast Asia.
    (r"\u0900-\u0fff\u1780-\u17ff", 340),
    # Georgian, Ethiopic and other scripts that tokenizers hardly know.
    (r"\u1000-\u177f\u1800-\u1dff", 1200),
    # Punctuation and symbols.
    (r"\u2000-\u2bff", 800),
    # Kana, with the punctuation of East Asia.
    (r"\u3000-\u30ff\uff00-\uffef", 680),
    # Hangul.
    (r"\u1100-\u11ff\u3130-\u318f\uac00-\ud7af", 770),
    # Ideographs.
    (r"\u2e80-\u2fff\u3100-\u312f\u3190-\u9fff\uf900-\ufaff", 760),
)
_OTHER = 1800
"""What is left: emoji and rare scripts."""

_PATTERNS = tuple((re.compile(f"[{chars}]+"), weight) for chars, weight in _CLASSES)


def _weigh(text: str) -> int:
    total = 0
    rest = 0
    for char_class, weight in _PATTERNS:
        found = sum(map(len, char_class.findall(text)))
        total += found * weight
        rest += found
    ascii_count = len(text.encode("ascii", "ignore"))
    return total + ascii_count * _ASCII + (len(text) - rest - ascii_count) * _OTHER


class TokenCounter:
    """Adds a text up, piece by piece."""

    def __init__(self) -> None:
        self._ascii_characters = 0
        self._weight = 0

    def add(self, text: str) -> None:
        """Count more of the text."""
        if text.isascii():
            self._ascii_characters += len(text)
        else:
            self._weight += _weigh(text)

    def fit(self, text: str, limit: int) -> int:
        """How many characters more of the text can be added up to `limit` tokens in all."""
        room = limit * _UNIT - self._total
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
    def _total(self) -> int:
        return self._weight + self._ascii_characters * _ASCII

    @property
    def tokens(self) -> int:
        """The estimate: 0 for nothing, else 1 or more."""
        return -(-self._total // _UNIT)


def estimate_tokens(text: str) -> int:
    """The estimate for a whole text."""
    counter = TokenCounter()
    counter.add(text)
    return counter.tokens
