"""Taking out of a transcript what people said: of a client's request, and of what Grok answered.

Texts become filler (`filler`), names and addresses other names (`names`), and words of the
protocols stay (`words`). What is left has the length of the original in every place, and nearly
always an exchange goes the same way with it; whoever makes a transcript looks whether it does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from ..media import sniff_media_type, to_base64
from . import words
from .filler import Filler
from .json_text import Slot, rewrite_strings
from .names import Names
from .reasons import redact_reason

_MARKS = {
    "image/png": (slice(0, 8),),
    "image/jpeg": (slice(0, 3),),
    "image/gif": (slice(0, 6),),
    "image/webp": (slice(0, 4), slice(8, 12)),
}
"""Where the bytes of a picture are that say what it is. No others are kept: a text may begin so."""
_HEAD = 24
"""Characters of base64 that hold these."""
_BASE64 = re.compile(r"(?P<prefix>(?i:data:[^,]*;base64,))?(?P<content>[A-Za-z0-9+/\s]+={0,2})")
_LETTERS = "eHh4"
"""`xxx` in base64, so that what was text stays text."""
_TAILS = {2: "eA", 3: "eHg"}
"""How it ends, by the letters that are over."""


class Redaction:
    """What becomes of the texts of one transcript.

    Args:
        body: The client's request. Its `stop` decides what is kept apart in Grok's text.
        models: Names of models, which stay.
    """

    def __init__(self, body: bytes, models: Iterable[str]) -> None:
        self._names = Names()
        self._filler = Filler("".join(_read_stops(body)))
        self._models = frozenset(models)

    # Texts

    def text(self, text: str, kept: re.Pattern[str] = words.IN_TEXT) -> str:
        """Filler for what somebody said, with the words of the protocols that are in it."""
        pieces: list[str] = []
        position = 0
        for found in kept.finditer(text):
            pieces.append(self._filler.fill(text[position : found.start()]))
            if found["tag"]:
                pieces += (found["tag"], self._inside_of_tag(found["inside"]))
            else:
                pieces.append(found.group())
            position = found.end()
        return "".join([*pieces, self._filler.fill(text[position:])])

    def _inside_of_tag(self, inside: str) -> str:
        """The cards that are meant get other names; else only known words are left."""
        pieces: list[str] = []
        position = 0
        for found in words.CARD_ID.finditer(inside):
            pieces += (
                self.text(inside[position : found.start()], words.IN_TAGS),
                found["before"] + found["quote"] + self._names.rename(found["id"]) + found["end"],
            )
            position = found.end()
        return "".join([*pieces, self.text(inside[position:], words.IN_TAGS)])

    def reason(self, text: str) -> str:
        """A sentence of this program's, without the addresses and the quotes that may be in it."""
        return redact_reason(text, self._filler.fill, self._models)

    def name(self, name: str) -> str:
        """Another name."""
        return self._names.rename(name)

    # What comes from Grok

    def grok_header(self, value: str) -> str:
        """The value of a header of Grok's: a media type, or how long to wait."""
        if words.SECONDS.fullmatch(value):
            return value
        return self.text(value, words.IN_CONTENT_TYPES)

    def answer(self, body: bytes) -> bytes:
        """The body of a response, whole or as much of it as there is. Its length stays."""
        if sniff_media_type(body) is not None:
            return self.picture(body)
        text = body.decode("utf-8", "surrogateescape")
        if text.lstrip().startswith("<") and "\n{" not in text:
            shown = self.text(text, words.IN_PAGES)
        else:
            shown = rewrite_strings(text, self._decide_all, self._fill_page)
        return shown.encode("utf-8", "surrogateescape")

    def _fill_page(self, text: str) -> str:
        return self.text(text, words.IN_PAGES)

    def picture(self, data: bytes) -> bytes:
        """A picture of which nothing can be seen."""
        return _blank_picture(data)

    def _decide_all(self, slots: Sequence[Slot]) -> list[str]:
        tokens = [slot for slot in slots if not slot.is_key and slot.path[-1:] == ("token",)]
        said = iter(_divide(self.text("".join(slot.text for slot in tokens)), tokens))
        return [
            next(said)
            if not slot.is_key and slot.path[-1:] == ("token",)
            else self._decide_for_grok(slot)
            for slot in slots
        ]

    def _decide_for_grok(self, slot: Slot) -> str:
        text = slot.text
        if slot.is_key:
            return text if words.KEY.fullmatch(text) else self.name(text)
        key = slot.path[-1] if slot.path else ""
        if key in words.GROK_VALUES and self._is_known(text):
            return text
        if key in words.GROK_ADDRESSES or text.startswith(("http://", "https://")):
            return self.name(text)
        if key.endswith(("Id", "id", "Ids", "username")):
            return self.name(text)
        if key in words.GROK_JSON:
            return rewrite_strings(text, self._decide_all, self._fill_page)
        if "error" in slot.path or slot.path == ("message",):
            return text if text == "RateLimitError" else self.text(text, words.IN_ERRORS)
        return self.text(text)

    def _is_known(self, value: str) -> bool:
        """Whether a value is a word of Grok's protocol; any other may be an echo."""
        known = value in words.KNOWN_GROK_VALUES or value in self._models
        return known or words.CODE.fullmatch(value) is not None

    # What comes from the client

    def request(self, body: bytes) -> bytes:
        """The body of a client's request. Its length stays."""
        text = body.decode("utf-8", "surrogateescape")
        shown = rewrite_strings(
            text, lambda slots: [self._decide_for_client(slot) for slot in slots], self._filler.fill
        )
        return shown.encode("utf-8", "surrogateescape")

    def header(self, value: str) -> str:
        """The value of a client's header that says how it wants its answer."""
        return value if words.are_known(value) else self._filler.fill(value)

    def _decide_for_client(self, slot: Slot) -> str:
        text = slot.text
        if slot.is_key:
            return text if text in words.CLIENT_KEYS else self.name(text)
        key = slot.path[-1] if slot.path else ""
        if key == "model" and text in self._models:
            return text
        if key in words.CLIENT_VALUES and words.are_known(text):
            return text
        if key in ("url", "image_url", "file_data"):
            return self._attachment(text)
        if key in ("name", "required", "user") or key.endswith(("_id", "_key", "_identifier")):
            return self.name(text)
        return self.text(text)

    def _attachment(self, text: str) -> str:
        found = _BASE64.fullmatch(text)
        if found is None:
            return self.name(text)
        prefix = self.text(found["prefix"] or "", words.IN_DATA_URIS)
        return prefix + _blank_base64(found["content"])


