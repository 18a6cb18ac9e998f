"""What an exchange asks for is done by hosts other than the server: fail-over, pings, leaving."""

from __future__ import annotations

import base64
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpcore
import pytest
import trio

from tests.hosts.hosting import HOSTS, with_host
from tests.transports.served import RawClient, Served, chat
from tests.transports.test_leaving import NEW, PHASES, PICTURE, leave
from tests.transports.test_no_forwarding import draw
from transports.loops import Loop
from transports.pictures.desk import PictureDesk
from transports.pictures.fetch import FetchNetwork
from transports.pictures.store import LocalPictures, open_store
from transports.simulator import Delivery, FaultKind, Style

PNG = b"\x89PNG\r\n\x1a\n" + b"the rest of it"

# The server goes through all of these, and more, in `tests/transports`.
every_host = pytest.mark.parametrize("host", [host for host in HOSTS if host != "server"])


@every_host
def test_both_shapes(host: str) -> None:
    async def check(served: Served) -> None:
        streamed = await served.chat("What?", stream=True)
        whole = await served.chat("What?")
        assert streamed.status == whole.status == 200
        assert streamed.events[-1] is None
        assert streamed.text == whole.text
        thought = await served.chat("What?", "grok-3-reasoning")
        assert thought.text.startswith("<think>")

    with_host(host, check)


@every_host
def test_fail_over(host: str) -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        for kind in (FaultKind.LIMIT, FaultKind.RESET_BEFORE_HEAD):
            before = site.calls[NEW]
            site.faults.order(kind)
            assert (await served.chat(stream=True)).events[-1] is None
            assert site.calls[NEW] == before + 2
        site.faults.order(FaultKind.RESET)
        broken = await served.chat(stream=True)
        assert broken.whole
        assert broken.events[-1]["error"]["code"] == "network"

    with_host(host, check)


@every_host
def test_used_up(host: str) -> None:
    async def check(served: Served) -> None:
        statuses: list[int] = []

        async def ask() -> None:
            statuses.append((await served.chat()).status)

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(ask)
        assert sorted(statuses) == [200] * 6 + [429] * 2
        refused = await served.chat()
        assert refused.error["code"] == "no_credential"
        assert int(refused.headers["retry-after"]) > 0

    quotas = {"grok-3": (3, 7200.0)}
    accounts = ("anna", "bert")
    with_host(host, check, accounts=accounts, quotas=quotas, QUOTAS="grok-3=3/2h", ACQUIRE_WAIT="5")


@every_host
def test_uploads(host: str) -> None:
    async def check(served: Served) -> None:
        url = f"data:image/png;base64,{base64.b64encode(PNG * 10_000).decode()}"
        content = [{"type": "image_url", "image_url": {"url": url}}] * 2
        answer = await served.chat(messages=[{"role": "user", "content": content}])
        assert answer.status == 200
        assert len(served.simulator.site.received[-1].body["fileAttachments"]) == 2

    with_host(host, check)


class PortRoute(httpcore.AsyncNetworkBackend):
    """Leads every connection to a port of this machine."""

    port = 0

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *_: Any, **__: Any
    ) -> httpcore.AsyncNetworkStream:
        assert host == "93.184.215.14"
        return await httpcore.AnyIOBackend().connect_tcp("127.0.0.1", self.port, timeout)


@every_host
def test_linked_picture(host: str) -> None:
    link = {"type": "image_url", "image_url": {"url": "http://pictures.example/a.png"}}

    async def check(served: Served) -> None:
        async def serve(stream: trio.SocketStream) -> None:
            async with stream:
                await stream.receive_some(65536)
                head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(PNG)}\r\n\r\n"
                await stream.send_all(head.encode() + PNG)

        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        route.port = listener.socket.getsockname()[1]
        served.nursery.start_soon(trio.serve_listeners, serve, [listener])
        answer = await served.chat(messages=[{"role": "user", "content": [link]}])
        assert answer.status == 200
        upload = served.simulator.site.received[-2]
        assert base64.b64decode(upload.body["content"]) == PNG
        inside = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/"}}
        refused = await served.chat(messages=[{"role": "user", "content": [inside]}])
        assert (refused.status, refused.error["code"]) == (400, "invalid_image_url")

    async def resolve(_: str, __: int) -> list[Any]:
        return [ip_address("93.184.215.14")]

    def build_desk(loop: Loop) -> PictureDesk:
        network = FetchNetwork(resolve=resolve, backend=route, loop=loop)
        return PictureDesk(network=network, loop=loop)

    route = PortRoute()
    with_host(host, check, build_desk=build_desk)


