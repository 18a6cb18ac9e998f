"""Clients that are slow, greedy or many: what they cost is bounded, and others do not pay it."""

from __future__ import annotations

import itertools
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.fixtures.build import one
from tests.transports.apart import Apart, with_process
from tests.transports.served import (
    KEY,
    RawClient,
    RawResponse,
    Served,
    chat,
    encode_request,
    with_server,
)

SLOW = 500
BLOCK = 64 * 1024
BLOCKS = 3200
"""200 MiB."""
LINE = one({"result": {"response": {"token": "x" * BLOCK, "isThinking": False}}}) + b"\n"
POST = f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\n"


# Deadlines


def test_head_has_one_deadline_however_it_drips() -> None:
    async def check(served: Served) -> None:
        client = await served.connect()
        async with client.stream:
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(drip, client, b"GET /health HTTP/1.1\r\n" + b"a: b\r\n" * 100)
                answer = await client.read_response()
                nursery.cancel_scope.cancel()
            assert (answer.status, answer.error["code"]) == (408, "bad_http")
            assert 0.4 <= trio.current_time() - began < 2
            assert await client.is_closed()

    with_server(check, HEADER_TIMEOUT="0.4")


def test_body_may_take_its_time_while_it_goes_on() -> None:
    async def check(served: Served) -> None:
        body = b"x" * 40
        for length, status, words in ((len(body), 400, "JSON"), (1000, 400, "in time")):
            client = await served.connect()
            async with client.stream:
                began = trio.current_time()
                await client.send(f"{POST}content-length: {length}\r\n\r\n".encode())
                await drip(client, body)
                answer = await client.read_response()
                assert trio.current_time() - began > 0.8  # twice what a pause may take
                assert answer.status == status
                assert words in answer.error["message"]
                if length > len(body):
                    assert await client.is_closed()
        assert (await served.chat()).status == 200

    with_server(check, BODY_TIMEOUT="0.4")


async def drip(client: RawClient, data: bytes) -> None:
    """Send byte after byte, until nobody listens."""
    try:
        for index in range(len(data)):
            await client.send(data[index : index + 1])
            await trio.sleep(0.02)
    except trio.BrokenResourceError:
        pass


def test_connection_that_says_nothing_is_closed() -> None:
    async def check(served: Served) -> None:
        fresh, used = await served.connect(), await served.connect()
        async with fresh.stream, used.stream:
            await used.send_request("GET", "/health")
            assert (await used.read_response()).status == 200
            with trio.fail_after(2):
                assert await fresh.is_closed()
                assert await used.is_closed()

    with_server(check, KEEPALIVE_TIMEOUT="0.2")


def test_client_that_reads_nothing_is_given_up() -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        site.replay = [LINE] * 500
        client = await served.connect()
        async with client.stream:
            await client.send_request("POST", "/v1/chat/completions", chat(stream=True))
            await site.wait_for(lambda: site.cancelled == 1)
            site.replay = None
            assert (await served.chat()).status == 200

    with_server(check, accounts=("anna",), CREDENTIAL_CONCURRENCY="1", WRITE_TIMEOUT="0.3")


