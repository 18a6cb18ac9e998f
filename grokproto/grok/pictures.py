"""Finding pictures, and previews of them, in all that Grok says of pictures.

Shapes, with what is read of them (fixtures `image*.ndjson`):

    "cachedImageGenerationResponse":{"imageUrl":"...","moderated":false}         [client code]
    "streamingImageGenerationResponse":{"imageUrl":"...","progress":100,"moderated":false}
                                                                                 [recorded]
    a card with "cardType":"generated_image_card" and
        "image_chunk":{"imageUrl":"...","progress":100,"moderated":false}        [recorded]
    "generatedImageUrls":["..."] in the final message                            [recorded]

Addresses come absolute, relative, or with a leading slash. A preview says a progress below 100 and
has `-part-0/` in its path. A picture that moderation held back can turn up once more in
`generatedImageUrls`, without a word of it.
"""

from __future__ import annotations

import re
from typing import Any, TypeAlias

import msgspec

from ..answer import Image, Preview
from .frames import UNREADABLE, decode_payload

_ASSETS = re.compile(r"https?://assets\.grok\.com/+", re.IGNORECASE)
_PREVIEW = re.compile(r"-part-\d+/")
_FINISHED = 100

MAX_PICTURES = 64
"""Of one answer, and as many previews. The site draws a handful; whoever sends more wants to fill
our memory."""


Found: TypeAlias = Image | Preview


class _Progress(msgspec.Struct, rename="camel", gc=False):
    """A `streamingImageGenerationResponse` as nearly always; dozens of them make a picture."""

    image_url: str = ""
    progress: float = 0
    moderated: bool = False


_progress = msgspec.json.Decoder(_Progress)


def normalize_address(address: str) -> str:
    """One spelling for a picture's address: a path under the assets host, or an absolute URL."""
    return _ASSETS.sub("", address, count=1).lstrip("/")


class PictureSorter:
    """Tells finished pictures from previews, repetitions and those that were held back."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._moderated: set[str] = set()
        self._previews: set[str] = set()

    @property
    def any_moderated(self) -> bool:
        """Whether moderation held a picture back."""
        return bool(self._moderated)

    def read_cached(self, payload: Any) -> list[Found]:
        """New finished pictures in a `cachedImageGenerationResponse`."""
        if not isinstance(payload, dict):
            return []
        return self._sort(payload.get("imageUrl"), payload.get("moderated"))

    def read_progress(self, payload: msgspec.Raw) -> list[Found]:
        """New pictures and previews in a `streamingImageGenerationResponse`."""
        try:
            progress = _progress.decode(payload)
        except UNREADABLE:
            return self.read_chunk(decode_payload(payload))  # it is not what it has been so far
        if progress.moderated or progress.progress == _FINISHED:
            return self._sort(progress.image_url, progress.moderated)
        return self._sort_preview(progress.image_url)

    def read_chunk(self, payload: Any) -> list[Found]:
        """New pictures and previews in the `image_chunk` of a card, and in what looks like one."""
        if not isinstance(payload, dict):
            return []
        progress = payload.get("progress")
        if payload.get("moderated") is not True and progress != _FINISHED:
            return self._sort_preview(payload.get("imageUrl"))
        return self._sort(payload.get("imageUrl"), payload.get("moderated"))

    def read_card(self, card: dict[str, Any]) -> list[Found]:
        """New pictures and previews in a card."""
        if card.get("cardType") != "generated_image_card":
            return []
        return self.read_chunk(card.get("image_chunk"))

    def read_urls(self, urls: Any) -> list[Found]:
        """New finished pictures in the final message's `generatedImageUrls`."""
        if not isinstance(urls, list):
            return []
        return [picture for url in urls for picture in self._sort(url, None)]

    def _sort_preview(self, url: Any) -> list[Found]:
        if not isinstance(url, str) or "-part-" not in url:
            return []
        address = normalize_address(url)
        if not _PREVIEW.search(address) or address in self._previews:
            return []
        if len(self._previews) >= MAX_PICTURES:
            return []
        self._previews.add(address)
        return [Preview(address)]

    def _sort(self, url: Any, moderated: Any) -> list[Found]:
        if not isinstance(url, str):
            return []
        address = normalize_address(url)
        if not address or len(self._seen) + len(self._moderated) >= MAX_PICTURES:
            return []
        if moderated is True:
            self._moderated.add(address)
            return []
        if _PREVIEW.search(address) or address in self._moderated or address in self._seen:
            return []
        self._seen.add(address)
        return [Image(address)]
