"""`transports.threaded` and what it stands on: waiting, upstream calls and pictures in threads."""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
import wsgiref.validate
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import flask
import pytest
import trio
import werkzeug.exceptions
from structlog.testing import capture_logs
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from grokproto import events as e
from grokproto.commands import UpstreamRequest
from grokproto.errors import ConfigurationError
from tests.hosts.hosting import KEY, Grok, far_end, run_werkzeug, running, secure_end
from transports.conform import CHECKS, Outcome, Target, run_checks
from transports.loops.threads import Handover, InterruptedWaitError, News
from transports.simulator import Delivery, FaultKind
from transports.threaded import WSGIApp, build_app
from transports.upstream.calls_threads import ThreadedUpstream
from transports.upstream.rules import Fetched, UpstreamConfig

PATIENCE = 10.0


@pytest.fixture
def grok() -> Iterator[Grok]:
    with Grok() as grok:
        yield grok


@pytest.fixture
def app(grok: Grok) -> Iterator[WSGIApp]:
    with build_app(grok.configure(QUOTAS="default=1000/1h")) as app:
        yield app


# Waiting


def soon(work: Callable[[], object]) -> threading.Thread:
    """Do something in another thread, in a moment."""
    thread = threading.Timer(0.05, work)
    thread.start()
    return thread


def test_waiting_for_the_first_that_comes() -> None:
    news, found = News(), list[int]()
    assert news.wait_for(lambda: None, time.monotonic() + 0.01) is None
    soon(lambda: (found.append(7), news.ring()))
    assert news.wait_for(lambda: found[0] if found else None, time.monotonic() + PATIENCE) == 7
    soon(news.interrupt)
    with pytest.raises(InterruptedWaitError):
        news.wait_for(lambda: None, float("inf"))
    with pytest.raises(InterruptedWaitError):  # and ever after
        news.wait_for(lambda: 1, time.monotonic() + PATIENCE)
    assert news.interrupted


def test_waiting_for_a_client_that_leaves() -> None:
    left: list[bool] = []
    news = News(lambda: bool(left))
    assert not news.interrupted
    soon(lambda: left.append(True))
    started = time.monotonic()
    with pytest.raises(InterruptedWaitError):
        news.wait_for(lambda: None, float("inf"))
    assert time.monotonic() - started < 0.5


def test_handing_over() -> None:
    news = News()
    handover: Handover[int] = Handover(news)
    put: list[int] = []

    def put_all() -> None:
        with contextlib.suppress(InterruptedWaitError):
            for number in range(5):
                handover.put(number)
                put.append(number)

    thread = threading.Thread(target=put_all)
    thread.start()
    for number in range(3):
        assert handover.take(time.monotonic() + PATIENCE) == number
    assert len(put) <= 4
    handover.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert put[:3] == [0, 1, 2]
    with pytest.raises(InterruptedWaitError):
        handover.put(9)


# Upstream calls


@contextlib.contextmanager
def upstream(**options: Any) -> Iterator[ThreadedUpstream]:
    """The far ends; nothing that nobody expected may happen."""
    faults: list[Exception] = []
    config = UpstreamConfig(connect_timeout=2, **options)
    upstream = ThreadedUpstream(config, on_error=faults.append)
    try:
        yield upstream
    finally:
        upstream.close()
    assert faults == []


def ask(upstream: ThreadedUpstream, url: str, body: bytes = b"", cookie: str = "sso=anna") -> Any:
    """A whole response."""
    request = UpstreamRequest("POST" if body else "GET", url, (("cookie", cookie),), body)
    return upstream.fetch(request, limit=10**6, timeout=PATIENCE, news=News())


def test_connections_are_used_again(grok: Grok) -> None:
    with upstream() as far:
        for _ in range(3):
            assert ask(far, f"{grok.simulator.base_url}/").status == 200
        assert grok.call(lambda: grok.simulator.open_connections) == 1
    with upstream(apart=True) as far:
        for cookie in ("sso=anna", "sso=bert", "sso=anna"):
            ask(far, f"{grok.simulator.base_url}/", cookie=cookie)
        assert grok.call(lambda: grok.simulator.open_connections) >= 2


ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


