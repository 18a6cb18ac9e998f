"""What requests may ask for beyond an answer, over real sockets."""

from __future__ import annotations

import base64
import json
import re
import signal
import uuid
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpcore
import pytest
import trio

from grokproto.commands import FetchPreview, UpstreamRequest
from grokproto.events import PictureRefused
from tests.transports.served import LateClock, RawResponse, Served, chat, with_server
from transports.driving.previews import fetch_preview
from transports.pictures.desk import PictureDesk
from transports.pictures.fetch import FetchNetwork
from transports.pictures.store import LocalPictures, open_store
from transports.simulator import Delivery, FaultKind, Style
from transports.upstream.calls import Upstream, UpstreamConfig

NEW = "/rest/app-chat/conversations/new"
PNG = b"\x89PNG\r\n\x1a\n" + b"the rest of it"


# Ends of the client's choice


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("cut", [None, 1])
def test_stop_ends_the_answer_and_the_call(stream: bool, cut: int | None) -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        whole = (await served.chat("one two", stream=False)).text
        site.delivery = Delivery(cut=cut)
        site.style = Style(tokens=5000)
        answer = await served.chat("one two", stream=stream, stop=["made of", "never"])
        assert answer.text == whole.split("made of")[0]
        ends = answer.events if stream else [answer.json]
        reasons = [end["choices"][0]["finish_reason"] for end in ends if end and end["choices"]]
        assert reasons[-1] == "stop"
        await site.wait_for(lambda: site.in_flight == 0)
        assert site.cancelled == 1

    with_server(check)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_limit_ends_the_answer_and_the_call(name: str) -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        site.delivery = Delivery(pace=0.01)
        before = site.cancelled
        answer = await served.chat("hello", stream=True, **{name: 4})
        assert [e["choices"][0]["finish_reason"] for e in answer.events if e][-1] == "length"
        assert 8 <= len(answer.text) <= 16
        await site.wait_for(lambda: site.in_flight == 0)
        assert site.cancelled == before + 1

    with_server(check)


# Several answers


@pytest.mark.parametrize("rotation", ["balanced", "round-robin", "fill-first"])
def test_several_answers_are_made_at_once_with_different_accounts(rotation: str) -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        site.delivery = Delivery(pace=0.002)
        answer = await served.chat(n=3, stream=True)
        assert answer.status == 200
        assert site.most_in_flight == 3
        users = [each.account for each in site.received if each.path == NEW]
        assert sorted(map(str, users)) == ["anna", "bert", "cleo"]
        texts = {0: "", 1: "", 2: ""}
        for event in answer.events[:-1]:
            choice = event["choices"][0]
            texts[choice["index"]] += choice["delta"].get("content") or ""
        assert len(set(texts.values())) == 1
        whole = await served.chat(n=2)
        assert [choice["message"]["content"] for choice in whole.json["choices"]] == [texts[0]] * 2

    with_server(check, ROTATION=rotation)


def test_several_answers_with_one_account() -> None:
    async def check(served: Served) -> None:
        answer = await served.chat(n=3)
        assert [choice["index"] for choice in answer.json["choices"]] == [0, 1, 2]
        refused = await served.chat(n=3)
        assert refused.status == 429

    with_server(check, accounts=("anna",), QUOTAS="grok-3=5/2h")


def test_leaving_cancels_all_answers() -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        site.faults.order(FaultKind.STALL, times=3)
        client = await served.connect()
        await client.send_request("POST", "/v1/chat/completions", chat(n=3, stream=True))
        await client.read_some()
        await site.wait_for(lambda: site.in_flight == 3)
        await client.stream.aclose()
        with trio.fail_after(0.5):
            await site.wait_for(lambda: site.in_flight == 0)

    with_server(check)


def test_one_answer_that_fails_cancels_the_others() -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        site.faults.order(FaultKind.STALL, times=2)
        site.faults.order(FaultKind.RESET, times=None)
        answer = await served.chat(n=3, stream=True)
        assert "error" in answer.events[-1]
        await site.wait_for(lambda: site.in_flight == 0)

    with_server(check)


def test_stopping_in_the_middle_of_several_answers() -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        site.faults.order(FaultKind.STALL, times=2)
        client = await served.connect()
        await client.send_request("POST", "/v1/chat/completions", chat(n=2, stream=True))
        await site.wait_for(lambda: site.in_flight == 2)
        signal.raise_signal(signal.SIGTERM)
        async with client.stream:
            answer = await client.read_response()
        assert answer.events[-1]["error"]["code"] == "shutting_down"
        assert answer.whole

    with_server(check, SHUTDOWN_GRACE="0.2")


