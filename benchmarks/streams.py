"""Streams of Grok's for the benchmarks of the core, each of as many lines as are asked for."""

from __future__ import annotations

import json
from typing import Any

ANSWER = "00000000-0000-4000-8000-000000000012"
RESULTS = 10
"""Search results in a line that has any."""


def _line(**fields: Any) -> bytes:
    frame = {"isThinking": False, "isSoftStop": False, "responseId": ANSWER, **fields}
    return json.dumps({"result": {"response": frame}}, separators=(",", ":")).encode() + b"\n"


def plain(count: int) -> list[bytes]:
    """Tokens of the answer."""
    return [_line(token=f"word{n} ", messageTag="final") for n in range(count)]


def reasoning(count: int) -> list[bytes]:
    """Half of them thinking, in steps of twenty lines with a heading each; then the answer."""
    thinking = [
        _line(
            token=f"Step {n}" if n % 20 == 0 else f"thought{n} ",
            messageTag="header" if n % 20 == 0 else "summary",
            messageStepId=n // 20,
            isThinking=True,
        )
        for n in range(count // 2)
    ]
    return thinking + plain(count - len(thinking))


def search(count: int) -> list[bytes]:
    """Every tenth line has results, every tenth is a tool's, every tenth cites; others are text."""
    return [_search_line(n) for n in range(count)]


def _search_line(n: int) -> bytes:
    match n % 10:
        case 0:
            found = [
                {
                    "url": f"https://example.com/{n}/{result}",
                    "title": f"Page {n} {result}",
                    "preview": "What the page begins with, in a sentence or two. " * 3,
                }
                for result in range(RESULTS)
            ]
            return _line(webSearchResults={"results": found}, messageTag="raw_function_result")
        case 1:
            return _line(token="<xai:tool_usage_card>", messageTag="tool_usage_card")
        case 2:
            card = {"id": f"c{n}", "cardType": "citation_card", "url": f"https://example.com/{n}/1"}
            return _line(cardAttachment={"jsonData": json.dumps(card)})
        case 3:
            mark = f'<grok:render card_id="c{n - 1}" card_type="citation_card"></grok:render>'
            return _line(token=mark, messageTag="final")
        case _:
            return _line(token=f"word{n} ", messageTag="final")


def pictures(count: int) -> list[bytes]:
    """The progress of four pictures at a time, each to its end."""
    return [
        _line(
            streamingImageGenerationResponse={
                "imageId": f"{n:032x}",
                "imageUrl": f"users/{ANSWER}/generated/{n % 4}/image.jpg",
                "seq": n,
                "progress": min(100, n * 100 // max(1, count - 4)),
                "moderated": False,
                "imageIndex": n % 4,
            }
        )
        for n in range(count)
    ]
