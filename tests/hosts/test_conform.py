"""`transports.conform`: every host passes it, and what is wrong fails it."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from tests.hosts.hosting import HOSTS, KEY, Accounts, Grok, hosted, run_werkzeug, running
from tests.tracebacks import find_traceback
from transports.api.service import build_service
from transports.cli import cli
from transports.conform import CHECKS, Level, Outcome, Target, run_checks
from transports.conform.plain_http import ProtocolError, Response
from transports.conform.sse import FramingError, read_stream
from transports.threaded import WSGIApp

NAMES = [check.name for check in CHECKS]


@pytest.fixture(scope="module")
def grok() -> Iterator[Grok]:
    with Grok(quotas={"grok-3": (10**6, 7200.0)}) as grok:
        yield grok


def open_target(url: str, **options: Any) -> Target:
    """A target that is not waited for too long."""
    return Target(f"{url}/v1", **{"key": KEY, "model": "grok-3", "timeout": 10.0, **options})


@pytest.mark.parametrize("host", HOSTS)
def test_every_host_conforms(host: str, grok: Grok) -> None:
    config = grok.configure(QUOTAS="default=1000/1h")
    with hosted(host, config, Accounts(config)) as listening:
        results = list(run_checks(open_target(listening.url)))
    assert [result.check.name for result in results] == NAMES
    wrong = [(r.check.name, r.seen) for r in results if r.outcome is not Outcome.PASSED]
    assert wrong == []


# What is wrong fails

Change = Callable[[str, list[tuple[str, str]], bytes], tuple[str, list[tuple[str, str]], bytes]]
"""Of a status, headers and a body."""


class Spoiled:
    """A WSGI application that does something wrong, on order."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.change: Change | None = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if self.change is None:
            return self._app(environ, start_response)
        heads: list[tuple[str, list[tuple[str, str]]]] = []
        body = b"".join(self._app(environ, lambda *head: heads.append(head)))
        status, headers = heads[0]
        headers = [field for field in headers if field[0] != "content-length"]
        status, headers, body = self.change(status, headers, body)
        start_response(status, [*headers, ("content-length", str(len(body)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


@pytest.fixture(scope="module")
def spoiled(grok: Grok) -> Iterator[tuple[Spoiled, str]]:
    config = grok.configure(QUOTAS="default=100000/1h")
    with contextlib.ExitStack() as stack:
        scheduler = stack.enter_context(Accounts(config).open())
        app = stack.enter_context(WSGIApp(build_service(config), scheduler))
        wrong = Spoiled(app)
        listening = stack.enter_context(running(lambda sock: run_werkzeug(wrong, sock)))
        yield wrong, listening.url


def edit(change: Callable[[Any], Any]) -> Change:
    """Change the objects in all bodies."""

    def apply(
        status: str, headers: list[tuple[str, str]], body: bytes
    ) -> tuple[str, list[tuple[str, str]], bytes]:
        if body.startswith(b"{"):
            return status, headers, json.dumps(change(json.loads(body))).encode()
        blocks = body.decode().split("\n\n")
        for index, block in enumerate(blocks):
            if block.startswith("data: {"):
                blocks[index] = f"data: {json.dumps(change(json.loads(block[6:])))}"
        return status, headers, "\n\n".join(blocks).encode()

    return apply


def put(path: str, value: Any) -> Change:
    """Put a value at a path such as `choices.0.index` of all objects that have it."""

    def change(thing: Any) -> Any:
        *way, last = path.split(".")
        inner = thing
        for step in way:
            inner = inner[int(step)] if step.isdigit() and inner else inner.get(step)
            if not inner:
                return thing
        if last in inner:
            inner[last] = value
        return thing

    return edit(change)


def replace(old: bytes, new: bytes) -> Change:
    """Replace bytes in all bodies."""
    return lambda status, headers, body: (status, headers, body.replace(old, new))


def retitle(name: str, value: str | None) -> Change:
    """Give a header another value in all responses, or none."""

    def change(
        status: str, headers: list[tuple[str, str]], body: bytes
    ) -> tuple[str, list[tuple[str, str]], bytes]:
        kept = [(n, v if n != name else value) for n, v in headers]
        return status, [(n, v) for n, v in kept if v is not None], body

    return change


def restatus(old: str, new: str) -> Change:
    """Give one status instead of another."""
    return lambda status, headers, body: (
        new if status.startswith(old) else status,
        headers,
        body,
    )


def double(status: str, headers: Any, body: bytes) -> tuple[str, Any, bytes]:
    return status, headers, body.replace(b"data: [DONE]\n\n", b"data: [DONE]\n\ndata: {}\n\n")


ANSWERS = {"chat", "stop", "max_tokens", "history", "content parts", "unicode"}
STREAMS = {"stream", "stream chunks", "stream begin", "stream end", "stream usage"}
WRONGS: dict[str, tuple[Change, set[str]]] = {
    "no list": (put("object", "thing"), {"models", "chat", "stream chunks"}),
    "no ids": (put("id", None), {"model", "chat", "stream chunks"}),
    "no counts": (put("usage.total_tokens", 1), {"chat usage", "stream usage"}),
    "halves of tokens": (put("usage.prompt_tokens", 0.5), {"chat usage", "stream usage"}),
    "no content": (put("choices.0.message.content", None), ANSWERS),
    "no end": (put("choices.0.finish_reason", None), ANSWERS | {"stream end"}),
    "an end in every chunk": (put("choices.0.finish_reason", "stop"), {"stream end", "max_tokens"}),
    "an end of its own": (put("choices.0.finish_reason", "done"), ANSWERS | {"stream end"}),
    "another speaker": (put("choices.0.delta.role", "user"), {"stream begin"}),
    "no choices": (put("choices", []), ANSWERS | {"stream", "stream without usage"}),
    "two first choices": (put("choices.0.index", 1), {"chat", "stream", "several choices"}),
    "another model": (put("model", "gpt-1"), {"model is echoed"}),
    "long ago": (put("created", 0), {"created"}),
    "a half date": (put("created", 0.5), {"model", "chat", "stream chunks"}),
    "no dates of models": (put("data.0.created", None), {"models"}),
    "no message of errors": (put("error.message", None), {"error body", "error field", "no key"}),
    "errors as texts": (put("error", "wrong"), {"error body", "error model", "error method"}),
    "errors without param": (
        edit(lambda thing: {"error": {"message": "", "type": ""}} if "error" in thing else thing),
        {"error body", "error path", "error depth"},
    ),
    "no name of the field": (
        edit(
            lambda t: (
                {"error": {**t["error"], "param": None, "message": "Wrong."}} if "error" in t else t
            )
        ),
        {"error types"},
    ),
    "errors with 500": (restatus("400", "500 Oops"), {"error body", "error types"}),
    "errors with 200": (restatus("4", "200 OK"), {"error body", "no key", "wrong key"}),
    "answers with 201": (restatus("200", "201 Created"), {"models", "chat", "stream", "HEAD"}),
    "no done": (replace(b"data: [DONE]\n\n", b""), STREAMS | {"stream by bytes"}),
    "something after it": (double, STREAMS),
    "half a blank line": (replace(b"\n\n", b"\n"), STREAMS),
    "no text event": (retitle("content-type", "application/x-thing"), {"chat", "stream", "models"}),
    "no origin": (retitle("access-control-allow-origin", None), {"CORS preflight", "CORS answers"}),
    "no headers allowed": (retitle("access-control-allow-headers", "x-a"), {"CORS preflight"}),
    "no request id": (retitle("x-request-id", None), {"request id", "request id of the client"}),
    "one request id": (retitle("x-request-id", "a"), {"request id", "request id of the client"}),
    "no methods allowed": (retitle("allow", None), {"error method"}),
    "kept streams": (retitle("cache-control", "public"), {"stream is not kept"}),
    "usage in all chunks": (
        edit(lambda t: {**t, "usage": {"total_tokens": 1}} if t.get("choices") else t),
        {"stream usage"},
    ),
}


@pytest.mark.parametrize("name", WRONGS)
def test_what_is_wrong_fails(name: str, spoiled: tuple[Spoiled, str]) -> None:
    app, url = spoiled
    app.change, expected = WRONGS[name]
    assert expected <= set(NAMES)
    checks = [check for check in CHECKS if check.name in expected]
    results = list(run_checks(open_target(url), checks))
    passed = [result.check.name for result in results if result.outcome is not Outcome.FAILED]
    assert passed == []
    assert all(result.seen for result in results)


# The command


def invoke(*arguments: str) -> Result:
    with capture_logs():  # those of the server in its thread
        return CliRunner().invoke(cli, ["conform", *arguments])


def test_table_and_json(spoiled: tuple[Spoiled, str]) -> None:
    app, url = spoiled
    app.change = None
    asked = (f"{url}/v1", "--model", "grok-3", "--only", "chat*", "--only", "*key")
    well = invoke(*asked, "--key", KEY)
    assert well.exit_code == 0
    assert re.search(r"^ok    basic   chat +\d+ characters, finish_reason stop$", well.output, re.M)
    assert well.output.endswith("passed: basic 4 of 4\n")
    app.change = put("usage.total_tokens", 1)
    failed = invoke(*asked, "--key", KEY)
    assert failed.exit_code == 1
    assert re.search(
        r"^FAIL  basic   chat usage +1 is not \d+ \+ \d+\n +wanted: A", failed.output, re.M
    )
    assert failed.output.endswith("passed: basic 3 of 4\n")
    lines = [
        json.loads(line) for line in invoke(*asked, "--key", KEY, "--json").output.splitlines()
    ]
    outcomes = {line["check"]: line["outcome"] for line in lines}
    assert outcomes == {
        "chat": "passed",
        "chat usage": "failed",
        "no key": "passed",
        "wrong key": "passed",
    }
    app.change = restatus("401", "200 OK")
    without = invoke(f"{url}/v1", "--only", "*key")
    assert without.exit_code == 0
    assert without.output.count("--    basic") == 2
    assert without.output.endswith("passed: none; skipped 2\n")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--key", "not-ours"), "the server refuses the key: it answers 401, “"),
        ((), "the server refuses to answer without a key: it answers 401, “"),
        (("--key", KEY, "--model", "x"), "the server does not know the model “x”: it answers 404"),
    ],
)
def test_nothing_is_checked_where_all_would_fail(
    options: tuple[str, ...], words: str, spoiled: tuple[Spoiled, str]
) -> None:
    app, url = spoiled
    app.change = None
    for more in ((), ("--json",)):
        result = invoke(f"{url}/v1", *options, *more)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"grokproto: {words}")
        assert len(result.stderr.splitlines()) == 1
        assert "not-ours" not in result.stderr


STREAM = "200 OK\r\ncontent-type: text/event-stream\r\n"


@pytest.mark.parametrize(
    ("head", "seen"),
    [
        (
            "404 Not Found\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
            "404, not",
        ),
        ("200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\n{}", "the content-type is"),
        (f"{STREAM}content-length: 0\r\n\r\n", "no chunk"),
        (f"{STREAM}transfer-encoding: chunked\r\n\r\n0\r\n\r\n", "no chunk"),
    ],
)
def test_client_that_leaves_waits_for_nothing_that_does_not_come(head: str, seen: str) -> None:
    """The connection stays open, and nothing more is sent."""
    (check,) = (check for check in CHECKS if check.name == "client that leaves")
    with speaking(f"HTTP/1.1 {head}".encode(), slowly=True) as target:
        target.model = "m"
        (result,) = run_checks(target, [check])
    assert result.outcome is Outcome.FAILED
    assert seen in result.seen


def test_list_and_levels() -> None:
    listed = invoke("http://127.0.0.1:1/v1", "--list").output.splitlines()
    assert len(listed) == len(CHECKS) == len(set(NAMES))
    basic = invoke("http://127.0.0.1:1/v1", "--list", "--basic").output.splitlines()
    assert len(basic) == sum(check.level is Level.BASIC for check in CHECKS)
    assert all(check.about for check in CHECKS)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--only chat --only zzz", "no check has the name 'zzz'; --list shows their names"),
        ("--only zzz --list", "no check has the name 'zzz'"),
        ("--basic --only HEAD", "no basic check has the name"),
        ("--timeout nan", "'nan' is not a number"),
        ("--timeout inf", "inf is not in the range"),
        ("--timeout -1", "-1.0 is not in the range"),
        ("--timeout 0", "0.0 is not in the range"),
    ],
)
def test_nothing_that_cannot_be_checked(options: str, words: str) -> None:
    refused = invoke("http://127.0.0.1:1/v1", *options.split())
    assert refused.exit_code == 2
    assert words in refused.output


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://127.0.0.1:1/v1", "cannot be reached"),
        ("127.0.0.1:3000", "is no address"),
        ("http://[::1/v1", "is no address"),
        ("ftp://a/", "is no address"),
        ("http://127.0.0.1:1/v1 HTTP/1.1\r\nx-injected: 1\r\n/v1", "is no address"),
        ("http://127.0.0.1:1/v 1", "is no address"),
        ("http://127.0.0.1:1/v\u00e9", "is no address"),
        ("http://127.0.0.1:1/v1?a=b", "is no address"),
        ("http://127.0.0.1:0/v1", "is no address"),
        ("http://127.0.0.1:1/v1#a", "is no address"),
        ("http://a..b/v1", "a..b port 80 cannot be reached"),
        ("http://anna:hunter2@127.0.0.1:1/v1", "is no address"),
    ],
)
def test_nobody_there(url: str, word: str) -> None:
    result = invoke(url)
    assert result.exit_code == 1
    assert word in result.output
    assert len(result.output.splitlines()) == 1
    assert "hunter2" not in result.output
    assert find_traceback(result.output) == ""


