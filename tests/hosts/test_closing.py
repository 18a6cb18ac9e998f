"""Closing an application, or a transport, whose requests are threads: what goes on then ends first.

The accounts are let go of at the end of it, and nobody may use them any more.
"""

from __future__ import annotations

import contextlib
import io
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import httpx
import pytest
from structlog.testing import capture_logs

from tests.hosts.hosting import KEY, Grok
from tests.hosts.test_threaded import Server, question
from transports.api.service import Service, build_service, open_scheduler
from transports.config import Config
from transports.driving.work_threads import Work, Works
from transports.inprocess import Transport
from transports.loops.threads import News
from transports.pool.scheduler import Scheduler
from transports.server.errors import StoppingError
from transports.simulator import Delivery, FaultKind, Style
from transports.threaded import WSGIApp

PATIENCE = 10.0
LIMITS = "/rest/rate-limits"
STOPPING = b"This server is stopping"


class Host(Protocol):
    """One that answers in threads."""

    def open(self, body: bytes) -> Iterator[bytes]:
        """Ask; give the body as it comes."""

    def close(self) -> None: ...


class OverWSGI:
    """See `Host`."""

    def __init__(
        self, service: Service, scheduler: Scheduler, at_close: Callable[[], object]
    ) -> None:
        app = WSGIApp(service, scheduler, at_close=at_close)
        self.close = app.close
        self._app = app

    def open(self, body: bytes) -> Iterator[bytes]:
        return iter(Server(self._app).open(body))


class InProcess:
    """See `Host`."""

    def __init__(
        self, service: Service, scheduler: Scheduler, at_close: Callable[[], object]
    ) -> None:
        transport = Transport(service, scheduler, at_close=at_close)
        self._client = httpx.Client(transport=transport, timeout=None)
        self.close = transport.close

    def open(self, body: bytes) -> Iterator[bytes]:
        headers = {"authorization": f"Bearer {KEY}"}
        url = "http://grok/v1/chat/completions"
        request = self._client.build_request("POST", url, content=body, headers=headers)
        return self._client.send(request, stream=True).iter_raw()


class Closing:
    """A host that is to be closed, and what was seen of that."""

    def __init__(self, kind: Callable[..., Host], config: Config) -> None:
        self._stack = contextlib.ExitStack()
        self._scheduler = self._stack.enter_context(open_scheduler(config))
        self.log: list[Any] = self._stack.enter_context(capture_logs())
        self._closed = False
        self._host = kind(build_service(config), self._scheduler, self._let_go)
        self.open = self._host.open

    def _let_go(self) -> None:
        """All calls were given back, and that is written down."""
        for status in self._scheduler.pool.status(self._scheduler.unix_now):
            assert status.in_flight == 0
        assert not self._scheduler.pool.changes()
        assert self._scheduler.store.check() is None
        self._closed = True

    def close(self) -> None:
        """Close it, and hold that to have gone well."""
        self._host.close()
        assert self._closed
        self._stack.close()
        assert all(entry["log_level"] == "info" for entry in self.log), self.log


@pytest.fixture
def grok() -> Iterator[Grok]:
    with Grok() as grok:
        yield grok