@pytest.mark.skipif(sys.platform != "linux", reason="others do not tell what is unsent")
@pytest.mark.parametrize("goes_on", [True, False])
def test_client_that_reads_slowly_is_there(goes_on: bool) -> None:
    """A socket that is full is not writable again until a third of it has gone: 1 MiB here."""

    async def check(served: Served) -> None:
        site = served.simulator.site
        site.replay = [LINE] * 300
        client = await served.connect()
        async with client.stream:
            await client.send_request("POST", "/v1/chat/completions", chat(stream=True))
            for _ in range(25):
                assert await client.stream.receive_some(BLOCK // 2)
                await trio.sleep(0.1)
            assert site.cancelled == 0
            if goes_on:
                data = b""
                while not data.endswith(b"0\r\n\r\n"):
                    data = await client.stream.receive_some(BLOCK)
                    assert data
            else:
                await site.wait_for(lambda: site.cancelled == 1)

    with_server(check, WRITE_TIMEOUT="1")


def test_more_connections_than_there_may_be() -> None:
    async def check(served: Served) -> None:
        clients = [await served.connect() for _ in range(3)]
        for client in clients:
            await client.send_request("GET", "/health")
            assert (await client.read_response()).status == 200
        refused = await served.chat()
        assert (refused.status, refused.error["code"]) == (503, "too_many_connections")
        assert (refused.headers["connection"], refused.headers["retry-after"]) == ("close", "1")
        await clients[0].send_request("GET", "/health")  # those that are there are served
        assert (await clients[0].read_response()).status == 200
        for client in clients:
            await client.stream.aclose()
        with trio.fail_after(2):
            while (await served.chat()).status != 200:
                await trio.sleep(0.01)

    with_server(check, MAX_CONNECTIONS="3")


async def measure(server: Apart, number: int) -> float:
    """The median time of a request on a connection of its own, seconds."""
    times: list[float] = []
    for _ in range(number):
        began = trio.current_time()
        assert (await server.request("POST", "/v1/chat/completions", chat())).status == 200
        times.append(trio.current_time() - began)
    return statistics.median(times)


def test_many_slow_connections_do_not_slow_the_others() -> None:
    """The machine may be busy with other things: the best of a few comparisons counts."""

    async def check(server: Apart) -> None:
        ratios: list[float] = []
        while not ratios or (min(ratios) >= 2 and len(ratios) < 5):
            alone = await measure(server, 50)
            async with trio.open_nursery() as nursery:
                ready = 0

                async def be_slow() -> None:
                    nonlocal ready
                    client = await server.connect()
                    async with client.stream:
                        await client.send(POST.encode())
                        ready += 1
                        while True:
                            await client.send(b"a")
                            await trio.sleep(1)

                for _ in range(SLOW):
                    nursery.start_soon(be_slow)
                while ready < SLOW:
                    await trio.sleep(0.01)
                beside = await measure(server, 50)
                nursery.cancel_scope.cancel()
            ratios.append(beside / alone)
            while server.count_descriptors() > SLOW:
                await trio.sleep(0.01)
        assert min(ratios) < 2, ratios

    with_process(check, HEADER_TIMEOUT="60")


def test_without_descriptors_it_goes_on_and_recovers() -> None:
    async def check(server: Apart) -> None:
        known = await server.connect()
        async with known.stream:
            assert await ask(known) == 200
            _, most = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
            room = server.count_descriptors() + 20
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (room, most))
            waiting = [await server.connect() for _ in range(60)]
            while server.count_descriptors() < room:
                await trio.sleep(0.01)
            for _ in range(5):  # it has a connection to Grok that it keeps; then there is none
                assert await ask(known) in (200, 502)
            asked = [each.send_request("GET", "/health") for each in waiting]
            for each in asked:
                await each
            for client in waiting[:30]:
                await client.stream.aclose()
            for client in waiting[30:]:  # they have waited at the door all the time
                assert (await client.read_response()).status == 200
                await client.stream.aclose()
            assert await ask(known) == 200
            assert (await server.request("GET", "/health")).status == 200

    with_process(check)


def test_pictures_without_descriptors(tmp_path: Path) -> None:
    """They are there, and cannot be opened now."""

    async def check(server: Apart) -> None:
        client = await server.connect()
        async with client.stream:
            await client.send_request("POST", "/v1/chat/completions", chat(model="grok-3-imageGen"))
            text = (await client.read_response()).text
            path = "/images/" + text.partition("/images/")[2].partition(")")[0]
            await client.send_request("GET", path)
            assert (await client.read_response()).status == 200
            before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
            taken = {int(entry.name) for entry in Path(f"/proc/{server.pid}/fd").iterdir()}
            lowest = next(number for number in itertools.count() if number not in taken)
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (lowest, before[1]))
            await client.send_request("GET", path)
            answer = await client.read_response()
            assert (answer.status, answer.error["code"]) == (503, "overloaded")
            assert answer.error["type"] == "server_error"
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)
            await client.send_request("GET", path)
            assert (await client.read_response()).status == 200

    with_process(check, IMAGE_MODE="local", IMAGE_DIR=str(tmp_path / "pictures"))


