"""`transports.inprocess`: OpenAI's SDK, and httpx, without a port."""

from __future__ import annotations

import asyncio
import functools
import gc
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
import openai
import pytest
import structlog
import trio

from grokproto.errors import ConfigurationError
from tests.hosts.hosting import KEY, Grok
from transports.api.service import build_service, open_scheduler
from transports.config import Config
from transports.inprocess import Transport, build_async_transport, build_transport
from transports.pool.scheduler import Scheduler
from transports.simulator import Delivery, FaultKind, Style

ASK: Any = [{"role": "user", "content": "Name a colour."}]
URL = "http://grok/v1"
LIBRARIES = [httpx, httpx2]
PATIENCE = 10.0
LOOPS: dict[str, Callable[[Any], Any]] = {
    "asyncio": lambda main: asyncio.run(main()),
    "trio": trio.run,
}

# The SDK leaves generators of its own to the garbage collector, which trio complains of.
leaves_generators = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
both_libraries = pytest.mark.parametrize("library", LIBRARIES, ids=["httpx", "httpx2"])
both_loops = pytest.mark.parametrize("run", LOOPS.values(), ids=LOOPS)


@pytest.fixture
def grok() -> Iterator[Grok]:
    with Grok() as grok:
        yield grok


def open_client(config: Config, library: Any = httpx2, **options: Any) -> openai.OpenAI:
    """The SDK, without a port."""
    http = library.Client(transport=build_transport(config))
    return openai.OpenAI(
        base_url=URL, api_key="-", http_client=http, **{"max_retries": 0, **options}
    )


def open_async_client(config: Config, library: Any = httpx2, **options: Any) -> openai.AsyncOpenAI:
    """The SDK, without a port."""
    http = library.AsyncClient(transport=build_async_transport(config))
    return openai.AsyncOpenAI(
        base_url=URL, api_key="-", http_client=http, **{"max_retries": 0, **options}
    )


# Threads


@both_libraries
def test_whole_and_stream(grok: Grok, library: Any) -> None:
    with open_client(grok.configure(), library) as client:
        assert client.models.list().data[0].id == "grok-2"
        whole = client.chat.completions.create(model="grok-3", messages=ASK)
        text = whole.choices[0].message.content
        assert text is not None
        assert "Name a colour." in text
        stream = client.chat.completions.create(model="grok-3", messages=ASK, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == text
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="gpt-1", messages=ASK)


def test_stream_comes_as_it_is_made_and_may_be_left(grok: Grok) -> None:
    grok.simulator.site.style = Style(tokens=100_000)
    grok.simulator.site.delivery = Delivery(pace=0.001)
    with open_client(grok.configure()) as client:
        with client.chat.completions.create(model="grok-3", messages=ASK, stream=True) as stream:
            next(iter(stream))
            assert grok.call(lambda: grok.simulator.site.in_flight) == 1
        grok.wait_for(lambda: grok.simulator.site.in_flight == 0, 0.5)
        assert grok.simulator.site.cancelled == 1


@pytest.fixture
def collecting_by_hand() -> Iterator[None]:
    """Nothing is collected but where a test says so."""
    gc.disable()
    yield
    gc.enable()


def open_stream(client: openai.OpenAI) -> Any:
    """Whoever reads an answer that goes on, and has begun to."""
    stream = client.chat.completions.create(model="grok-3", messages=ASK, stream=True)
    next(iter(stream))
    return stream


def open_response(client: openai.OpenAI) -> Any:
    """The same, without the SDK's generators, whose finalizers close what they read."""
    made = client.chat.completions.with_raw_response
    return made.create(model="grok-3", messages=ASK, stream=True)


@pytest.mark.parametrize("open_one", [open_stream, open_response])
@pytest.mark.usefixtures("collecting_by_hand")
def test_stream_that_is_collected_where_locks_are_held(
    grok: Grok, monkeypatch: pytest.MonkeyPatch, open_one: Callable[[openai.OpenAI], Any]
) -> None:
    """The collector strikes anywhere: here while another request has its turn at the accounts."""
    really_ask = Scheduler.ask

    def collect_and_ask(*args: Any) -> Any:
        gc.collect()
        return really_ask(*args)

    grok.call(lambda: grok.simulator.site.faults.order(FaultKind.STALL))
    with open_client(grok.configure()) as client:
        cycle = [open_one(client)]
        cycle.append(cycle)
        del cycle
        monkeypatch.setattr(Scheduler, "ask", collect_and_ask)
        answers: list[Any] = []
        asking = threading.Thread(
            target=lambda: answers.append(
                client.chat.completions.create(model="grok-3", messages=ASK)
            ),
            daemon=True,
        )
        asking.start()
        asking.join(PATIENCE)
        assert answers
        grok.wait_for(lambda: grok.simulator.site.in_flight == 0, 1)
        assert grok.simulator.site.cancelled == 1