@pytest.fixture(params=[OverWSGI, InProcess], ids=["wsgi", "inprocess"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


class Reading:
    """A thread that reads the answer to a question."""

    def __init__(self, host: Closing, body: bytes) -> None:
        self._pieces: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, args=(host, body), daemon=True)
        self._thread.start()

    def _read(self, host: Closing, body: bytes) -> None:
        try:
            for piece in host.open(body):
                self._pieces.put(piece)
        finally:
            self._pieces.put(None)

    def next_piece(self) -> bytes | None:
        """The next piece; None at the end."""
        return self._pieces.get(timeout=PATIENCE)

    def read_rest(self) -> bytes:
        """All there is left, to the end."""
        rest = b"".join(iter(self.next_piece, None))
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return rest


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_done_behind_an_answer(grok: Grok, kind: Any, stream: bool) -> None:
    order = grok.simulator.site.faults.order
    grok.call(lambda: order(FaultKind.STALL_BEFORE_HEAD, path=LIMITS))
    host = Closing(kind, grok.configure(QUOTA_PROBE="true"))
    assert b'"finish_reason":"stop"' in b"".join(host.open(question(stream=stream)))
    grok.wait_for(lambda: grok.simulator.site.open_paths[LIMITS] == 1)
    host.close()
    (line,) = host.log
    assert (line["event"], line["status"], "failure" in line) == ("request", 200, False)
    grok.wait_for(lambda: grok.simulator.site.open_calls == 0)


@pytest.mark.parametrize("n", [1, 2])
def test_stream_that_another_thread_reads(grok: Grok, kind: Any, n: int) -> None:
    grok.call(lambda: grok.simulator.site.faults.order(FaultKind.STALL, times=n))
    host = Closing(kind, grok.configure())
    reading = Reading(host, question(stream=True, n=n))
    assert reading.next_piece()
    host.close()
    rest = reading.read_rest()
    assert STOPPING in rest
    assert b'"finish_reason":"stop"' not in rest
    (line,) = host.log
    assert (line["failure"], line.get("client_closed")) == ("shutting_down", None)
    grok.wait_for(lambda: grok.simulator.site.open_calls == 0)


@pytest.mark.parametrize("n", [1, 2])
def test_stream_that_nobody_reads_just_then(grok: Grok, kind: Any, n: int) -> None:
    grok.simulator.site.style = Style(tokens=100_000)
    grok.simulator.site.delivery = Delivery(pace=0.001)
    host = Closing(kind, grok.configure())
    pieces = host.open(question(stream=True, n=n))
    next(pieces)
    host.close()
    assert host.log[0]["failure"] == "shutting_down"
    grok.wait_for(lambda: grok.simulator.site.open_calls == 0)
    assert STOPPING in b"".join(pieces)


def test_stream_whose_last_words_nobody_wants(grok: Grok) -> None:
    grok.call(lambda: grok.simulator.site.faults.order(FaultKind.STALL))
    host = Closing(OverWSGI, grok.configure())
    pieces: Any = host.open(question(stream=True))
    next(pieces)
    host.close()
    pieces.close()


def test_client_that_waits_for_a_head(grok: Grok, kind: Any) -> None:
    grok.call(lambda: grok.simulator.site.faults.order(FaultKind.STALL_BEFORE_HEAD))
    host = Closing(kind, grok.configure())
    reading = Reading(host, question())
    grok.wait_for(lambda: grok.simulator.site.in_flight == 1)
    host.close()
    assert STOPPING in reading.read_rest()
    assert (host.log[0]["status"], host.log[0]["failure"]) == (503, "shutting_down")


class _Late(io.BytesIO):
    """The body of a request that is not whole before something else is done."""

    def __init__(self, body: bytes, before: Callable[[], object]) -> None:
        super().__init__(body)
        self._before = before

    def read(self, size: int | None = -1) -> bytes:
        self._before()
        return super().read(size)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/add/token"])
def test_request_that_comes_whole_too_late(grok: Grok, path: str) -> None:
    config = grok.configure()
    with open_scheduler(config) as scheduler, capture_logs() as log:
        app = WSGIApp(build_service(config), scheduler, at_close=scheduler.store.close)
        server = Server(app)
        body = question(sso="dora")
        late = _Late(body, app.close)
        answer = server.ask(body, PATH_INFO=path, **{"wsgi.input": late})
        assert STOPPING in answer
        assert server.status == "503 Service Unavailable"
    assert [entry["event"] for entry in log] == ["request"]


def test_guests_that_are_being_fetched(grok: Grok, kind: Any) -> None:
    site = grok.simulator.site
    grok.call(lambda: site.faults.order(FaultKind.STALL_BEFORE_HEAD, path="/", times=None))
    environment = {"IS_TEMP_GROK2": "true", "GROK2_CONCURRENCY_LEVEL": "1"}
    host = Closing(kind, grok.configure(**environment))
    grok.wait_for(lambda: site.open_paths["/"] > 0)
    host.close()
    grok.wait_for(lambda: site.open_calls == 0, PATIENCE)  # by itself it would end later


def test_mistake_in_ending_one(grok: Grok, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any) -> Any:
        raise RuntimeError("this is a mistake")

    grok.call(lambda: grok.simulator.site.faults.order(FaultKind.STALL))
    host = Closing(kind, grok.configure())
    pieces = host.open(question(stream=True))
    next(pieces)
    monkeypatch.setattr("grokproto.exchange.flow.Flow.stop", crash)
    with pytest.raises(AssertionError):
        host.close()
    assert [entry["event"] for entry in host.log if entry["log_level"] == "error"] == [
        "a request failed by our own fault"
    ]
    with pytest.raises(RuntimeError, match="mistake"):
        list(pieces)


def test_process_that_was_forked_off(grok: Grok, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes on does so in the other one."""
    grok.simulator.site.style = Style(tokens=100_000)
    config = grok.configure()
    with open_scheduler(config) as scheduler, WSGIApp(build_service(config), scheduler) as app:
        pieces = iter(Server(app).open(question(stream=True)))
        next(pieces)
        with monkeypatch.context() as patch:
            patch.setattr("transports.driving.answer_threads.os.getpid", lambda: 0)
            app.close()
        assert STOPPING not in next(pieces)
        assert grok.call(lambda: grok.simulator.site.in_flight) == 1


def test_nobody_is_waited_for_without_end() -> None:
    works = Works(lambda _: None)
    work = Work(News())
    works.enlist(work)
    works.stop(0)
    assert len(works) == 1
    with pytest.raises(StoppingError):
        works.enlist(Work(News()))
    works.discard(work)
    works.stop(PATIENCE)
