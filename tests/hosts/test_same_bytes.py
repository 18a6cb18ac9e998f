"""The same bytes for a client, from the same bytes of Grok's, whatever the host."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from tests.fixtures.load import STREAM_EXPECTATIONS, read_stream
from tests.hosts.hosting import FOREIGN, with_host
from tests.strategies import cut, single_bytes
from tests.transports.served import RawResponse, Served, chat

_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_CREATED = re.compile(rb'"created":\d+')
_PORT = re.compile(rb"127\.0\.0\.1:\d+")
OURS = {
    *("content-type", "cache-control", "x-accel-buffering", "x-should-retry", "retry-after"),
    *("x-grokproto-ignored", "allow", "access-control-allow-origin"),
    *("access-control-expose-headers", "access-control-allow-methods"),
}
"""Headers that the front and the exchange make; the others are the server's, or new each time."""


SHORT = 400


@attrs.frozen
class Got:
    """What a client got, less what is new each time."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def normalize(response: RawResponse) -> Got:
    """What must be the same."""
    assert response.whole
    body = _UUID.sub(b"ID", response.body)
    body = _PORT.sub(b"GROK", _CREATED.sub(b'"created":0', body))
    headers = {name: value for name, value in response.headers.items() if name in OURS}
    return Got(response.status, tuple(sorted(headers.items())), body)


def plan() -> Iterator[tuple[str, str, bool, list[bytes]]]:
    """Each stream whole, in both shapes, and cut somewhere; the short ones byte by byte too."""
    for name in STREAM_EXPECTATIONS:
        data = read_stream(name)
        yield name, "whole", True, [data]
        yield name, "whole", False, [data]
        places = sorted(random.Random(name).choices(range(len(data) + 1), k=12))
        yield name, "cut", True, cut(data, places)
        if len(data) < SHORT:
            yield name, "bytes", True, single_bytes(data)


@functools.cache
def ask_everything(host: str) -> dict[Any, Got]:
    """The answers to every stream in several cuts and both shapes, and to some other requests."""
    found: dict[Any, Got] = {}

    async def check(served: Served) -> None:
        site = served.simulator.site
        pictures = [p for each in STREAM_EXPECTATIONS.values() for p in each["images"]]
        for name, way, stream, pieces in plan():
            account = f"{name}-{way}-{stream}"
            site.accounts.get(account).pictures.update(dict.fromkeys(pictures, 1))
            site.replay = pieces
            answer = await served.request(
                "POST",
                "/v1/chat/completions",
                chat(stream=stream),
                authorization=f"Bearer {account}",
            )
            found[name, way, stream] = normalize(answer)
        for method, path, body in OTHERS:
            found[method, path, str(body)] = normalize(await served.request(method, path, body))

    with_host(
        host,
        check,
        accounts=(),
        quotas={"grok-3": (10_000, 60.0)},
        IS_CUSTOM_SSO="true",
        THINKING_FORMAT="reasoning_content",
        MAX_ATTEMPTS="1",
    )
    return found


OTHERS: list[tuple[str, str, Any]] = [
    ("GET", "/v1/models", None),
    ("GET", "/v1/models/grok-3", None),
    ("GET", "/v1/models/gpt-1", None),
    ("GET", "/v1/models/grok%2D3", None),
    ("GET", "/v1/models/%zz%FF%", None),
    ("OPTIONS", "/v1/models", None),
    ("DELETE", "/v1/models", None),
    ("GET", "/nowhere/at%20all", None),
    ("POST", "/v1/embeddings", {}),
    ("POST", "/v1/chat/completions", b"{"),
    ("POST", "/v1/chat/completions", chat(model="gpt-1")),
    ("POST", "/v1/chat/completions", chat(temperature=1.5, stream=True)),
    ("POST", "/v1/images/generations", {"prompt": 1}),
    ("GET", "/get/tokens", None),
    ("POST", "/delete/token", {"sso": "nobody"}),
    ("GET", "/images/none", None),
    ("GET", "/ready", None),
]


@pytest.mark.parametrize("host", FOREIGN)
def test_every_host_gives_the_same_bytes(host: str) -> None:
    expected, found = ask_everything("server"), ask_everything(host)
    assert found.keys() == expected.keys()
    assert [key for key in expected if found[key] != expected[key]] == []


def test_every_cut_gives_the_same_bytes() -> None:
    found = ask_everything("server")
    for name, way, stream, _ in plan():
        assert found[name, way, stream] == found[name, "whole", stream], (name, way)
