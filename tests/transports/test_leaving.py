"""Clients that leave in the middle of anything, and what one request's trouble costs others."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import Any

import attrs
import pytest
import trio

from tests.transports.served import KEY, RawClient, Served, chat, with_server
from tests.transports.test_no_forwarding import draw
from tests.transports.test_surface import PortRoute
from transports.pictures.desk import PictureDesk
from transports.pictures.fetch import FetchNetwork
from transports.simulator import Delivery, FaultKind, Style

NEW = "/rest/app-chat/conversations/new"
UPLOAD = "/rest/app-chat/upload-file"
DRAWN = "/users/*"
PICTURE = "users/a/b/image.jpg"
DATA = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
WITH_PICTURE: dict[str, Any] = {"messages": [{"role": "user", "content": [DATA]}]}


@attrs.frozen
class Phase:
    """Where a request stands still, and how one knows that it does."""

    path: str
    """Of the call upstream that is under way."""
    fault: FaultKind | None = None
    fields: dict[str, Any] = attrs.field(factory=dict)
    draws: bool = False


PHASES = {
    "uploading, before the body is read": Phase(UPLOAD, FaultKind.STALL_BEFORE_BODY, WITH_PICTURE),
    "uploading": Phase(UPLOAD, FaultKind.STALL_BEFORE_HEAD, WITH_PICTURE),
    "uploading, in the answer": Phase(UPLOAD, FaultKind.STALL_AFTER_HEAD, WITH_PICTURE),
    "asking": Phase(NEW, FaultKind.STALL_BEFORE_BODY),
    "before the head": Phase(NEW, FaultKind.STALL_BEFORE_HEAD),
    "after the head": Phase(NEW, FaultKind.STALL_AFTER_HEAD),
    "streaming": Phase(NEW, FaultKind.STALL),
    "fetching a picture": Phase(f"/{PICTURE}", FaultKind.STALL_BEFORE_HEAD, draws=True),
    "in the middle of a picture": Phase(f"/{PICTURE}", FaultKind.STALL, draws=True),
    "hosting a picture": Phase("/api/v1/upload", FaultKind.STALL_BEFORE_HEAD, draws=True),
    "two at once": Phase(NEW, FaultKind.STALL_AFTER_HEAD, {"n": 2}),
}
ONE: dict[str, Any] = {"accounts": ("anna",), "CREDENTIAL_CONCURRENCY": "1"}


async def hold_slots(served: Served) -> None:
    """See to it that no call is counted as under way, and that the next one works."""
    site = served.simulator.site
    site.faults.clear()
    site.replay = None
    assert all(s.in_flight == 0 for s in served.scheduler.pool.status(served.scheduler.unix_now))
    with trio.fail_after(2):
        assert (await served.chat()).status == 200


async def leave(client: RawClient, *, reset: bool) -> None:
    """Close a connection, in good order or not."""
    if reset:
        linger = b"\1\0\0\0\0\0\0\0"  # on, for no time: what is under way is thrown away
        client.stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)
    client.stream.socket.close()


@pytest.mark.parametrize(("stream", "reset"), [(True, False), (False, True)])
@pytest.mark.parametrize("name", PHASES)
def test_client_that_leaves(name: str, reset: bool, stream: bool) -> None:
    phase = PHASES[name]
    concurrency = "2" if "n" in phase.fields else "1"
    calls = phase.fields.get("n", 1)

    async def check(served: Served) -> None:
        site = served.simulator.site
        if phase.fault is not None:
            site.faults.order(phase.fault, path=phase.path, times=calls)
        if phase.draws:
            site.replay = [draw(PICTURE)]
            site.accounts.get("anna").pictures[PICTURE] = 1
        client = await served.connect()
        body = chat(model="grok-3-imageGen" if phase.draws else "grok-3", stream=stream)
        await client.send_request("POST", "/v1/chat/completions", {**body, **phase.fields})
        await site.wait_for(lambda: site.calls[phase.path] == calls)
        if name == "streaming" and stream:
            while b'"content":"' not in await client.read_some():
                pass
        left = trio.current_time()
        await leave(client, reset=reset)
        await site.wait_for(lambda: site.open_calls == 0)
        assert trio.current_time() - left < 0.5
        assert site.cancelled_paths[phase.path] == calls
        await trio.testing.wait_all_tasks_blocked(0.01)
        await hold_slots(served)

    with_server(check, TUMY_KEY="k", **{**ONE, "CREDENTIAL_CONCURRENCY": concurrency})


@pytest.mark.parametrize("reset", [False, True])
def test_client_that_leaves_while_it_waits_for_a_credential(reset: bool) -> None:
    """It is not served, and who waits behind it is, at once."""

    async def check(served: Served) -> None:
        site = served.simulator.site
        site.delivery = Delivery(pace=0.02)
        first, second = await served.connect(), await served.connect()
        async with first.stream:
            await first.send_request("POST", "/v1/chat/completions", chat("first", stream=True))
            await site.wait_for(lambda: site.in_flight == 1)
            await second.send_request("POST", "/v1/chat/completions", chat("second"))
            lines = served.scheduler._lines
            while not any(lines.values()):
                await trio.sleep(0.005)
            left = trio.current_time()
            await leave(second, reset=reset)
            while any(lines.values()):
                await trio.sleep(0.005)
            assert trio.current_time() - left < 0.5
            third = await served.connect()
            async with third.stream:
                await third.send_request("POST", "/v1/chat/completions", chat("third"))
                assert "first" in (await first.read_response()).text
                assert "third" in (await third.read_response()).text
        assert site.calls[NEW] == 2
        await hold_slots(served)

    with_server(check, **{**ONE, "ACQUIRE_WAIT": "15"})


@pytest.mark.parametrize("name", ["uploading", "before the head", "streaming"])
def test_client_that_leaves_behind_a_flood(name: str) -> None:
    """Its end comes behind ten megabytes that nobody has asked for."""
    phase = PHASES[name]

    async def check(served: Served) -> None:
        site = served.simulator.site
        assert phase.fault is not None
        site.faults.order(phase.fault, path=phase.path)
        client = await served.connect()
        await client.send_request("POST", "/v1/chat/completions", chat(stream=True, **phase.fields))
        await site.wait_for(lambda: site.calls[phase.path] == 1)
        for _ in range(10):
            await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * 40_000)
        left = trio.current_time()
        await leave(client, reset=False)
        await site.wait_for(lambda: site.open_calls == 0)
        assert trio.current_time() - left < 0.5
        await hold_slots(served)

    with_server(check, **ONE)


def test_client_that_leaves_while_it_waits_for_a_guest() -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        site.faults.order(FaultKind.STALL_BEFORE_HEAD, path="/", times=None)
        client = await served.connect()
        await client.send_request("POST", "/v1/chat/completions", chat(model="grok-2"))
        await site.wait_for(lambda: site.calls["/"] > 0)
        await leave(client, reset=False)
        with trio.fail_after(0.5):
            while any(served.scheduler._lines.values()):
                await trio.sleep(0.005)
        await hold_slots(served)

    with_server(check, **{**ONE, "ACQUIRE_WAIT": "15", "IS_TEMP_GROK2": "true"})


def test_client_that_ends_its_side_has_left() -> None:
    """It may be waiting still, but cannot be told from one that is not."""

    async def check(served: Served) -> None:
        served.simulator.site.faults.order(FaultKind.STALL_BEFORE_HEAD)
        client = await served.connect()
        async with client.stream:
            await client.send_request("POST", "/v1/chat/completions", chat())
            await client.stream.send_eof()
            assert await client.is_closed()
        await hold_slots(served)
        client = await served.connect()
        async with client.stream:
            await client.send_request("GET", "/v1/models")
            await client.stream.send_eof()
            assert (await client.read_response()).status == 200

    with_server(check, **ONE)


def test_client_that_leaves_while_its_picture_is_fetched() -> None:
    """One that it has linked to, from a host that says nothing."""

    async def resolve(_: str, __: int) -> list[Any]:
        return [ip_address("93.184.215.14")]

    async def check(served: Served) -> None:
        asked, gone = trio.Event(), trio.Event()

        async def serve(stream: trio.SocketStream) -> None:
            async with stream:
                assert b"GET /a.png" in await stream.receive_some()
                asked.set()
                with contextlib.suppress(trio.BrokenResourceError):
                    assert await stream.receive_some() == b""
                gone.set()

        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        route.port = listener.socket.getsockname()[1]
        served.nursery.start_soon(trio.serve_listeners, serve, [listener])
        part = {"type": "image_url", "image_url": {"url": "http://pictures.example/a.png"}}
        body = chat(messages=[{"role": "user", "content": [part]}], stream=True)
        client = await served.connect()
        await client.send_request("POST", "/v1/chat/completions", body)
        await asked.wait()
        left = trio.current_time()
        await leave(client, reset=False)
        await gone.wait()
        assert trio.current_time() - left < 0.5
        assert served.simulator.site.calls[UPLOAD] == 0
        await hold_slots(served)

    route = PortRoute()
    with_server(check, pictures=PictureDesk(network=FetchNetwork(resolve, backend=route)), **ONE)


def test_client_that_leaves_in_the_middle_of_its_own_body() -> None:
    async def check(served: Served) -> None:
        for _ in range(20):
            client = await served.connect()
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}"
            await client.send(f'{head}\r\ncontent-length: 1000\r\n\r\n{{"model"'.encode())
            await leave(client, reset=False)
        await hold_slots(served)
        assert served.simulator.site.calls[NEW] == 1

    with_server(check, **ONE)


# Others


STALLS = (
    *(FaultKind.STALL_BEFORE_BODY, FaultKind.STALL_BEFORE_HEAD, FaultKind.STALL_AFTER_HEAD),
    *(FaultKind.STALL, FaultKind.ENDLESS_ANSWER, FaultKind.BOMB, FaultKind.ENDLESS_LINE),
)


@pytest.mark.parametrize("fault", STALLS)
def test_dead_calls_do_not_delay_other_streams(fault: FaultKind) -> None:
    """Twenty calls that stand still, or give all they can; beside them a stream keeps its pace.

    The machine may be busy with other things: the best of a few measurements counts.
    """
    longest: list[float] = []

    async def check(served: Served) -> None:
        site = served.simulator.site
        number = 2 if fault in STALLS[4:] else 20  # it is the simulator that has most to do then
        while not longest or (min(longest) >= 0.25 and len(longest) < 6):
            before = site.calls[NEW]
            site.faults.order(fault, times=number)
            async with trio.open_nursery() as nursery:
                for _ in range(number):
                    nursery.start_soon(ignore, served.chat, "dead")
                await site.wait_for(lambda before=before: site.calls[NEW] >= before + number)
                site.delivery = Delivery(pace=0.01)
                site.style = Style(tokens=60)
                longest.append(await measure_gaps(served))
                nursery.cancel_scope.cancel()
        assert min(longest) < 0.25, longest

    with_server(
        check,
        quotas={"grok-3": (10_000, 60.0)},
        CREDENTIAL_CONCURRENCY="50",
        QUOTAS="grok-3=10000/1h",
    )


async def ignore(ask: Callable[[str], Awaitable[Any]], text: str) -> None:
    """Ask, and do not care what comes of it."""
    await ask(text)


async def measure_gaps(served: Served) -> float:
    """Read a stream to its end; the longest time between two pieces of it, in seconds."""
    client = await served.connect()
    async with client.stream:
        await client.send_request("POST", "/v1/chat/completions", chat("alive", stream=True))
        await client.read_some()
        longest, last, data = 0.0, trio.current_time(), b""
        while b"[DONE]" not in data:
            piece = await client.read_some()
            assert piece
            data = data[-20:] + piece
            now = trio.current_time()
            longest, last = max(longest, now - last), now
        return longest


CREDENTIALS_FAULTS = frozenset(
    {
        *(FaultKind.DEAD_COOKIE, FaultKind.BLOCKED_ACCOUNT, FaultKind.LIMIT),
        *(FaultKind.LIMIT_IN_STREAM, FaultKind.ANSWER),
    }
)
"""What another credential may cure."""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (path, kind)
        for path in (NEW, UPLOAD, DRAWN)
        for kind in sorted(set(FaultKind) - CREDENTIALS_FAULTS, key=str)
        if path != DRAWN or kind not in STALLS[4:]  # a picture takes its time, in pieces of a line
    ],
)
def test_fault_that_no_other_credential_cures_costs_two_calls(kind: FaultKind, path: str) -> None:
    timeout = "0.1" if kind in STALLS[:4] else "10"

    async def check(served: Served) -> None:
        site = served.simulator.site
        site.style = Style(pictures=1)
        for stream in (False, True):
            before = site.calls.copy()
            site.faults.clear()
            site.faults.order(kind, times=None, path=path)
            model = "grok-3-imageGen" if path == DRAWN else "grok-3"
            fields = WITH_PICTURE if path == UPLOAD else {}
            answer = await served.chat(model=model, stream=stream, **fields)
            assert answer.whole
            calls = site.calls - before
            for each in (NEW, UPLOAD, DRAWN):
                assert sum(calls[known] for known in calls if fnmatchcase(known, each)) <= 2
            site.faults.clear()
            if kind not in STALLS[:4]:
                assert (await served.chat()).status == 200

    with_server(
        check,
        accounts=("anna", "bert", "cleo", "dora", "emil", "fred"),
        MAX_ATTEMPTS="6",
        UPSTREAM_FIRST_BYTE_TIMEOUT=timeout,
        UPSTREAM_IDLE_TIMEOUT=timeout,
        MAX_LINE_BYTES="50000",
        MAX_ANSWER_BYTES="100000",
    )
