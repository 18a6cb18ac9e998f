"""docs/extending.md is true: its additions are made, and work."""

from __future__ import annotations

from typing import Any

from grokproto import Exchange, ModelTable, Settings
from grokproto.images import hosts
from tests.fixtures.load import STREAM_EXPECTATIONS, read_body, read_stream
from tests.playbook import FakeHost, Response, answered
from tests.snippets import find_block, run_python


def load(has: str) -> dict[str, Any]:
    """What a snippet defines."""
    return run_python(find_block("docs/extending.md", "python", has))[1]


def test_model() -> None:
    models = load("ModelTable(")["models"]
    assert models["gpt-4o"].mode == "next"
    assert models["grok-next"].group == "grok-next"


def ask(body: bytes, host: FakeHost) -> FakeHost:
    """Let the plain dialect ask."""
    exchange = Exchange(
        body,
        dialect=load("class Plain:")["Plain"](),
        models=ModelTable(),
        settings=Settings(max_attempts=1),
        new_id=lambda: "1",
        created=0,
    )
    host.run(exchange)
    return host


def test_dialect() -> None:
    host = ask(b"Who froze the sea?", FakeHost(lambda _: answered("plain.ndjson")))
    assert host.headers["content-type"] == "text/plain; charset=utf-8"
    assert host.body.decode() == STREAM_EXPECTATIONS["plain.ndjson"]["content"] + "\n"


def test_dialect_that_fails() -> None:
    wrong = ask(b"\xff", FakeHost(lambda _: answered("plain.ndjson")))
    assert (wrong.status, wrong.body) == (400, b"The question must be UTF-8.\n")
    limit = Response(429, pieces=[read_body("limit.json")])
    assert b"used up" in ask(b"hi", FakeHost(lambda _: limit)).body
    broken = Response(
        pieces=[
            b"".join(read_stream("plain.ndjson").splitlines(True)[:9]),
            b'{"error":{"code":13}}\n',
        ]
    )
    assert ask(b"hi", FakeHost(lambda _: broken)).body.endswith(b"try again later.]\n")


def test_image_host() -> None:
    before = dict(hosts.HOSTS)
    try:
        (host,) = load("HostKind(")["settings"].image_hosts
        request = hosts.build_upload(host, b"\x89PNG\r\n\x1a\n", "image/png")
        assert request.url == "https://pictures.example/upload"
        assert dict(request.headers)["authorization"] == "Bearer key"
        answer = b'{"data":{"url":"https://pictures.example/1.png"}}'
        assert hosts.read_link(host, 200, answer) == "https://pictures.example/1.png"
    finally:
        hosts.HOSTS.clear()
        hosts.HOSTS.update(before)