# Thinking and parameters


def test_thinking_by_header() -> None:
    async def check(served: Served) -> None:
        answers: dict[str, RawResponse] = {}
        for shape in ("think", "reasoning_content", "hidden"):
            answers[shape] = await served.request(
                "POST",
                "/v1/chat/completions",
                chat(model="grok-3-reasoning"),
                x_thinking_format=shape,
            )
        assert answers["think"].text.startswith("<think>")
        assert answers["hidden"].text == answers["reasoning_content"].text
        assert "<think>" not in answers["hidden"].text
        message = answers["reasoning_content"].json["choices"][0]["message"]
        assert message["reasoning_content"]

    with_server(check)


def test_ignored_parameters_are_named() -> None:
    async def check(served: Served) -> None:
        answer = await served.chat(temperature=0.1, tools=[{}], stream=True)
        assert answer.headers["x-grokproto-ignored"] == "temperature, tools"
        assert "x-grokproto-ignored" in answer.headers["access-control-expose-headers"]

    async def strict(served: Served) -> None:
        answer = await served.chat(temperature=0.1)
        assert (answer.status, answer.error["param"]) == (400, "temperature")

    with_server(check)
    with_server(strict, STRICT_PARAMS="true")


# Ids and times


def test_request_ids() -> None:
    async def check(served: Served) -> None:
        given = await served.request("GET", "/v1/models", x_request_id="my-id.1:2_3")
        assert given.headers["x-request-id"] == "my-id.1:2_3"
        for odd in ("", "a b", "a" * 129, "é", "<script>"):
            made = await served.request("GET", "/v1/models", x_request_id=odd)
            assert uuid.UUID(made.headers["x-request-id"]).version == 4
        assert int(given.headers["openai-processing-ms"]) < 5000

    with_server(check)


def test_whether_to_try_again() -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        for kind, status, retry in (
            (FaultKind.BLOCK_PAGE, 503, "false"),
            (FaultKind.OVERLOADED, 503, "true"),
        ):
            site.faults.order(kind, times=None)
            answer = await served.chat()
            assert (answer.status, answer.headers["x-should-retry"]) == (status, retry)
            site.faults.clear()
        assert "x-should-retry" not in (await served.chat()).headers

    with_server(check)


# Pictures