@pytest.mark.parametrize(
    "key", ["abc\r\nx-injected: 1", "a\nb", "a\0b", "\x7f", "caf\u00e9", "\u20ac"]
)
def test_key_that_no_header_may_have(key: str) -> None:
    result = invoke("http://127.0.0.1:1/v1", "--key", key)
    assert result.exit_code == 2
    assert result.output == "grokproto: the key has characters that no header may have\n"


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("a b\r\nx: 1", "a%20b%0D%0Ax%3A%201"),
        ("\u8272", "%E8%89%B2"),
        ("a/\ud800?b#c", "a/%3F%3Fb%23c"),
    ],
)
def test_name_of_a_model_stays_in_the_path(name: str, sent: str) -> None:
    model = {"id": name, "object": "model", "created": 1, "owned_by": "us"}
    asked: list[str] = []

    class Kept(Target):
        def request(self, method: str, path: str, *_: Any, **__: Any) -> Response:
            asked.append(path)
            found = model if len(asked) > 1 else {"object": "list", "data": [model]}
            headers = (("content-type", "application/json"),)
            return Response(200, headers, json.dumps(found).encode())

    (check,) = (check for check in CHECKS if check.name == "model")
    (result,) = run_checks(Kept("http://127.0.0.1:1/v1"), [check])
    assert result.outcome is Outcome.PASSED
    assert asked == ["/models", f"/models/{sent}"]