def read_and_close(transport: Transport) -> Iterator[bytes]:
    """An answer, and its client for as long as it takes."""
    body = {"model": "grok-3", "messages": ASK, "stream": True}
    headers = {"authorization": f"Bearer {KEY}"}
    with (
        httpx.Client(transport=transport, headers=headers) as client,
        client.stream("POST", f"{URL}/chat/completions", json=body) as response,
    ):
        yield from response.iter_raw()


@pytest.mark.usefixtures("collecting_by_hand")
def test_client_that_is_collected_where_locks_are_held(
    grok: Grok, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, where what is collected closes the transport."""
    really_ask = Scheduler.ask

    def collect_and_ask(*args: Any) -> Any:
        gc.collect()
        return really_ask(*args)

    config = grok.configure()
    grok.call(lambda: grok.simulator.site.faults.order(FaultKind.STALL))
    closed = threading.Event()
    with open_scheduler(config) as scheduler:
        transport = Transport(build_service(config), scheduler, at_close=closed.set)
        cycle: list[Any] = [read_and_close(transport)]
        next(cycle[0])
        cycle.append(cycle)
        del cycle
        monkeypatch.setattr(Scheduler, "ask", collect_and_ask)
        answer: list[bytes] = []
        asking = threading.Thread(
            target=lambda: answer.extend(read_and_close(transport)), daemon=True
        )
        asking.start()
        asking.join(PATIENCE)
        assert not asking.is_alive()
        assert answer
        assert closed.wait(PATIENCE)
        grok.wait_for(lambda: grok.simulator.site.in_flight == 0)


@both_libraries
@pytest.mark.parametrize("kind", [FaultKind.STALL, None])
def test_stream_that_another_thread_closes(
    grok: Grok, library: Any, kind: FaultKind | None
) -> None:
    """Whoever reads it must not take it for whole."""
    grok.simulator.site.style = Style(tokens=100_000)
    if kind is not None:
        grok.call(lambda: grok.simulator.site.faults.order(kind))
    with open_client(grok.configure(), library) as client:
        stream = client.chat.completions.create(model="grok-3", messages=ASK, stream=True)
        next(iter(stream))
        closing = threading.Timer(0.05, stream.close)
        closing.start()
        with pytest.raises((library.ReadError, openai.APIConnectionError)):
            list(stream)
        closing.join(PATIENCE)
        grok.wait_for(lambda: grok.simulator.site.in_flight == 0, 1)


@both_libraries
def test_stream_that_is_read_on_after_it_was_closed(grok: Grok, library: Any) -> None:
    with library.Client(transport=build_transport(grok.configure())) as client:
        body = {"model": "grok-3", "messages": ASK, "stream": True}
        headers = {"authorization": "Bearer -"}
        url = f"{URL}/chat/completions"
        with client.stream("POST", url, json=body, headers=headers) as response:
            pieces = iter(response.stream)
            next(pieces)
        with pytest.raises(library.ReadError, match="closed before its end"):
            next(pieces)
        with client.stream("POST", url, json=body, headers=headers) as response:
            pieces = iter(response.stream)
            whole = list(pieces)
            response.close()
        assert whole[-1].endswith(b"data: [DONE]\n\n")
        assert list(pieces) == []


class Logged:
    """The lines of requests, as they come."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def __call__(self, _: Any, __: str, line: Any) -> Any:
        self._lines.put(line)
        raise structlog.DropEvent

    def take(self) -> Any:
        """The next one, once it is there."""
        return self._lines.get(timeout=PATIENCE)


@pytest.fixture
def logged() -> Iterator[Logged]:
    before = structlog.get_config()["processors"]
    logged = Logged()
    structlog.configure(processors=[logged])
    yield logged
    structlog.configure(processors=before)


@pytest.mark.parametrize("fields", [{}, {"n": 2}])
@pytest.mark.parametrize("probe", [False, True])
def test_client_that_has_its_answer_has_not_left(
    grok: Grok, logged: Logged, probe: bool, fields: Any
) -> None:
    """The SDK closes a stream behind what it takes for the end, and asks for none."""
    with open_client(grok.configure(QUOTA_PROBE=str(probe))) as client:
        create: Any = client.chat.completions.create
        chunks = list(create(model="grok-3", messages=ASK, stream=True, **fields))
        assert chunks
        line = logged.take()
        assert line["event"] == "request"
        assert "client_closed" not in line
    calls = grok.call(lambda: grok.simulator.site.calls["/rest/rate-limits"])
    assert calls == (fields.get("n", 1) if probe else 0)


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("stream", [False, True])
def test_client_that_leaves_before_it_has_its_answer(
    grok: Grok, logged: Logged, stream: bool, count: int
) -> None:
    grok.simulator.site.style = Style(tokens=100_000 if stream else 100)
    with httpx.Client(transport=build_transport(grok.configure())) as client:
        body = {"model": "grok-3", "messages": ASK, "stream": stream}
        request = client.build_request("POST", f"{URL}/chat/completions", json=body)
        response = client.send(request, stream=True)
        pieces = iter(response.stream)  # type: ignore[arg-type]
        taken = [piece for _, piece in zip(range(count), pieces, strict=False)]
        response.close()
        assert logged.take().get("client_closed", False) == (stream or not taken)
        if stream:
            with pytest.raises(httpx.ReadError, match="closed before its end"):
                next(pieces)
        else:
            assert len(taken) <= 1


def test_time_that_a_client_waits(grok: Grok) -> None:
    with open_client(grok.configure(), timeout=0.2) as client:
        ask: Any = functools.partial(client.chat.completions.create, model="grok-3", messages=ASK)
        for stream in (False, True):
            for kind in (FaultKind.STALL_BEFORE_HEAD, FaultKind.STALL):
                grok.call(lambda kind=kind: grok.simulator.site.faults.order(kind))
                with pytest.raises((openai.APITimeoutError, httpx2.ReadTimeout)):
                    list(ask(stream=stream))
                grok.wait_for(lambda: grok.simulator.site.in_flight == 0, 1)


def test_retries_of_the_sdk(grok: Grok) -> None:
    config = grok.configure(MAX_ATTEMPTS="1")
    grok.simulator.site.faults.order(FaultKind.OVERLOADED)
    with open_client(config, max_retries=2) as client:
        answer = client.chat.completions.create(model="grok-3", messages=ASK, n=1)
        assert answer.choices[0].finish_reason == "stop"


def test_state_is_held_until_it_is_closed(grok: Grok, tmp_path: Any) -> None:
    config = grok.configure(STATE=str(tmp_path / "state"))
    with open_client(config) as client:
        client.models.list()
        with pytest.raises(ConfigurationError, match="is held by another server"):
            build_transport(config)
    with open_client(config) as client:
        client.models.list()


@both_libraries
def test_plain_requests(grok: Grok, library: Any) -> None:
    with library.Client(transport=build_transport(grok.configure())) as client:
        head = client.head(f"{URL}/models")
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) > 100
        assert client.options(f"{URL}/models").status_code == 204
        assert client.get("http://grok/nowhere").json()["error"]["code"] == "not_found"
        assert client.get(f"{URL}/models/grok-3?a=b").json()["id"] == "grok-3"
        answer = client.post(f"{URL}/chat/completions", content=b"{")
        assert answer.status_code == 400


