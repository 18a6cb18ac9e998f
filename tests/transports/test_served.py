"""The main job over real sockets: questions, answers, faults, leaving and stopping."""

from __future__ import annotations

import itertools
import signal

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from grokproto.answer import EndReason
from grokproto.models import ModelTable
from grokproto.secret import Secret
from tests.fixtures.load import STREAM_EXPECTATIONS, read_stream
from tests.strategies import cut, single_bytes
from tests.transports.served import RawResponse, Served, chat, encode_request, with_server
from transports.simulator import Delivery, FaultKind, Style

MODELS = list(ModelTable())


@pytest.mark.parametrize("model", MODELS)
def test_both_shapes(model: str) -> None:
    async def check(served: Served) -> None:
        streamed = await served.chat("What?", model, stream=True)
        whole = await served.chat("What?", model)
        assert streamed.status == whole.status == 200
        assert streamed.events[-1] is None
        if "imageGen" in model:
            assert whole.text.count("](data:image/png;base64,") == 2
        else:
            assert streamed.text == whole.text
            assert "What?" in whole.text

    with_server(check)


@pytest.mark.parametrize("coding", ["identity", "gzip", "br", "zstd"])
def test_content_codings(coding: str) -> None:
    async def check(served: Served) -> None:
        plain = await served.chat()
        served.simulator.site.delivery = Delivery(coding=coding)
        assert (await served.chat()).text == plain.text
        served.simulator.site.delivery = Delivery(coding=coding, cut=1)
        assert (await served.chat(stream=True)).text == plain.text

    with_server(check)


@pytest.mark.parametrize("form", ["cached", "streaming", "card", "final"])
def test_pictures_of_every_form(form: str) -> None:
    async def check(served: Served) -> None:
        served.simulator.site.style = Style(image_form=form)
        answer = await served.chat("draw", "grok-3-imageGen")
        assert answer.text.count("![image](data:image/png;base64,iVBOR") == 2

    with_server(check)


@pytest.mark.parametrize("variable", ["TUMY_KEY", "PICGO_KEY"])
def test_pictures_on_hosts(variable: str) -> None:
    async def check(served: Served) -> None:
        answer = await served.chat("draw", "grok-3-imageGen", stream=True)
        links = [part.split(")")[0] for part in answer.text.split("![image](")[1:]]
        assert len(links) == 2
        assert all(link.startswith("http://") for link in links)

    with_server(check, **{variable: "a-key"})


def test_pictures_in() -> None:
    async def check(served: Served) -> None:
        part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
        content = [{"type": "text", "text": "See?"}, part, part]
        messages = [{"role": "user", "content": content}]
        for has_upload_file in (True, False):
            served.simulator.site.has_upload_file = has_upload_file
            answer = await served.chat(messages=messages)
            assert answer.status == 200
            assert len(served.simulator.site.received[-1].body["fileAttachments"]) == 2

    with_server(check)


def fixture_reply(served: Served, pieces: list[bytes]) -> None:
    """Make the simulator answer with these writes."""
    served.simulator.site.replay = pieces


def recover(served: Served) -> None:
    """Give the server an account that nothing has happened to yet, and no other."""
    for status in list(served.scheduler.pool.status(served.scheduler.unix_now)):
        served.scheduler.pool.remove(status.name)
    name = f"account-{next(numbers)}"
    served.scheduler.pool.add({"sso": Secret(name)})
    pictures = (p for each in STREAM_EXPECTATIONS.values() for p in each["images"])
    served.simulator.site.accounts.get(name).pictures.update(dict.fromkeys(pictures, 1))


numbers = itertools.count()


def check_fixture(name: str, streamed: RawResponse) -> None:
    """Hold what the client got against what must come out of a fixture."""
    expected = STREAM_EXPECTATIONS[name]
    if expected["error_kind"] and not (expected["content"] or expected["reasoning"]):
        assert streamed.error["code"] == expected["error_kind"]
        return
    assert streamed.status == 200
    deltas = [e["choices"][0]["delta"] for e in streamed.events if e and "choices" in e]
    content = "".join(delta.get("content") or "" for delta in deltas)
    reasoning = "".join(delta.get("reasoning_content") or "" for delta in deltas)
    assert reasoning == expected["reasoning"]
    assert content.startswith(expected["content"])
    assert content.count("![image](") == len(expected["images"])
    if expected["error_kind"]:
        assert streamed.events[-1]["error"]["code"] == expected["error_kind"]
    else:
        last = next(e for e in reversed(streamed.events) if e)["choices"][0]["finish_reason"]
        reasons = {EndReason.STOP.value: "stop", EndReason.MODERATED.value: "content_filter"}
        assert last == reasons[expected["finish_reason"]]


ONCE = {
    "THINKING_FORMAT": "reasoning_content",
    "MAX_ATTEMPTS": "1",
    "QUOTAS": "grok-3=100000/1h",
}