@every_host
def test_drawing(host: str, tmp_path: Path) -> None:
    async def check(served: Served) -> None:
        served.simulator.site.style = Style(image_form="streaming")
        body = {"prompt": "a heron", "n": 2}
        answer = await served.request("POST", "/v1/images/generations", body)
        for each in answer.json["data"]:
            path = each["url"].removeprefix("http://test")
            shown = await served.request("GET", path, authorization="")
            assert shown.headers["content-type"] == "image/png"
            assert shown.body.startswith(b"\x89PNG")
        assert (await served.request("GET", "/images/nothing")).status == 404
        drawn = await served.request(
            "POST", "/images/generations", {**body, "stream": True, "partial_images": 3}
        )
        assert drawn.body.count(b"event: image_generation.partial_image") == 2

    def build_desk(loop: Loop) -> PictureDesk:
        return PictureDesk(LocalPictures(store, loop), loop=loop)

    store = open_store(tmp_path, cap_bytes=10**6, lifetime=60)
    with_host(host, check, build_desk=build_desk, IMAGE_MODE="local")


@every_host
def test_several_answers(host: str) -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        site.delivery = Delivery(pace=0.002)
        answer = await served.chat(n=3, stream=True)
        assert site.most_in_flight == 3
        texts = {0: "", 1: "", 2: ""}
        for event in answer.events[:-1]:
            choice = event["choices"][0]
            texts[choice["index"]] += choice["delta"].get("content") or ""
        assert len(set(texts.values())) == 1
        site.faults.order(FaultKind.STALL, times=2)
        site.faults.order(FaultKind.RESET, times=None)
        broken = await served.chat(n=3, stream=True)
        assert "error" in broken.events[-1]
        await site.wait_for(lambda: site.in_flight == 0)

    with_host(host, check)


@every_host
def test_pings_on_silence_and_deadlines(host: str) -> None:
    async def check(served: Served) -> None:
        served.simulator.site.faults.order(FaultKind.STALL_BEFORE_HEAD)
        silent = await served.chat(stream=True)
        assert silent.status == 200
        assert silent.body.startswith(b":")
        assert silent.body.count(b"\n\n") >= 3
        assert silent.events[-1]["error"]["code"] == "timed_out"
        served.simulator.site.faults.order(FaultKind.STALL_BEFORE_HEAD)
        whole = await served.chat()
        assert (whole.status, whole.error["code"]) == (504, "timed_out")

    with_host(host, check, PING_INTERVAL="0.1", UPSTREAM_FIRST_BYTE_TIMEOUT="0.6")


@every_host
def test_waiting_in_line(host: str) -> None:
    async def check(served: Served) -> None:
        served.simulator.site.delivery = Delivery(pace=0.01)
        order: list[int] = []

        async def ask(number: int) -> None:
            assert (await served.chat(str(number))).status == 200
            order.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(ask, number)
                await trio.sleep(0.05)
        assert order == [0, 1, 2, 3]
        assert served.simulator.site.most_in_flight == 1

    with_host(host, check, accounts=("anna",), CREDENTIAL_CONCURRENCY="1", ACQUIRE_WAIT="10")


@every_host
def test_guests(host: str) -> None:
    async def check(served: Served) -> None:
        assert (await served.chat(model="grok-2")).status == 200
        assert served.simulator.site.calls["/"] >= 1
        assert "anna" not in {each.account for each in served.simulator.site.received}

    with_host(host, check, accounts=("anna",), IS_TEMP_GROK2="true", ACQUIRE_WAIT="5")


@every_host
def test_quota_is_asked_for_when_the_answer_is_out(host: str) -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        path = "/rest/rate-limits"
        site.faults.order(FaultKind.STALL_BEFORE_HEAD, path=path)
        assert (await served.chat(stream=True)).events[-1] is None
        await site.wait_for(lambda: site.calls[path] == 1)
        await site.wait_for(lambda: site.open_calls == 0)

    with_host(host, check, QUOTA_PROBE="true", UPSTREAM_FIRST_BYTE_TIMEOUT="0.5")


@every_host
def test_own_cookies(host: str) -> None:
    async def check(served: Served) -> None:
        body = chat()
        for name in ("dora", "emil"):
            answer = await served.request(
                "POST", "/v1/chat/completions", body, authorization=f"Bearer {name}"
            )
            assert answer.status == 200
            assert served.simulator.site.received[-1].account == name
        assert (await served.request("GET", "/get/tokens")).status == 403

    with_host(host, check, accounts=(), IS_CUSTOM_SSO="true")