def test_table_moves_no_terminal(spoiled: tuple[Spoiled, str]) -> None:
    app, url = spoiled
    app.change = put("data.0.id", "a\x1b[2J\ud800")
    shown = invoke(f"{url}/v1", "--key", KEY, "--model", "grok-3", "--only", "models").output
    assert "the first is a\\x1b[2J\\ud800\n" in shown


def test_what_a_model_is_when_none_is_named(spoiled: tuple[Spoiled, str]) -> None:
    app, url = spoiled
    app.change = None
    assert open_target(url, model=None).model == "grok-2"
    app.change = put("data", [])
    with pytest.raises(ProtocolError, match="no model is listed"):
        print(open_target(url, model=None).model)


# The client


@contextlib.contextmanager
def speaking(said: bytes, *, slowly: bool = False) -> Iterator[Target]:
    """A server that says this to whoever connects, whatever it is asked, and closes."""

    def serve() -> None:
        listener.settimeout(5)
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(said)
            if slowly:
                released.wait(5)

    released = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield Target(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", timeout=0.3)
        released.set()
        thread.join()


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        (b"", "ended in the head"),
        (b"HTTP/1.1 200", "ended in the head"),
        (b"SSH-2.0-thing\r\n\r\n", "no status line"),
        (b"HTTP/1.1 OK\r\n\r\n", "no status line"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc", "ended in the body"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\nabc", "no content-length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: \xb2\r\n\r\nabc", "no content-length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n", "no content-length"),
        (b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n", "no status line"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", "too long"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", "no size of a chunk"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n", "does not end"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n", "ended in a chunk"),
        (b"HTTP/1.1 200 OK\r\na: " + b"b" * 300_000, "no end"),
    ],
)
def test_what_is_no_http(said: bytes, wrong: str) -> None:
    with speaking(said) as target, pytest.raises(ProtocolError, match=wrong):
        target.request("GET", "/models")


