"""Names and addresses in a transcript: replaced, but equal ones by equal ones, and others not.

Much hangs on whether two of them are the same: a search result that came before, a card and the
mark that cites it, a picture that moderation held back. Of an address that is kept which is read.
"""

from __future__ import annotations

import re

from .filler import Filler

_PREFIX = re.compile(r"(?:https?://(?:assets\.grok\.com/+)?|/+)?", re.IGNORECASE)
"""What may be before the same address, or be left away."""
_KEPT = re.compile(r"^users/|-part-\d{1,2}/|\.(?:png|jpe?g|webp|gif)\b", re.IGNORECASE)
_COUNTED = re.compile(r"[xX0]")


class Names:
    """The names of one transcript."""

    def __init__(self) -> None:
        self._filler = Filler()
        self._given: dict[str, str] = {}
        self._taken: set[str] = set()

    def rename(self, name: str) -> str:
        """What stands for a name: of the same length and shape, and no other name's if that can
        be; two short ones may have to share it."""
        found = _PREFIX.match(name)
        assert found is not None
        prefix, name = found.group(), name[found.end() :]
        given = self._given.get(name)
        if given is None:
            blank = self._blank(name)
            number = len(self._given)
            given = _write(blank, number)
            while given in self._taken and number < 2 * len(self._given):
                number += 1
                given = _write(blank, number)
            self._given[name] = given
            self._taken.add(given)
        return prefix + given

    def _blank(self, name: str) -> list[str]:
        """The pieces of a name, and between them what is kept of it."""
        pieces: list[str] = []
        position = 0
        for kept in _KEPT.finditer(name):
            pieces += (self._filler.fill(name[position : kept.start()]), kept.group())
            position = kept.end()
        return [*pieces, self._filler.fill(name[position:])]


def _write(pieces: list[str], number: int) -> str:
    """Write a number into the blanks of a name, the last digit last."""
    written = list(pieces)
    for index in range(len(pieces) - 1, -1, -2):
        blanks = list(pieces[index])
        for place in range(len(blanks) - 1, -1, -1):
            if not number:
                break
            if _COUNTED.fullmatch(blanks[place]):
                base = 10 if blanks[place] == "0" else 26
                number, digit = divmod(number, base)
                blanks[place] = _digit(blanks[place], digit)
        written[index] = "".join(blanks)
    return "".join(written)


def _digit(blank: str, digit: int) -> str:
    if blank == "0":
        return str(digit)
    letter = chr(ord("a") + digit)
    return letter.upper() if blank == "X" else letter