def _blank_picture(data: bytes) -> bytes:
    """As many bytes that hold nothing but, for a picture, what kind it is of."""
    blank = bytearray(len(data))
    for mark in _MARKS.get(sniff_media_type(data) or "", ()):
        blank[mark] = data[mark]
    return bytes(blank)


def _blank_head(content: str) -> str:
    """The first characters of a picture in base64; nothing where it is none."""
    try:
        data = msgspec.convert(content[:_HEAD], bytes)
    except msgspec.ValidationError:
        return ""
    return "" if sniff_media_type(data) is None else to_base64(_blank_picture(data))


def _blank_base64(content: str) -> str:
    """Base64 of as many characters that holds nothing but, for a picture, that it is one."""
    head = _blank_head(content)
    kept = len(head)
    blank = [*head]
    letters = [place for place in range(kept, len(content)) if content[place] not in " \t\r\n="]
    blank += content[kept:]
    for number, place in enumerate(letters):
        blank[place] = _LETTERS[number % 4]
    last = len(letters) % 4
    for place, letter in zip(letters[len(letters) - last :], _TAILS.get(last, ""), strict=False):
        blank[place] = letter
    return "".join(blank)


def _divide(text: str, slots: Sequence[Slot]) -> list[str]:
    """Cut a text into pieces as long as those it was joined from."""
    pieces: list[str] = []
    position = 0
    for slot in slots:
        pieces.append(text[position : position + len(slot.text)])
        position += len(slot.text)
    return pieces


def _read_stops(body: bytes) -> list[str]:
    """The strings at which the client wants the answer to end."""
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    stop = fields.get("stop") if isinstance(fields, dict) else None
    stops = [stop] if isinstance(stop, str) else stop
    return [each for each in stops if isinstance(each, str)] if isinstance(stops, list) else []