@both_libraries
def test_model_whose_name_is_escaped(grok: Grok, library: Any, tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text("[aliases]\n'a/b:c %' = 'grok-3'\n")
    with open_client(grok.configure(MODELS_FILE=str(file)), library) as client:
        assert client.models.retrieve("a/b:c %").id == "a/b:c %"


def test_own_cookies(grok: Grok) -> None:
    with open_client(grok.configure(IS_CUSTOM_SSO="true")) as client:
        client.with_options(api_key="dora").chat.completions.create(model="grok-3", messages=ASK)
    assert grok.simulator.site.received[-1].account == "dora"


# Tasks


def run_async(
    run: Callable[[Any], Any],
    grok: Grok,
    check: Callable[[openai.AsyncOpenAI], Coroutine[Any, Any, None]],
    library: Any = httpx2,
    **options: Any,
) -> None:
    """Run a check with a client of its own."""
    environment = options.pop("environment", {})

    async def main() -> None:
        async with open_async_client(grok.configure(**environment), library, **options) as client:
            await check(client)

    run(main)


@both_loops
@both_libraries
@leaves_generators
def test_async_whole_and_stream(grok: Grok, library: Any, run: Any) -> None:
    async def check(client: openai.AsyncOpenAI) -> None:
        whole = await client.chat.completions.create(model="grok-3", messages=ASK)
        stream = await client.chat.completions.create(model="grok-3", messages=ASK, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        assert text == whole.choices[0].message.content
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="gpt-1", messages=ASK)

    run_async(run, grok, check, library)


@both_loops
@leaves_generators
def test_async_stream_that_is_left(grok: Grok, run: Any) -> None:
    grok.simulator.site.style = Style(tokens=100_000)
    grok.simulator.site.delivery = Delivery(pace=0.001)

    async def check(client: openai.AsyncOpenAI) -> None:
        stream = await client.chat.completions.create(model="grok-3", messages=ASK, stream=True)
        async with stream:
            await anext(aiter(stream))
            assert grok.simulator.site.in_flight == 1
        await wait_for_none(grok)
        assert grok.simulator.site.cancelled == 1

    run_async(run, grok, check)


async def wait_for_none(grok: Grok) -> None:
    """Wait until Grok is asked nothing, half a second at the most."""
    with anyio.fail_after(0.5):
        while grok.simulator.site.in_flight:
            await anyio.sleep(0.01)


@both_loops
def test_async_request_that_is_cancelled(grok: Grok, run: Any) -> None:
    async def check(client: openai.AsyncOpenAI) -> None:
        for kind in (FaultKind.STALL_BEFORE_HEAD, FaultKind.STALL):
            grok.call(lambda kind=kind: grok.simulator.site.faults.order(kind))
            with anyio.move_on_after(0.2):
                await client.chat.completions.create(model="grok-3", messages=ASK)
            await wait_for_none(grok)

    run_async(run, grok, check)


@both_loops
def test_async_time_that_a_client_waits(grok: Grok, run: Any) -> None:
    async def check(client: openai.AsyncOpenAI) -> None:
        async def ask() -> list[Any]:
            stream = await client.chat.completions.create(model="grok-3", messages=ASK, stream=True)
            return [chunk async for chunk in stream]

        for kind in (FaultKind.STALL_BEFORE_HEAD, FaultKind.STALL):
            grok.call(lambda kind=kind: grok.simulator.site.faults.order(kind))
            with pytest.raises((openai.APITimeoutError, httpx2.ReadTimeout)):
                await ask()
            await wait_for_none(grok)

    run_async(run, grok, check, timeout=0.2)


@both_loops
def test_async_many_at_once(grok: Grok, run: Any) -> None:
    grok.simulator.site.delivery = Delivery(pace=0.002)

    async def check(client: openai.AsyncOpenAI) -> None:
        async def ask(number: int) -> None:
            messages: Any = [{"role": "user", "content": f"Number {number}."}]
            answer = await client.chat.completions.create(model="grok-3", messages=messages)
            assert f"Number {number}." in (answer.choices[0].message.content or "")

        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(ask, number)
        assert grok.simulator.site.most_in_flight == 10

    run_async(run, grok, check)


def test_async_one_event_loop_after_the_other(grok: Grok, tmp_path: Any) -> None:
    config = grok.configure(STATE=str(tmp_path / "state"))
    transport = build_async_transport(config)

    async def ask() -> None:
        client = httpx.AsyncClient(transport=transport)
        assert (await client.get(f"{URL}/models")).status_code == 200

    asyncio.run(ask())
    asyncio.run(ask())
    trio.run(ask)

    async def two() -> None:
        await ask()
        with pytest.raises(RuntimeError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, ask())

    asyncio.run(two())


def test_async_state_that_is_held(grok: Grok, tmp_path: Any) -> None:
    config = grok.configure(STATE=str(tmp_path / "state"))

    async def main() -> None:
        async with httpx.AsyncClient(transport=build_async_transport(config)) as client:
            for _ in range(2):
                with pytest.raises(ConfigurationError, match="is held by another server"):
                    await client.get(f"{URL}/models")

    with open_client(config):
        asyncio.run(main())