def test_every_fixture_whole_and_byte_by_byte() -> None:
    async def check(served: Served) -> None:
        for name in STREAM_EXPECTATIONS:
            data = read_stream(name)
            for pieces in ([data], single_bytes(data)):
                recover(served)
                fixture_reply(served, pieces)
                check_fixture(name, await served.chat(stream=True))

    with_server(check, quotas={"grok-3": (10_000, 60.0)}, **ONCE)


@settings(max_examples=5)
@given(st.data())
def test_every_fixture_in_random_cuts(data: st.DataObject) -> None:
    streams = {name: read_stream(name) for name in STREAM_EXPECTATIONS}
    cuts = {
        name: cut(stream, data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
        for name, stream in streams.items()
    }

    async def check(served: Served) -> None:
        for name, pieces in cuts.items():
            recover(served)
            fixture_reply(served, pieces)
            check_fixture(name, await served.chat(stream=True))

    with_server(check, quotas={"grok-3": (10_000, 60.0)}, **ONCE)


# Faults


@pytest.mark.parametrize(
    ("kind", "status", "code", "calls"),
    [
        (FaultKind.BLOCK_PAGE, 503, "cloudflare", 1),
        (FaultKind.ANTI_BOT, 503, "anti_bot", 1),
        (FaultKind.BLOCKED_ACCOUNT, 503, "blocked", 3),
        (FaultKind.LIMIT, 429, "rate_limited", 3),
        (FaultKind.SERVER_ERROR, 502, "upstream", 2),
        (FaultKind.SERVER_ERROR_PAGE, 502, "upstream", 2),
        (FaultKind.OVERLOADED, 503, "overloaded", 2),
        (FaultKind.REDIRECT, 502, "upstream", 2),
        (FaultKind.NO_CONTENT, 502, "upstream", 2),
        (FaultKind.EMPTY, 502, "empty", 2),
        (FaultKind.RESET_BEFORE_HEAD, 502, "network", 2),
        (FaultKind.RESET_AFTER_HEAD, 502, "network", 2),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_faults_before_content(
    kind: FaultKind, status: int, code: str, calls: int, stream: bool
) -> None:
    async def check(served: Served) -> None:
        served.simulator.site.faults.order(kind, times=None)
        answer = await served.chat(stream=stream)
        assert (answer.status, answer.error["code"]) == (status, code)
        assert served.simulator.site.calls["/rest/app-chat/conversations/new"] == calls
        served.simulator.site.faults.clear()
        recover(served)
        assert (await served.chat()).status == 200

    with_server(check)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (FaultKind.RESET, "network"),
        (FaultKind.CUT, "network"),
        (FaultKind.CLOSE, "network"),
        (FaultKind.ERROR_LINE, "upstream"),
        (FaultKind.ERROR_FATAL, "upstream"),
        (FaultKind.LIMIT_IN_STREAM, "rate_limited"),
        (FaultKind.STALL, "timed_out"),
        (FaultKind.ENDLESS_LINE, "upstream"),
        (FaultKind.BOMB, "upstream"),
        (FaultKind.ENDLESS_ANSWER, "upstream"),
        (FaultKind.TRUNCATED_GZIP, "network"),
    ],
)
def test_faults_after_content(kind: FaultKind, code: str) -> None:
    async def check(served: Served) -> None:
        served.simulator.site.faults.order(kind)
        answer = await served.chat(stream=True)
        assert answer.status == 200
        assert answer.whole
        assert answer.events[-1]["error"]["code"] == code
        assert all(event["choices"][0]["finish_reason"] is None for event in answer.events[:-1])
        assert (await served.chat()).status == 200

    with_server(
        check, UPSTREAM_IDLE_TIMEOUT="0.3", MAX_LINE_BYTES="200000", MAX_ANSWER_BYTES="300000"
    )


@pytest.mark.parametrize("kind", [FaultKind.GARBAGE, FaultKind.DRIP, FaultKind.ERROR_NORMAL])
def test_faults_that_do_no_harm(kind: FaultKind) -> None:
    async def check(served: Served) -> None:
        plain = await served.chat()
        served.simulator.site.faults.order(kind)
        assert (await served.chat(stream=True)).text == plain.text

    with_server(check)


def test_stall_before_the_head() -> None:
    async def check(served: Served) -> None:
        served.simulator.site.faults.order(FaultKind.STALL_BEFORE_HEAD)
        answer = await served.chat()
        assert (answer.status, answer.error["code"]) == (504, "timed_out")

    with_server(check, UPSTREAM_FIRST_BYTE_TIMEOUT="0.2")


def test_silent_stream_is_kept_alive() -> None:
    async def check(served: Served) -> None:
        served.simulator.site.delivery = Delivery(pace=0.12)
        served.simulator.site.style = Style(tokens=1)
        answer = await served.chat(stream=True)
        assert b": ping\n\n" in answer.body
        assert answer.events[-1] is None

    with_server(check, PING_INTERVAL="0.1")


def test_slow_questions_about_the_quota_do_not_reach_the_next_answer() -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        for _ in range(3):
            site.faults.order(FaultKind.STALL_BEFORE_HEAD, path="/rest/rate-limits")
        client = await served.connect()
        async with client.stream:
            for stream in (True, False, True):
                body = chat(stream=stream)
                await client.send_request("POST", "/v1/chat/completions", body)
            for _ in range(3):
                answer = await client.read_response()
                assert (answer.status, answer.whole) == (200, True)
                assert answer.text.endswith("Done.")
        assert site.calls["/rest/rate-limits"] >= 2
        pool = served.scheduler.pool
        while any(each.in_flight for each in pool.status(served.scheduler.unix_now)):
            await trio.sleep(0.01)

    with_server(
        check,
        QUOTA_PROBE="true",
        PING_INTERVAL="0.1",
        UPSTREAM_FIRST_BYTE_TIMEOUT="0.4",
    )


# Leaving and stopping


@pytest.mark.parametrize("phase", ["before the head", "in mid-stream"])
def test_client_that_leaves_cancels_the_call(phase: str) -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        site.delivery = Delivery(pace=30.0 if phase == "before the head" else 0.02)
        site.style = Style(tokens=10_000)
        client = await served.connect()
        await client.send_request("POST", "/v1/chat/completions", chat(stream=True))
        if phase == "in mid-stream":
            while b'"content":"You ' not in await client.read_some():
                pass
        await site.wait_for(lambda: site.in_flight == 1)
        started = trio.current_time()
        await client.stream.aclose()
        await site.wait_for(lambda: site.in_flight == 0)
        assert trio.current_time() - started < 0.5
        assert site.cancelled == 1

    with_server(check)


def test_slow_client_holds_the_upstream_back() -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        site.style = Style(tokens=400_000)
        site.delivery = Delivery(lines_per_write=200)
        client = await served.connect()
        async with client.stream:
            await client.send_request("POST", "/v1/chat/completions", chat(stream=True))
            while b'"content"' not in await client.read_some():
                pass
            sent = -1
            while sent != site.bytes_sent:  # until it stands still
                sent = site.bytes_sent
                await trio.sleep(0.3)
            assert sent < 16 * 1024 * 1024
            assert site.in_flight == 1

    with_server(check)


def test_keep_alive_and_pipelining() -> None:
    async def check(served: Served) -> None:
        client = await served.connect()
        async with client.stream:
            requests = [
                encode_request("GET", "/v1/models/grok-3"),
                encode_request("POST", "/v1/chat/completions", chat("one", stream=True)),
                encode_request("POST", "/v1/chat/completions", chat("two")),
                encode_request("GET", "/health"),
            ]
            await client.send(b"".join(requests))
            assert (await client.read_response()).json["id"] == "grok-3"
            assert "one" in (await client.read_response()).text
            assert "two" in (await client.read_response()).text
            assert (await client.read_response()).json["status"] == "ok"

    with_server(check)


def test_many_at_once_do_not_touch_each_other() -> None:
    async def check(served: Served) -> None:
        served.simulator.site.delivery = Delivery(pace=0.001)
        answers: dict[int, str] = {}

        async def ask(number: int) -> None:
            answers[number] = (await served.chat(f"number {number}!", stream=number % 2 == 0)).text

        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(ask, number)
        assert len(answers) == 40
        assert all(f"number {number}! " in text for number, text in answers.items())

    with_server(check, ACQUIRE_WAIT="15")


def test_graceful_stop() -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        site.delivery = Delivery(pace=0.02)
        idle = await served.connect()
        busy = await served.connect()
        async with idle.stream, busy.stream:
            await idle.send_request("GET", "/health")
            await idle.read_response()
            await busy.send_request("POST", "/v1/chat/completions", chat(stream=True))
            await site.wait_for(lambda: site.in_flight == 1)
            signal.raise_signal(signal.SIGTERM)
            assert await idle.is_closed()
            answer = await busy.read_response()
            assert answer.events[-1] is None
            assert await busy.is_closed()
        with pytest.raises(OSError, match="127"):
            await served.connect()

    with_server(check)


def test_stop_with_a_stream_that_does_not_end() -> None:
    async def check(served: Served) -> None:
        served.simulator.site.delivery = Delivery(pace=0.02)
        served.simulator.site.style = Style(tokens=100_000)
        client = await served.connect()
        async with client.stream:
            await client.send_request("POST", "/v1/chat/completions", chat(stream=True))
            await served.simulator.site.wait_for(lambda: served.simulator.site.in_flight == 1)
            signal.raise_signal(signal.SIGTERM)
            answer = await client.read_response()
            assert answer.whole
            assert answer.events[-1]["error"]["code"] == "shutting_down"
            assert await client.is_closed()

    with_server(check, SHUTDOWN_GRACE="0.2")


def test_rotation_over_the_accounts() -> None:
    async def check(served: Served) -> None:
        for _ in range(6):
            await served.chat()
        accounts = [each.account for each in served.simulator.site.received]
        assert sorted(accounts) == sorted([*("anna", "bert", "cleo") * 2])
        assert all(a != b for a, b in itertools.pairwise(accounts))

    with_server(check)


def test_no_account_at_all() -> None:
    async def check(served: Served) -> None:
        answer = await served.chat()
        assert answer.status == 503
        assert "SSO" in answer.error["message"]

    with_server(check, accounts=())
