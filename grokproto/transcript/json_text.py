"""Replacing strings inside of JSON where they stand, without changing its length anywhere.

A transcript is cut where the original was cut: in the middle of a string, an escape, a character.
So JSON is not decoded and encoded again but gone through as text; each string is shown, unescaped,
to whoever decides, who gives another of as many characters of the same widths. It is put in its
place, an escape for an escape. It need not be good JSON: an answer may be garbage, or have no end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

_PIECE = re.compile(r'"(?P<inside>[^"\\\n]*(?:\\[^\n][^"\\\n]*)*\\?)"?|[{}\n]|[^"{}\n]+')
_KEY_FOLLOWS = re.compile(r"[ \t\r\n]*:")
_UNIT = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|[^\\]|\\",
    re.DOTALL,
)
_SHORT = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_BARE = re.compile(r"[^\s:,\[\]]+")
_LITERALS = frozenset(
    {
        "true",
        "false",
        "null",
        "NaN",
        "Infinity",
        "-Infinity",
        "data",
        "event",
        "id",
        "retry",
        "DONE",
    }
)
"""What stands outside of strings in good JSON, or between it in server-sent events."""
_NUMBER = re.compile(r"-?[0-9.eE+-]*")
_SAYS_NOTHING = re.compile(r"-?(?:[0-9]{1,6}(?:\.[0-9]{0,6})?)?(?:[eE][+-]?[0-9]{0,3})?")
"""A number that is no id and no telephone's."""
_DIGIT = re.compile(r"[0-9]")


class Slot(msgspec.Struct, frozen=True):
    """A string in a text."""

    start: int
    end: int
    """Of what is between its quotes."""
    path: tuple[str, ...]
    """The keys that lead to it, its own among them; what is in an array has the array's."""
    is_key: bool
    units: list[str] | None
    """How each of its characters is written; None where each stands for itself."""
    text: str
    """Unescaped."""

    def write(self, text: str) -> str:
        """Another text, written in the way of the old one."""
        if len(text) != len(self.text):
            raise ValueError("a string must not change its length")
        if self.units is None:
            return text
        return "".join(map(_rewrite, self.units, self.text, text))


def _rewrite(unit: str, old: str, new: str) -> str:
    if new == old or len(unit) == 2:
        return unit  # a short escape stands for no letter
    if len(unit) == 12:
        low = ord(new) - 0x10000
        return f"\\u{0xD800 + (low >> 10):04x}\\u{0xDC00 + (low & 0x3FF):04x}"
    return f"\\u{ord(new):04x}" if len(unit) == 6 else new


def _unescape(unit: str) -> str:
    if len(unit) == 12:
        high, low = int(unit[2:6], 16), int(unit[8:], 16)
        return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
    if len(unit) == 6:
        return chr(int(unit[2:], 16))
    return unit if len(unit) == 1 else _SHORT.get(unit[1], unit[1])


def find_strings(text: str) -> tuple[list[Slot], list[tuple[int, int]]]:
    """All strings of a text, and where words stand that are no JSON, or are long numbers."""
    slots: list[Slot] = []
    bare: list[tuple[int, int]] = []
    stack: list[str] = []
    key = ""
    for found in _PIECE.finditer(text):
        piece = found.group()
        if found["inside"] is not None:
            is_key = _KEY_FOLLOWS.match(text, found.end()) is not None
            slot = _read_string(
                found["inside"], found.start("inside"), (*stack, key), is_key=is_key
            )
            slots.append(slot)
            if is_key:
                key = slot.text
        elif piece == "{":
            stack.append(key)
            key = ""
        elif piece == "}":
            key = stack.pop() if stack else ""
        elif piece == "\n":
            if text.startswith(("{", "data:"), found.end()):
                stack.clear()  # every line of a stream starts afresh
                key = ""
        else:
            bare += (
                (found.start() + word.start(), found.start() + word.end())
                for word in _BARE.finditer(piece)
                if word.group() not in _LITERALS and not _SAYS_NOTHING.fullmatch(word.group())
            )
    return slots, bare


def _read_string(inside: str, start: int, path: tuple[str, ...], *, is_key: bool) -> Slot:
    units: list[str] | None = None
    shown = inside
    if "\\" in inside:
        units = _UNIT.findall(inside)
        shown = "".join(map(_unescape, units))
    keys = tuple(each for each in path if each)
    return Slot(start, start + len(inside), keys, is_key, units, shown)


def replace(text: str, replacements: Sequence[tuple[int, int, str]]) -> str:
    """A text with something else in these places, which are in order."""
    pieces: list[str] = []
    position = 0
    for start, end, new in replacements:
        pieces += (text[position:start], new)
        position = end
    return "".join([*pieces, text[position:]])


def _fill_bare(word: str, fill: Callable[[str], str]) -> str:
    return _DIGIT.sub("1", word) if _NUMBER.fullmatch(word) else fill(word)


def rewrite_strings(
    text: str, decide: Callable[[Sequence[Slot]], Sequence[str]], fill: Callable[[str], str]
) -> str:
    """A text with other strings in it.

    Args:
        text: JSON, or what is left of it.
        decide: Gives the text for each string; all of them together, since one may go on in the
            next.
        fill: Gives what stands for a word that is no JSON. A long number becomes ones.
    """
    slots, bare = find_strings(text)
    new = [
        (slot.start, slot.end, slot.write(other))
        for slot, other in zip(slots, decide(slots), strict=True)
    ]
    new += [(start, end, _fill_bare(text[start:end], fill)) for start, end in bare]
    return replace(text, sorted(new))