@pytest.mark.parametrize(("hard", "fit"), [(4096, None), (200, 68)])
def test_descriptors_are_asked_for_at_the_start(hard: int, fit: int | None) -> None:
    """As many as the connections need that there may be; where there are fewer, it says so."""
    script = (
        "import resource, sys\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (64, {hard}))\n"
        "from transports.standalone.process import make_room\n"
        "print(make_room(1000), *resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(fit), str(min(2064, hard)), str(hard)]


async def ask(client: RawClient) -> int:
    """Ask for a completion; the status."""
    await client.send(encode_request("POST", "/v1/chat/completions", chat()))
    return (await client.read_response()).status


def test_client_that_does_not_read_costs_little() -> None:
    """200 MiB from upstream pass through less than 16 MiB, whether the client reads or not."""

    async def check(server: Apart) -> None:
        site = server.simulator.site
        site.replay = [LINE]
        assert (await server.request("POST", "/v1/chat/completions", chat())).status == 200
        site.replay = [LINE] * BLOCKS
        before = server.read_memory()
        server.forget_peak()
        client = await server.connect()
        async with client.stream:
            await client.send_request("POST", "/v1/chat/completions", chat(stream=True))
            while b'"content"' not in await client.read_some():
                pass
            sent = -1
            while sent != site.bytes_sent:  # until it stands still
                sent = site.bytes_sent
                await trio.sleep(0.3)
            assert sent < 16 * 2**20
            assert server.read_memory("VmHWM") - before < 16 * 2**20
            received, data = 0, b""
            while not data.endswith(b"0\r\n\r\n"):
                data = await client.read_some()
                assert data
                received += len(data)
            assert received > BLOCK * (BLOCKS - 10)
        assert server.read_memory("VmHWM") - before < 16 * 2**20

    with_process(check, MAX_ANSWER_BYTES=str(2**30))


def test_long_request_does_not_hold_up_the_others() -> None:
    """It takes its time to be read; who asks for little meanwhile does not wait for that."""

    async def check(server: Apart) -> None:
        message = '{"role":"user","content":"USER: x"},' * 120_000
        body = f'{{"model":"grok-3","messages":[{message[:-1]}]}}'.encode()
        longest, took = 0.0, 0.0

        async def look() -> None:
            nonlocal longest
            while True:
                began = trio.current_time()
                assert (await server.request("GET", "/health")).status == 200
                longest = max(longest, trio.current_time() - began)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            began = trio.current_time()
            answer = await server.request("POST", "/v1/chat/completions", body)
            took = trio.current_time() - began
            assert answer.status == 200
            nursery.cancel_scope.cancel()
        assert longest < took / 2, (longest, took)

    with_process(check)


@pytest.mark.parametrize("gone", [False, True])
def test_client_of_a_long_request_that_leaves(gone: bool) -> None:
    """While it is read, or before: nothing is left of it, and the call slot is there."""

    async def check(served: Served) -> None:
        body = encode_request("POST", "/v1/chat/completions", chat("x" * 3_000_000))
        client = await served.connect()
        async with client.stream:
            await client.send(body)
            if not gone:
                await trio.sleep(0.02)
        await served.simulator.site.wait_for(lambda: served.simulator.site.open_calls == 0)
        for _ in range(3):
            assert (await served.chat("y" * 300_000)).status == 200

    with_server(check, accounts=("anna",), CREDENTIAL_CONCURRENCY="1", ACQUIRE_WAIT="20")


@pytest.mark.parametrize("announced", [True, False])
def test_body_that_is_too_long_is_not_read_whole(announced: bool) -> None:
    """With the limit as it is by default: a client that sends on and on is told and cut off."""

    async def check(server: Apart) -> None:
        server.forget_peak()
        before = server.read_memory()
        limit = 32 * 2**20
        client = await server.connect()
        async with client.stream:
            framing = f"content-length: {10 * limit}" if announced else "transfer-encoding: chunked"
            await client.send(f"{POST}{framing}\r\n\r\n".encode())
            piece = b"x" * 65536 if announced else b"10000\r\n" + b"x" * 65536 + b"\r\n"
            sent = 0
            answers: list[RawResponse] = []

            async def read() -> None:
                answers.append(await client.read_response())
                assert await client.is_closed()
                nursery.cancel_scope.cancel()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                try:
                    while sent < 9 * limit:
                        await client.send(piece)
                        sent += 65536
                except trio.BrokenResourceError:
                    await trio.sleep(1)
            (answer,) = answers
            assert (answer.status, answer.error["code"]) == (413, "body_too_large")
            assert "33554432 bytes" in answer.error["message"]
        kernels = 16 * 2**20  # what the buffers of both ends may hold
        assert sent < kernels if announced else limit <= sent < limit + kernels
        assert server.read_memory("VmHWM") - before < (2 if announced else 80) * 2**20
        assert (await server.request("POST", "/v1/chat/completions", chat())).status == 200

    with_process(check)