def test_connection_that_is_in_use_at_the_end_is_closed_after_its_call() -> None:
    asked, ended, left = threading.Event(), threading.Event(), threading.Event()

    def serve(connection: socket.socket, _: int) -> None:
        connection.recv(65536)
        asked.set()
        assert ended.wait(PATIENCE)
        connection.sendall(ANSWER)
        connection.settimeout(PATIENCE)
        assert connection.recv(65536) == b""
        left.set()

    with far_end(serve) as port:
        with upstream() as far:
            request = UpstreamRequest("GET", f"http://127.0.0.1:{port}/", ())
            call = far.call(request, News())
            assert asked.wait(PATIENCE)
        ended.set()
        deadline = time.monotonic() + PATIENCE
        assert isinstance(call.receive(deadline), e.ResponseReceived)
        assert call.receive(deadline) == e.DataReceived(b"hi")
        assert call.receive(deadline) == e.EndOfMessage()
        assert left.wait(PATIENCE)


def test_kept_connection_that_was_closed_is_no_fault() -> None:
    closed = threading.Event()

    def serve(connection: socket.socket, _: int) -> None:
        connection.recv(65536)
        connection.sendall(ANSWER)
        connection.close()
        closed.set()

    with far_end(serve) as port, upstream() as far:
        for _ in range(3):
            assert ask(far, f"http://127.0.0.1:{port}/", b"x").body == b"hi"
            assert closed.wait(PATIENCE)
            closed.clear()


def test_faults_are_told_with_what_was_sent() -> None:
    def serve(connection: socket.socket, number: int) -> None:
        if number:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi")

    with upstream() as far:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        refused = ask(far, f"http://127.0.0.1:{port}/")
        assert isinstance(refused, e.RequestFailed)
        assert not refused.sent
        with far_end(serve) as port:
            for _ in range(2):
                broken = ask(far, f"http://127.0.0.1:{port}/")
                assert isinstance(broken, e.RequestFailed)
                assert broken.sent


def test_time_for_a_whole_response(grok: Grok) -> None:
    grok.call(lambda: grok.simulator.site.faults.order(FaultKind.STALL_BEFORE_HEAD, path="/"))
    with upstream() as far:
        request = UpstreamRequest("GET", f"{grok.simulator.base_url}/", ())
        failed = far.fetch(request, limit=100, timeout=0.1, news=News())
        assert isinstance(failed, e.RequestFailed)
        assert "0.1 seconds" in failed.reason
        grok.wait_for(lambda: grok.simulator.site.open_calls == 0, 1)
        short = far.fetch(request, limit=10, timeout=PATIENCE, news=News())
        assert isinstance(short, Fetched)
        assert len(short.body) == 10


def test_tls_and_giving_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    with secure_end(monkeypatch, tmp_path) as end, upstream() as far:
        assert ask(far, end.url).body == b"hi"
        call = far.call(UpstreamRequest("GET", end.url, ()), News())
        assert end.silent.wait(PATIENCE)
        call.close()
        assert end.ended.wait(0.5)


def test_proxy(grok: Grok) -> None:
    asked: list[bytes] = []

    def serve(connection: socket.socket, _: int) -> None:
        asked.append(connection.recv(65536))
        connection.sendall(ANSWER)

    with far_end(serve) as port, upstream(proxy=f"http://user:pass@127.0.0.1:{port}") as far:
        assert ask(far, "http://far.example/a").body == b"hi"
    assert asked[0].startswith(b"GET http://far.example/a HTTP/1.1\r\n")
    assert b"roxy-Authorization: Basic" in asked[0] or b"roxy-authorization: Basic" in asked[0]


