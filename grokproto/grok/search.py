"""Reading search results and cards out of frames.

Shapes, with what is read of them (fixtures `search.ndjson`, `deepsearch.ndjson`):

    "webSearchResults":{"results":[{"url":"...","title":"..."}]}        in a frame [recorded]
    "webSearchResults":[{"url":"...","title":"..."}]                    in modelResponse [recorded]
    "xSearchResults":{"results":[{"username":"...","text":"...","postId":"..."}]}     [recorded]
    "cardAttachment":{"jsonData":"..."}, a text of JSON such as
        {"cardType":"citation_card","url":"..."}                                      [recorded]
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..answer import SearchResult


def _list_results(payload: Any) -> list[dict[str, Any]]:
    results = payload.get("results") if isinstance(payload, dict) else payload
    if not isinstance(results, list):
        return []
    return [result for result in results if isinstance(result, dict)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def read_web_results(payload: Any) -> list[SearchResult]:
    """Pages, from a frame's or a final message's `webSearchResults`; those without url are left."""
    return [
        SearchResult(title=_text(result.get("title")), url=url)
        for result in _list_results(payload)
        if (url := _text(result.get("url")))
    ]


def read_x_results(payload: Any) -> list[SearchResult]:
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
