"""The exact bytes that clients get, one file for each kind of answer.

`python -m tests.golden` writes the files anew; whoever does that reads what has changed. The test
is `tests/proto/test_golden.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from grokproto import commands as c
from grokproto import events as e
from tests.fixtures.load import read_stream
from tests.playbook import FakeHost, Response, chat_body, make_exchange

GOLDEN = Path(__file__).parent / "fixtures" / "golden"
PNG = b"\x89PNG\r\n\x1a\nabc"


@attrs.frozen
class Kind:
    """One kind of answer."""

    stream: str
    body: bytes
    dialect: str = "openai_chat"
    cut_off: bool = False
    """The connection breaks in the end."""


def _chat(fixture: str, **fields: Any) -> Kind:
    return Kind(fixture, chat_body(**{"stream": True, **fields}))


_USAGE = {"stream_options": {"include_usage": True}}

KINDS: dict[str, Kind] = {
    "plain.sse": _chat("plain.ndjson"),
    "plain.json": _chat("plain.ndjson", stream=False),
    "usage.sse": _chat("plain.ndjson", **_USAGE),
    "think.sse": _chat("reasoning.ndjson"),
    "reasoning_content.sse": _chat("reasoning.ndjson", thinking_format="reasoning_content"),
    "hidden.sse": _chat("reasoning.ndjson", thinking_format="hidden"),
    "search_front.sse": _chat("search.ndjson", search_results="front"),
    "search_links.sse": _chat("search.ndjson", search_results="inline,annotations,list"),
    "search_links.json": _chat(
        "search.ndjson", search_results="inline,annotations,list", stream=False
    ),
    "picture.sse": _chat("image_streaming.ndjson", model="grok-3-imageGen"),
    "stop.sse": _chat("plain.ndjson", stop=["bour fr", "?"], **_USAGE),
    "length.sse": _chat("plain.ndjson", max_tokens=3, **_USAGE),
    "two_choices.sse": _chat("plain.ndjson", n=2, **_USAGE),
    "two_choices.json": _chat("plain.ndjson", n=2, stream=False),
    "two_choices_sources.sse": _chat("search.ndjson", n=2, search_results="list"),
    "two_choices_sources.json": _chat("search.ndjson", n=2, search_results="list", stream=False),
    "moderated.sse": _chat("image_all_moderated.ndjson"),
    "broken_off.sse": Kind("plain.ndjson", chat_body(stream=True), cut_off=True),
    "limit_in_the_middle.sse": _chat("error_fatal_limit.ndjson"),
    "limit.json": _chat("error_fatal_limit.ndjson", stream=False),
    "images.json": Kind("image_streaming.ndjson", b'{"prompt":"a heron"}', "openai_images"),
    "images.sse": Kind(
        "image_streaming.ndjson", b'{"prompt":"a heron","stream":true}', "openai_images"
    ),
    "images_partial.sse": Kind(
        "image_streaming.ndjson",
        b'{"prompt":"a heron","stream":true,"partial_images":2}',
        "openai_images",
    ),
    "images_broken_off.sse": Kind(
        "image_streaming.ndjson",
        b'{"prompt":"a heron","stream":true,"partial_images":2}',
        "openai_images",
        cut_off=True,
    ),
    "thinking_and_search.json": _chat(
        "deepsearch_2026.ndjson",
        stream=False,
        thinking_format="reasoning_content",
        search_results="annotations,list",
    ),
    "wrong.json": Kind("plain.ndjson", chat_body(messages=[{"role": "king"}])),
}


def make(kind: Kind, cut: Callable[[bytes], list[bytes]] = lambda data: [data]) -> bytes:
    """What a client gets for this kind of answer: the status, the headers, and the body."""

    def respond(request: c.UpstreamRequest) -> Response:
        if "assets.grok.com" in request.url:
            return Response(pieces=cut(PNG))
        data = read_stream(kind.stream)
        if kind.cut_off:
            return Response(pieces=cut(data[: len(data) // 2]), end=e.RequestFailed("reset"))
        return Response(pieces=cut(data))

    host = FakeHost(respond, leases=["a", "b"])
    host.run(make_exchange(kind.body, dialect=kind.dialect))
    head = "".join(f"{name}: {value}\n" for name, value in host.headers.items())
    return f"{host.status}\n{head}\n".encode() + host.body


def main() -> None:
    """Write the files."""
    GOLDEN.mkdir(exist_ok=True)
    for name, kind in KINDS.items():
        (GOLDEN / name).write_bytes(make(kind))


if __name__ == "__main__":
    main()