def test_mistake_in_a_call_costs_the_call(monkeypatch: pytest.MonkeyPatch, grok: Grok) -> None:
    def crash(*_: Any) -> Any:
        raise RuntimeError("this is a mistake")

    monkeypatch.setattr("transports.upstream.calls_threads.build_request", crash)
    told: list[Exception] = []
    far = ThreadedUpstream(UpstreamConfig(), on_error=told.append)
    failed = ask(far, grok.simulator.base_url)
    assert isinstance(failed, e.RequestFailed)
    assert "mistake" in failed.reason
    assert len(told) == 1


# WSGI


class Server:
    """What serves a WSGI application."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.status = ""
        self.headers: dict[str, str] = {}

    def start_response(self, status: str, headers: list[tuple[str, str]], _: Any = None) -> Any:
        self.status, self.headers = status, dict(headers)
        return lambda _: None

    def open(self, body: bytes = b"", **environ: Any) -> Iterable[bytes]:
        """Ask, and give the body."""
        whole = {
            "REQUEST_METHOD": "POST",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/v1/chat/completions",
            "QUERY_STRING": "",
            "SERVER_NAME": "test",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_AUTHORIZATION": f"Bearer {KEY}",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        merged = {**whole, **environ}
        present = {name: value for name, value in merged.items() if value is not None}
        found: Iterable[bytes] = self._app(present, self.start_response)
        return found

    def ask(self, body: bytes = b"", **environ: Any) -> bytes:
        """The whole body."""
        found = self.open(body, **environ)
        try:
            return b"".join(found)
        finally:
            found.close()  # type: ignore[attr-defined]


def question(**fields: Any) -> bytes:
    """The body of a request."""
    messages = [{"role": "user", "content": "hi"}]
    return json.dumps({"model": "grok-3", "messages": messages, **fields}).encode()


def test_it_is_wsgi(app: WSGIApp) -> None:
    server = Server(wsgiref.validate.validator(app))
    for fields in ({}, {"stream": True}, {"stream": True, "n": 2}, {"model": "gpt-1"}):
        assert server.ask(question(**fields))
    for method, path in (("GET", "/v1/models"), ("HEAD", "/v1/models"), ("OPTIONS", "/v1/models")):
        server.ask(REQUEST_METHOD=method, PATH_INFO=path)
    assert server.status == "204 No Content"


def test_bodies(grok: Grok) -> None:
    with build_app(grok.configure(MAX_BODY_BYTES="2000")) as app:
        server = Server(app)
        body = question()
        for environ, status in (
            ({"CONTENT_LENGTH": "2001"}, "413"),
            ({"CONTENT_LENGTH": None}, "400"),
            ({"CONTENT_LENGTH": ""}, "400"),
            ({"CONTENT_LENGTH": None, "wsgi.input_terminated": True}, "200"),
            ({"CONTENT_LENGTH": str(len(body) + 1)}, "400"),
            *(({"CONTENT_LENGTH": length}, "400") for length in ("abc", "-5", "+5", "1_0", "1e3")),
            ({"CONTENT_LENGTH": f"0{len(body)}"}, "200"),
            ({"CONTENT_LENGTH": "9" * 5000}, "413"),
            *(({"wsgi.input": _Broken(fault)}, "400") for fault in FAULTS),
        ):
            with capture_logs() as log:
                answer = server.ask(body, **environ)
            assert server.status.startswith(status), environ
            assert "error" in json.loads(answer) or status == "200"
            assert [entry["event"] for entry in log] == ["request"]
        long = b"x" * 3000
        server.ask(long, **{"CONTENT_LENGTH": None, "wsgi.input_terminated": True})
        assert server.status.startswith("413")


class _ChunkSizeError(Exception):
    """gunicorn's are no errors of the system, either."""


FAULTS = (OSError, EOFError, _ChunkSizeError, werkzeug.exceptions.ClientDisconnected)
"""With which servers tell that a body does not come."""


class _Broken(io.BytesIO):
    def __init__(self, fault: type[Exception]) -> None:
        super().__init__()
        self._fault = fault

    def read(self, _: int | None = -1) -> bytes:
        raise self._fault("it broke")