def test_what_does_not_come_in_time() -> None:
    with speaking(b"HTTP/1.1 200 OK\r\n", slowly=True) as target:
        with pytest.raises(ProtocolError, match="in time"):
            target.request("GET", "/models")


@pytest.mark.parametrize(
    ("said", "body"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab", b"ab"),
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", b"to the end"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;a\r\nab\r\n0\r\nc: d\r\n\r\n",
            b"ab",
        ),
    ],
)
def test_what_is_http(said: bytes, body: bytes) -> None:
    with speaking(said) as target:
        assert target.request("GET", "/models").body == body


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (b"data: {}\n", "blank line"),
        (b"\xef\xbb\xbfdata: {}\n\n", "byte order mark"),
        (b"data: \xff\n\n", "no UTF-8"),
        (b"data: {\n\n", "no JSON"),
        (b"data: []\n\n", "no JSON object"),
        (b"date: {}\n\n", "no line of an event"),
        (b"data: {}\ndata: {}\n\n", "several lines"),
        (b"data: [DONE]\n\ndata: {}\n\n", "after"),
    ],
)
def test_what_is_no_stream(body: bytes, wrong: str) -> None:
    with pytest.raises(FramingError, match=wrong):
        read_stream(body)


def test_what_is_a_stream() -> None:
    body = b': hello\n\ndata:{"a": 1}\r\n\r\nevent: b\ndata: {"a": 2}\n\ndata: [DONE]\n\n'
    stream = read_stream(body)
    assert [chunk["a"] for chunk in stream.chunks] == [1, 2]
    assert (stream.comments, stream.done) == (1, True)