@every_host
def test_accounts_are_seen_and_changed(host: str) -> None:
    async def check(served: Served) -> None:
        added = await served.request("POST", "/add/token", {"sso": "dora"})
        assert added.json["added"] is True
        listed = await served.request("GET", "/get/tokens")
        assert added.json["credential"] in listed.json
        gone = await served.request("POST", "/delete/token", {"sso": "dora"})
        assert gone.json["removed"] is True
        assert (await served.request("GET", "/ready", authorization="")).status == 200
        assert (await served.request("GET", "/health", authorization="")).json["running"] == 0

    with_host(host, check)


@every_host
def test_long_bodies(host: str) -> None:
    async def check(served: Served) -> None:
        answer = await served.chat("x" * 3000)
        assert (answer.status, answer.error["code"]) == (413, "body_too_large")
        assert (await served.chat()).status == 200

    with_host(host, check, MAX_BODY_BYTES="2000")


# Clients that leave


@every_host
@pytest.mark.parametrize(
    ("name", "stream"),
    [
        ("uploading", False),
        ("before the head", True),
        ("before the head", False),
        ("streaming", True),
        ("streaming", False),
        ("fetching a picture", True),
        ("two at once", True),
        ("two at once", False),
    ],
)
def test_client_that_leaves(name: str, stream: bool, host: str) -> None:
    phase = PHASES[name]
    calls = phase.fields.get("n", 1)

    async def check(served: Served) -> None:
        site = served.simulator.site
        assert phase.fault is not None or phase.draws
        if phase.fault is not None:
            site.faults.order(phase.fault, path=phase.path, times=calls)
        if phase.draws:
            site.replay = [draw(PICTURE)]
            site.accounts.get("anna").pictures[PICTURE] = 1
        client = await served.connect()
        body = chat(model="grok-3-imageGen" if phase.draws else "grok-3", stream=stream)
        await client.send_request("POST", "/v1/chat/completions", {**body, **phase.fields})
        await site.wait_for(lambda: site.calls[phase.path] == calls)
        left = trio.current_time()
        await leave(client, reset=stream)
        await site.wait_for(lambda: site.open_calls == 0)
        assert trio.current_time() - left < 0.5
        assert site.cancelled_paths[phase.path] == calls
        site.faults.clear()
        site.replay = None
        with trio.fail_after(2):
            assert (await served.chat()).status == 200

    concurrency = "2" if "n" in phase.fields else "1"
    with_host(host, check, accounts=("anna",), CREDENTIAL_CONCURRENCY=concurrency, ACQUIRE_WAIT="2")


@every_host
def test_client_that_leaves_the_line(host: str) -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        site.delivery = Delivery(pace=0.02)
        first, second = await served.connect(), await served.connect()
        async with first.stream:
            await first.send_request("POST", "/v1/chat/completions", chat("first", stream=True))
            await site.wait_for(lambda: site.in_flight == 1)
            await second.send_request("POST", "/v1/chat/completions", chat("second"))
            await trio.sleep(0.1)
            await leave(second, reset=False)
            assert "third" in (await served.chat("third")).text
            assert "first" in (await first.read_response()).text
        assert site.calls[NEW] == 2

    with_host(host, check, accounts=("anna",), CREDENTIAL_CONCURRENCY="1", ACQUIRE_WAIT="15")


@every_host
def test_client_that_does_not_read_holds_grok_back(host: str) -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        site.faults.order(FaultKind.ENDLESS_ANSWER)
        client = await served.connect()
        client.stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 8192)
        await client.send_request("POST", "/v1/chat/completions", chat(stream=True))
        await _until_still(lambda: site.bytes_sent)
        assert site.bytes_sent < 16 * 2**20
        await leave(client, reset=True)
        await site.wait_for(lambda: site.in_flight == 0)

    with_host(host, check)


async def _until_still(measure: Callable[[], int]) -> None:
    """Wait until a figure does not grow any more."""
    before = -1
    while measure() != before:
        before = measure()
        await trio.sleep(0.15)


@every_host
def test_stream_comes_as_it_is_made(host: str) -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        site.faults.order(FaultKind.STALL)
        client: RawClient = await served.connect()
        async with client.stream:
            await client.send_request("POST", "/v1/chat/completions", chat(stream=True))
            got = b""
            while b'"content":"You' not in got:
                got += await client.read_some()
            assert site.in_flight == 1

    with_host(host, check)