def test_paths(app: WSGIApp) -> None:
    server = Server(app)
    for path, status in (
        ("/v1/models/grok-3", "200"),
        ("/v1/models/grok%2D3", "404"),  # it comes decoded: this is the name
        ("", "404"),
        ("/v1/ü".encode().decode("latin-1"), "404"),
    ):
        body = server.ask(REQUEST_METHOD="GET", PATH_INFO=path)
        assert server.status.startswith(status)
    assert "/v1/%C3%BC" in json.loads(body)["error"]["message"]


def test_names_of_headers_that_are_none(app: WSGIApp) -> None:
    server = Server(app)
    assert server.ask(question(), **{"HTTP_X_\xc3\xa9": "1"})
    assert server.status == "200 OK"


def test_preflight_that_asks_for_what_is_no_header(app: WSGIApp) -> None:
    """Servers that unfold lines, or do not look at them, pass these on."""
    server = Server(app)
    usual = "authorization, content-type"
    for wanted, allowed in (
        ("authorization,x-stainless-os", "authorization,x-stainless-os"),
        ("x\r\n set-cookie: a=b", usual),
        ("x\n\ty", usual),
        ("x\n", usual),
        ("x\0", usual),
        ("x\x85", usual),
        ("", usual),
    ):
        server.ask(REQUEST_METHOD="OPTIONS", HTTP_ACCESS_CONTROL_REQUEST_HEADERS=wanted)
        assert server.headers["access-control-allow-headers"] == allowed


def test_head_has_no_body(app: WSGIApp) -> None:
    server = Server(app)
    assert server.ask(REQUEST_METHOD="HEAD", PATH_INFO="/v1/models") == b""
    assert int(server.headers["content-length"]) > 100


def test_closing_gives_up_what_is_behind_it(app: WSGIApp, grok: Grok) -> None:
    grok.call(lambda: grok.simulator.site.faults.order(FaultKind.STALL, times=2))
    server = Server(app)
    for fields in ({"stream": True}, {"stream": True, "n": 2}):
        body = server.open(question(**fields))
        with capture_logs() as log:
            next(iter(body))
            body.close()  # type: ignore[attr-defined]
            body.close()  # type: ignore[attr-defined]
        assert [entry["client_closed"] for entry in log if entry["event"] == "request"] == [True]
        grok.wait_for(lambda: grok.simulator.site.in_flight == 0, 0.5)


def test_mistakes(app: WSGIApp, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any, **__: Any) -> Any:
        raise RuntimeError("this is a mistake")

    server = Server(app)
    with monkeypatch.context() as patch, capture_logs() as log:
        patch.setattr("transports.driving.answer_threads.ThreadedDrive", crash)
        answer = json.loads(server.ask(question()))
    assert (server.status, answer["error"]["code"]) == (
        "500 Internal Server Error",
        "internal_error",
    )
    assert any(entry["log_level"] == "error" for entry in log)
    with monkeypatch.context() as patch:
        patch.setattr("grokproto.rendering.AnswerReader.receive_eof", crash)
        for fields in ({}, {"n": 2}):
            body = server.open(question(stream=True, **fields))
            with pytest.raises(RuntimeError, match="mistake"):
                list(body)
    assert server.ask(question(stream=True)).endswith(b"data: [DONE]\n\n")


def test_client_that_has_left_before_the_head(app: WSGIApp, grok: Grok) -> None:
    grok.call(lambda: grok.simulator.site.faults.order(FaultKind.STALL_BEFORE_HEAD))
    near, far = socket.socketpair()
    server = Server(app)
    with near, far:
        soon(far.close)
        found = server.open(question(), **{"gunicorn.socket": near})
        assert list(found) == []
    grok.wait_for(lambda: grok.simulator.site.in_flight == 0, 0.5)
    near, far = socket.socketpair()
    with near, far:  # one that has sent something since
        far.send(b"GET / HTTP/1.1")
        assert server.ask(question(), **{"gunicorn.socket": near})