class PortRoute(httpcore.AsyncNetworkBackend):
    """Leads every connection to a port of this machine."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[str] = []

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *_: Any, **__: Any
    ) -> httpcore.AsyncNetworkStream:
        self.asked.append(host)
        return await httpcore.TrioBackend().connect_tcp("127.0.0.1", self.port, timeout)


async def serve_picture(stream: trio.SocketStream, status: str, body: bytes) -> None:
    """Answer one request."""
    async with stream:
        await stream.receive_some(65536)
        head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n"
        await stream.send_all(head.encode() + body)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [("200 OK", PNG, 200), ("200 OK", b"<html>", 400), ("404 Not Found", PNG, 400)],
)
def test_linked_pictures(status: str, body: bytes, expected: int) -> None:
    link = {"type": "image_url", "image_url": {"url": "http://pictures.example/a.png"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "See?"}, link]}]

    async def check(served: Served) -> None:
        async def serve(stream: trio.SocketStream) -> None:
            await serve_picture(stream, status, body)

        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        route.port = listener.socket.getsockname()[1]
        served.nursery.start_soon(trio.serve_listeners, serve, [listener])
        answer = await served.chat(messages=messages)
        assert answer.status == expected
        assert route.asked == ["93.184.215.14"]
        uploads = [
            each.body
            for each in served.simulator.site.received
            if each.path.endswith("upload-file")
        ]
        if expected == 200:
            assert [base64.b64decode(upload["content"]) for upload in uploads] == [PNG]
        else:
            assert uploads == []
            assert answer.error["code"] == "invalid_image_url"
            assert answer.error["param"] == "messages[0].content[1].image_url.url"
            assert served.simulator.site.calls[NEW] == 0

    async def resolve(_: str, __: int) -> list[Any]:
        return [ip_address("93.184.215.14")]

    route = PortRoute()
    desk = PictureDesk(network=FetchNetwork(resolve=resolve, backend=route))
    with_server(check, pictures=desk)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/a.png", "http://[::1]/", "http://169.254.169.254/", "http://10.0.0.1/"],
)
def test_links_to_inside_are_refused(url: str) -> None:
    async def check(served: Served) -> None:
        part = {"type": "image_url", "image_url": {"url": url}}
        answer = await served.chat(messages=[{"role": "user", "content": [part]}])
        assert (answer.status, answer.error["code"]) == (400, "invalid_image_url")

    with_server(check)


def local_desk(path: Path, clock: LateClock, public_url: str = "") -> PictureDesk:
    """Keeps pictures for an hour."""
    store = open_store(path / "pictures", cap_bytes=10**6, lifetime=3600)
    return PictureDesk(LocalPictures(store), public_url, unix_time=clock)


def test_local_pictures(tmp_path: Path) -> None:
    async def check(served: Served) -> None:
        answer = await served.chat("draw", "grok-3-imageGen", stream=True)
        links = re.findall(r"!\[image\]\((.*?)\)", answer.text)
        assert len(links) == 2
        for link in links:
            assert link.startswith("http://test/images/")
            path = link.removeprefix("http://test")
            shown = await served.request("GET", path, authorization="")
            assert shown.status == 200
            assert shown.headers["content-type"] == "image/png"
            assert shown.headers["x-content-type-options"] == "nosniff"
            assert shown.body.startswith(b"\x89PNG")
            head = await served.request("HEAD", path, authorization="")
            assert (head.status, head.body) == (200, b"")
            forged = path[:-10] + ("0" if path[-10] != "0" else "1") + path[-9:]
            assert (await served.request("GET", forged)).status == 404
        clock.late = 3601.0
        gone = await served.request("GET", links[0].removeprefix("http://test"))
        assert (gone.status, gone.error["code"]) == (404, "not_found")
        for odd in ("/images/", "/images/..%2fsecret", "/images/secret"):
            assert (await served.request("GET", odd)).status == 404

    clock = LateClock()
    with_server(check, pictures=local_desk(tmp_path, clock), IMAGE_MODE="local")


@pytest.mark.parametrize(
    ("public_url", "headers", "start"),
    [
        ("https://api.example/grok", {}, "https://api.example/grok/images/"),
        (
            "",
            {"x_forwarded_proto": "https", "x_forwarded_host": "chat.example"},
            "https://chat.example/images/",
        ),
        ("", {"x_forwarded_host": "bad host"}, "data:image/png"),
    ],
)
def test_addresses_of_local_pictures(
    tmp_path: Path, public_url: str, headers: dict[str, str], start: str
) -> None:
    async def check(served: Served) -> None:
        body = {"prompt": "a heron", "model": "grok-3-imageGen"}
        answer = await served.request("POST", "/v1/images/generations", body, **headers)
        assert answer.json["data"][0]["url"].startswith(start)

    desk = local_desk(tmp_path, LateClock(), public_url)
    with_server(check, pictures=desk, IMAGE_MODE="local")


def test_directory_of_local_pictures(tmp_path: Path) -> None:
    async def check(served: Served) -> None:
        answer = await served.request("POST", "/v1/images/generations", {"prompt": "a heron"})
        link = answer.json["data"][0]["url"]
        assert link.startswith("http://test/images/")
        assert (await served.request("GET", link.removeprefix("http://test"))).status == 200
        assert any((tmp_path / "kept").glob("*.png"))

    with_server(check, IMAGE_MODE="local", IMAGE_DIR=str(tmp_path / "kept"))


def test_pictures_where_grok_keeps_them() -> None:
    async def check(served: Served) -> None:
        answer = await served.request("POST", "/images/generations", {"prompt": "a heron", "n": 2})
        assert len(answer.json["data"]) == 2
        assert all("/users/" in each["url"] for each in answer.json["data"])
        assert not any("/users/" in path for path in served.simulator.site.calls)

    with_server(check, IMAGE_MODE="upstream")


@pytest.mark.parametrize("cut", [None, 1])
def test_pictures_as_base64(cut: int | None) -> None:
    async def check(served: Served) -> None:
        served.simulator.site.delivery = Delivery(cut=cut)
        body = {"prompt": "a heron", "response_format": "b64_json"}
        answer = await served.request("POST", "/v1/images/generations", body)
        assert base64.b64decode(answer.json["data"][0]["b64_json"]).startswith(b"\x89PNG")
        get = await served.request("GET", "/v1/images/generations")
        assert get.status == 405

    with_server(check)


def read_picture_events(answer: RawResponse) -> list[tuple[str, bytes]]:
    """The events of a stream of pictures: what kind, and which picture."""
    blocks = answer.body.decode().split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    events = [json.loads(block.partition("\ndata: ")[2]) for block in blocks[:-2]]
    return [(event["type"], base64.b64decode(event["b64_json"])) for event in events]


@pytest.mark.parametrize("form", ["streaming", "card"])
@pytest.mark.parametrize("cut", [None, 1])
def test_previews_come_before_the_pictures(form: str, cut: int | None) -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        site.style = Style(image_form=form)
        site.delivery = Delivery(cut=cut)
        body = {"prompt": "a heron", "n": 2, "stream": True, "partial_images": 3}
        events = read_picture_events(await served.request("POST", "/images/generations", body))
        assert [kind.removeprefix("image_generation.") for kind, _ in events] == (
            ["partial_image"] * 2 + ["completed"] * 2
        )
        assert len({data for _, data in events}) == 4
        previews = [each for each in site.received if "-part-0" in each.path]
        (question,) = (each for each in site.received if each.path == NEW)
        assert {each.account for each in previews} == {question.account}

    with_server(check)


def test_a_preview_is_sent_while_the_answer_is_still_being_made() -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        site.faults.order(FaultKind.STALL)
        body = {"prompt": "a heron", "n": 2, "stream": True, "partial_images": 1}
        client = await served.connect()
        async with client.stream:
            await client.send_request("POST", "/v1/images/generations", body)
            data = b""
            while b"image_generation.partial_image" not in data:
                data += await client.read_some()
        await site.wait_for(lambda: site.in_flight == 0)

    with_server(check)


@pytest.mark.parametrize(
    "fault",
    [FaultKind.SERVER_ERROR, FaultKind.RESET, FaultKind.BLOCK_PAGE, FaultKind.RESET_BEFORE_HEAD],
)
def test_previews_that_cannot_be_had(fault: FaultKind) -> None:
    async def check(served: Served) -> None:
        served.simulator.site.faults.order(fault, times=2, path="*-part-0*")
        body = {"prompt": "a heron", "n": 2, "stream": True, "partial_images": 3}
        events = read_picture_events(await served.request("POST", "/images/generations", body))
        assert [kind for kind, _ in events] == ["image_generation.completed"] * 2

    with_server(check)


@pytest.mark.parametrize(
    ("limit", "timeout", "what"), [(10, 9.0, "larger than 10 bytes"), (9999, 0.1, "0.1 seconds")]
)
def test_previews_that_cost_too_much(limit: int, timeout: float, what: str) -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        if timeout < 1:
            site.faults.order(FaultKind.STALL, path="*")
        else:
            site.faults.order_answer(200, {"content-type": "image/png"}, PNG, path="*")
        upstream = Upstream(UpstreamConfig())
        await served.nursery.start(upstream.run)
        request = UpstreamRequest("GET", f"{served.simulator.base_url}/p", ())
        event = await fetch_preview(upstream, FetchPreview(request, timeout, limit))
        assert isinstance(event, PictureRefused)
        assert what in event.reason
        await site.wait_for(lambda: site.open_calls == 0)

    with_server(check)


# Long conversations


def test_long_conversation() -> None:
    async def check(served: Served) -> None:
        messages = [
            {"role": "user", "content": "x" * 45_000},
            {"role": "assistant", "content": "Well."},
            {"role": "user", "content": "And so?"},
        ]
        answer = await served.chat(messages=messages)
        assert answer.status == 200
        site = served.simulator.site
        upload, question = (each for each in site.received if each.path != "/")
        assert upload.account == question.account
        older = base64.b64decode(upload.body["content"]).decode()
        assert older == "USER: " + "x" * 45_000 + "\nASSISTANT: Well."
        assert question.body["message"].endswith("USER: And so?")
        assert len(question.body["fileAttachments"]) == 1
        site.faults.order_answer(415, {}, b"{}", path="/rest/app-chat/upload-file")
        answer = await served.chat(messages=messages)
        assert answer.status == 200
        assert len(site.received[-1].body["message"]) > 45_000

    async def refuse(served: Served) -> None:
        answer = await served.chat("x" * 200)
        assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")

    with_server(check)
    with_server(refuse, LONG_INPUT="refuse", LONG_INPUT_CHARS="100")
