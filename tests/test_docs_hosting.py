"""docs/hosting.md is true: its host is run against a simulated Grok."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from grokproto import FailureKind, Secret, Settings
from grokproto.commands import Summary
from grokproto.credentials import CredentialPool, PoolSettings
from tests.playbook import chat_body
from tests.simulators import running_simulator
from tests.snippets import find_block, run_python


@pytest.fixture(scope="module")
def grok() -> Iterator[str]:
    """The address of a simulated Grok."""
    with running_simulator("--coding", "gzip") as url:
        yield url


@attrs.define
class Client:
    """A client in memory, which may leave after so many writes."""

    patience: int = 1000
    status: int | None = None
    headers: dict[str, str] = attrs.field(factory=dict)
    body: bytes = b""
    ended: bool = False

    def send_response(self, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        """See `Client` in the document."""
        assert self.status is None
        self.status, self.headers = status, dict(headers)

    def send_data(self, data: bytes) -> None:
        """See `Client` in the document."""
        if not self.patience:
            raise ConnectionError
        self.patience -= 1
        self.body += data

    def end_response(self) -> None:
        """See `Client` in the document."""
        self.ended = True


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the program defines."""
    return run_python(find_block("docs/hosting.md", "python", "class Host"))[1]


def ask(
    names: dict[str, Any], grok: str, client: Client | None = None, **fields: Any
) -> tuple[Client, Summary]:
    """Let the host answer; all that was lent must have come back."""
    client = client or Client()
    pool = CredentialPool(PoolSettings())
    for name in ("anna", "bert"):
        pool.add({"sso": Secret(name)})
    settings = Settings(base_url=grok, assets_url=grok)
    summary: Summary = names["answer"](chat_body(**fields), client, pool, settings)
    assert all(status.in_flight == 0 for status in pool.status(1e10))
    return client, summary


def test_answers(names: dict[str, Any], grok: str) -> None:
    client, _ = ask(names, grok, text="Name a colour.")
    assert client.status == 200
    assert client.ended
    content = json.loads(client.body)["choices"][0]["message"]["content"]
    assert content.startswith("You asked: Name a colour.")
    streamed, _ = ask(names, grok, stream=True)
    assert streamed.body.endswith(b"data: [DONE]\n\n")


def test_several_answers(names: dict[str, Any], grok: str) -> None:
    client, summary = ask(names, grok, n=2)
    assert len(json.loads(client.body)["choices"]) == 2
    assert summary.attempts == 2


def test_another_account_is_tried(names: dict[str, Any], grok: str) -> None:
    client, summary = ask(names, grok, text="[[fault:limit]]")
    assert (client.status, summary.attempts) == (429, 2)
    broken, summary = ask(names, grok, text="[[fault:reset]]", stream=True)
    assert b'"error"' in broken.body
    assert summary.failure is not None
    assert summary.failure.kind is FailureKind.NETWORK


def test_client_that_leaves(names: dict[str, Any], grok: str) -> None:
    client, summary = ask(names, grok, Client(patience=2), stream=True)
    assert summary.client_closed
    assert not client.ended
    _, summary = ask(names, grok, Client(patience=2), stream=True, n=2)
    assert summary.client_closed


def test_pictures_are_refused_with_a_word(names: dict[str, Any], grok: str) -> None:
    parts = [{"type": "image_url", "image_url": {"url": "https://a.example/x.png"}}]
    client, _ = ask(names, grok, messages=[{"role": "user", "content": parts}])
    assert client.status == 400
    assert b"this host fetches no pictures" in client.body