@pytest.mark.skipif(not hasattr(select, "POLLRDHUP"), reason="the system does not tell")
def test_client_that_has_sent_more_before_it_left(app: WSGIApp, grok: Grok) -> None:
    grok.call(lambda: grok.simulator.site.faults.order(FaultKind.STALL_BEFORE_HEAD))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.create_connection(listener.getsockname())
        near, _ = listener.accept()
    with near, far:
        far.send(b"GET / HTTP/1.1")
        soon(far.close)
        assert list(Server(app).open(question(), **{"werkzeug.socket": near})) == []
    grok.wait_for(lambda: grok.simulator.site.in_flight == 0, 0.5)


def test_mounted_in_flask(app: WSGIApp) -> None:
    flask_app = flask.Flask("test")
    flask_app.wsgi_app = DispatcherMiddleware(  # type: ignore[method-assign]
        flask_app.wsgi_app, {"/grok": app}
    )
    with running(lambda sock: run_werkzeug(flask_app, sock)) as where:
        target = Target(f"{where.url}/grok/v1", key=KEY, model="grok-3", timeout=10)
        names = ("models", "chat", "stream", "error path", "HEAD")
        results = list(run_checks(target, [check for check in CHECKS if check.name in names]))
    assert [result.outcome for result in results] == [Outcome.PASSED] * 5


def test_key_that_everybody_knows(grok: Grok) -> None:
    with pytest.raises(ConfigurationError, match="API_KEY is the default"):
        build_app(grok.configure(API_KEY="sk-123456789"))


def test_state_is_held(grok: Grok, tmp_path: Any) -> None:
    config = grok.configure(STATE=str(tmp_path / "state"))
    with build_app(config), pytest.raises(ConfigurationError, match="held by another"):
        build_app(config)
    with build_app(config):
        pass


FORKED = """
import os, sys
from transports.threaded import build_app

app = build_app()
environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/ready"}
print(list(app(environ, lambda *_: None)), flush=True)
if child := os.fork():
    os.waitpid(child, 0)
else:
    print(list(app(environ, lambda status, _: print(status))), flush=True)
    os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_application_that_was_made_before_a_fork(tmp_path: Any) -> None:
    """Two processes must not count the same calls."""
    environment = {"STATE": str(tmp_path / "state"), "API_KEY": KEY, "SSO": "anna"}
    environment |= {"GROK_BASE_URL": "http://127.0.0.1:1", "IS_TEMP_GROK2": "false"}
    done = subprocess.run(
        [sys.executable, "-c", FORKED],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
        cwd=tmp_path,
    )
    assert '{"status":"ready"}' in done.stdout
    assert "500 Internal Server Error" in done.stdout
    assert "without --preload" in done.stdout


def test_application_that_was_closed(grok: Grok) -> None:
    with build_app(grok.configure()) as app:
        pass
    server = Server(app)
    with capture_logs() as log:
        answer = json.loads(server.ask(question()))
    assert (server.status[:3], answer["error"]["code"]) == ("503", "shutting_down")
    assert [entry["event"] for entry in log] == ["request"]


def test_many_at_once_do_not_touch_each_other(app: WSGIApp, grok: Grok) -> None:
    grok.simulator.site.delivery = Delivery(pace=0.002)
    found: dict[int, str] = {}

    def ask_one(number: int) -> None:
        messages = [{"role": "user", "content": f"Number {number}."}]
        body = json.dumps({"model": "grok-3", "messages": messages}).encode()
        answer = json.loads(Server(app).ask(body))
        found[number] = answer["choices"][0]["message"]["content"]

    threads = [threading.Thread(target=ask_one, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(found) == list(range(12))
    assert all(f"Number {number}." in text for number, text in found.items())
    assert grok.simulator.site.most_in_flight > 1


def test_pictures_may_be_fetched_where_a_loop_runs(app: WSGIApp) -> None:
    """A request may be answered in a thread of a program that has an event loop in another."""

    async def main() -> None:
        part = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/"}}
        body = question(messages=[{"role": "user", "content": [part]}])
        answer = await trio.to_thread.run_sync(Server(app).ask, body)
        assert json.loads(answer)["error"]["code"] == "invalid_image_url"

    trio.run(main)
