"""docs/parser.md is true: its programs are run against a simulated Grok."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from grokproto import Question, Settings, answer, read_question
from tests.playbook import chat_body
from tests.simulators import running_simulator
from tests.snippets import find_block, run_python


@pytest.fixture(scope="module")
def grok() -> Iterator[str]:
    """The address of a simulated Grok."""
    with running_simulator("--coding", "gzip", "--cut", "100") as url:
        yield url


Gather = Callable[[bytes], list[Any]]


def gather_async(make: Callable[[bytes, str], AsyncIterator[Any]]) -> Gather:
    """Run an asynchronous program to its end."""

    async def gather(body: bytes) -> list[Any]:
        return [each async for each in make(body, "anna")]

    return lambda body: asyncio.run(gather(body))


def program(
    document: str, has: str, url: str, change: Callable[[str], str] = lambda code: code
) -> Any:
    """The program of a snippet, which asks the Grok at an address."""
    _, names = run_python(change(find_block(document, "python", has)))

    def read(body: bytes, settings: Settings | None = None) -> Question:
        return read_question(body, settings=replace(settings or Settings(), base_url=url))

    names["read_question"] = read
    return names.get("answer") if callable(names.get("answer")) else names["ask"]


REDIRECTED = "Grok answered with a redirect (HTTP status 302), which is not followed; "
"""What comes of one only where the HTTP client has left it to the converter."""

documents = pytest.mark.parametrize("document", ["docs/parser.md", "README.md"])


@documents
def test_httpx(grok: str, document: str) -> None:
    make = program(document, "httpx.stream(", grok)
    stream = b"".join(make(chat_body(text="Name a colour.", stream=True), "anna"))
    assert stream.endswith(b"data: [DONE]\n\n")
    whole = json.loads(b"".join(make(chat_body(text="Name a colour."), "anna")))
    assert whole["choices"][0]["message"]["content"].startswith("You asked: Name a colour.")
    refused = json.loads(b"".join(make(chat_body(text="[[fault:block_page]]"), "anna")))
    assert refused["error"]["code"] == "cloudflare"
    redirected = json.loads(b"".join(make(chat_body(text="[[fault:redirect]]"), "anna")))
    assert redirected["error"]["message"].startswith(REDIRECTED)


def test_requests(grok: str) -> None:
    check_requests(program("docs/parser.md", "import requests", grok))


@pytest.mark.heavy
def test_curl_cffi(grok: str) -> None:
    pytest.importorskip("curl_cffi", reason="pip install -e '.[heavy]'")
    check_requests(
        program(
            "docs/parser.md",
            "import requests",
            grok,
            lambda code: code.replace("import requests", "from curl_cffi import requests"),
        )
    )


def check_requests(make: Any) -> None:
    """Ask as one does with requests."""
    stream = b"".join(make(chat_body(text="Name a colour.", stream=True), "anna"))
    assert stream.endswith(b"data: [DONE]\n\n")
    refused = json.loads(b"".join(make(chat_body(text="[[fault:block_page]]"), "anna")))
    assert refused["error"]["code"] == "cloudflare"
    redirected = json.loads(b"".join(make(chat_body(text="[[fault:redirect]]"), "anna")))
    assert redirected["error"]["message"].startswith(REDIRECTED)
    with pytest.raises(OSError):  # both of them have such a base
        list(make(chat_body(text="[[fault:reset]]", stream=True), "anna"))


@documents
def test_httpx_and_asyncio(grok: str, document: str) -> None:
    gather = gather_async(program(document, "httpx.AsyncClient", grok))
    chunks = gather(chat_body(text="Name a colour."))
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text.startswith("You asked: Name a colour.")
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    (refused,) = gather(chat_body(text="[[fault:dead_cookie]]"))
    assert refused["error"]["code"] == "unauthorized"
    (redirected,) = gather(chat_body(text="[[fault:redirect]]"))
    assert redirected["error"]["message"].startswith(REDIRECTED)
    broken = gather(chat_body(text="[[fault:early_end_by_close]]"))
    assert broken[-1]["error"]["code"] == "truncated"


@documents
def test_aiohttp(grok: str, document: str) -> None:
    gather = gather_async(program(document, "aiohttp", grok))
    events = gather(chat_body("grok-3-reasoning", "Name a colour."))
    assert any(isinstance(event, answer.Reasoning) for event in events)
    text = "".join(event.text for event in events if isinstance(event, answer.Text))
    assert text.startswith("You asked: Name a colour.")
    assert events[-1] == answer.Ended()
    (failed,) = gather(chat_body(text="[[fault:limit]]"))
    assert failed.failure.kind.value == "rate_limited"
    (redirected,) = gather(chat_body(text="[[fault:redirect]]"))
    assert redirected.failure.message.startswith(REDIRECTED)


def test_aiohttp_is_the_same_in_both() -> None:
    one, other = (find_block(name, "python", "aiohttp") for name in ("docs/parser.md", "README.md"))
    assert one == other


def test_what_the_http_client_raises_comes_out(grok: str) -> None:
    make = program("docs/parser.md", "httpx.stream(", grok)
    with pytest.raises(httpx.HTTPError):
        list(make(chat_body(text="[[fault:reset]]", stream=True), "anna"))
