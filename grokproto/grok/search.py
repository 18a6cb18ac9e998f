"""Reading search results and cards out of frames.

Shapes, with what is read of them (fixtures `search.ndjson`, `deepsearch.ndjson`):

    "webSearchResults":{"results":[{"url":"...","title":"..."}]}        in a frame [recorded]
    "webSearchResults":[{"url":"...","title":"..."}]                    in modelResponse [recorded]
    "xSearchResults":{"results":[{"username":"...","text":"...","postId":"..."}]}     [recorded]
    "cardAttachment":{"jsonData":"..."}, a text of JSON such as
        {"cardType":"citation_card","url":"..."}                                      [recorded]

Pages come by the dozen, so they are decoded as what they become here. Where one of them has another
shape than it had so far, all of them are looked at one by one.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..answer import SearchResult
from .frames import UNREADABLE, decode_payload


class _Pages(msgspec.Struct):
    results: list[SearchResult] = []


_pages = msgspec.json.Decoder(_Pages)


def _list_results(payload: Any) -> list[dict[str, Any]]:
    results = payload.get("results") if isinstance(payload, dict) else payload
    if not isinstance(results, list):
        return []
    return [result for result in results if isinstance(result, dict)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def read_pages(payload: msgspec.Raw) -> list[SearchResult]:
    """Pages, from a frame's `webSearchResults`; those without url are left."""
    try:
        return [page for page in _pages.decode(payload).results if page.url]
    except UNREADABLE:
        return list_pages(decode_payload(payload))


def list_pages(payload: Any) -> list[SearchResult]:
    """Pages, from a `webSearchResults` that is decoded; those without url are left."""
    return [
        SearchResult(title=_text(result.get("title")), url=url)
        for result in _list_results(payload)
        if (url := _text(result.get("url")))
    ]


def list_posts(payload: Any) -> list[SearchResult]:
    """Posts, from a frame's `xSearchResults`, with the address that a browser would open."""
    return [
        SearchResult(title=_text(result.get("text")), url=f"https://x.com/{name}/status/{post}")
        for result in _list_results(payload)
        if (name := _text(result.get("username"))) and (post := _text(result.get("postId")))
    ]


def read_card(json_data: Any) -> dict[str, Any]:
    """The card that a `jsonData` text holds; empty where it holds none."""
    if not isinstance(json_data, str):
        return {}
    try:
        card = msgspec.json.decode(json_data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {}
    return card if isinstance(card, dict) else {}
