"""`grokproto.exchange`: attempts, fail-over, pictures; by outcome."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from grokproto import commands as c
from grokproto import events as e
from grokproto.failures import POLICIES, FailureKind
from grokproto.lease import Outcome
from grokproto.secret import Secret
from grokproto.settings import ImageHost, SearchFormat, Settings, ThinkingFormat
from tests.fixtures import build
from tests.fixtures.load import BODY_EXPECTATIONS, STREAM_EXPECTATIONS, read_body, read_stream
from tests.playbook import FakeHost, Response, answered, chat_body, make_exchange
from tests.proto.test_exchange import chat_body_with_picture

PNG = b"\x89PNG\r\n\x1a\nabc"
PNG_BASE64 = base64.b64encode(PNG).decode()
TWO = [base64.b64encode(PNG + tail).decode() for tail in (b"1", b"2")]
DATA_URI = "data:image/png;base64," + base64.b64encode(PNG).decode()
STREAM = chat_body(stream=True)
RESET = e.RequestFailed("reset by peer")
Respond = Callable[[c.UpstreamRequest], Response]


def refusal(name: str) -> Response:
    """A refusal from the fixtures."""
    expected = BODY_EXPECTATIONS[name]
    headers = tuple(expected["headers"].items())
    return Response(expected["status"], headers, [read_body(name)] if read_body(name) else [])


def in_turn(*responses: Response) -> Respond:
    """Gives these responses one after the other."""
    rest = list(responses)
    return lambda _: rest.pop(0)


def by_path(
    **responses: Response | Callable[[], Response],
) -> Callable[[c.UpstreamRequest], Response]:
    """Gives responses by a word in the address."""

    def respond(request: c.UpstreamRequest) -> Response:
        for word, response in responses.items():
            if word.replace("_", "-") in request.url:
                return response() if callable(response) else response
        raise AssertionError(request.url)

    return respond


def none_left(command: c.Command) -> e.Event | None:
    """A pool that has one credential and does not know when it will be good again."""
    if isinstance(command, c.AcquireCredential) and command.exclude:
        return e.NoCredential("None left.")
    return None


# What comes out, in both shapes


@pytest.mark.parametrize("name", sorted(STREAM_EXPECTATIONS))
def test_both_shapes_say_the_same(name: str) -> None:
    expected = STREAM_EXPECTATIONS[name]
    settings = Settings(thinking=ThinkingFormat.REASONING_CONTENT, max_attempts=1)
    respond = by_path(
        conversations=answered(name),
        assets=Response(pieces=[PNG]),
        rate_limits=refusal("dead_cookie.json"),
    )
    whole, streamed = FakeHost(respond), FakeHost(respond)
    whole.run(make_exchange(chat_body(), settings))
    streamed.run(make_exchange(STREAM, settings))
    if expected["error_kind"] is None:
        assert whole.status == streamed.status == 200
        assert whole.text == streamed.text
        assert whole.text.startswith(expected["content"])
        assert whole.text.count("![image](") == len(expected["images"])
        message = whole.json["choices"][0]["message"]
        assert message.get("reasoning_content", "") == expected["reasoning"]
        finish = [
            choice["finish_reason"] for chunk in streamed.chunks[:-1] for choice in chunk["choices"]
        ]
        wanted = "stop" if expected["finish_reason"] == "stop" else "content_filter"
        assert finish[-1] == wanted == whole.json["choices"][0]["finish_reason"]
        assert set(finish[:-1]) <= {None}
        assert streamed.chunks[-1] is None
        assert streamed.chunks[0]["choices"][0]["delta"]["role"] == "assistant"
        assert len({(chunk["id"], chunk["created"]) for chunk in streamed.chunks[:-1]}) == 1
    else:
        assert whole.json["error"]["code"] == expected["error_kind"]
        assert whole.status == POLICIES[FailureKind(expected["error_kind"])].status
        if expected["content"] or expected["reasoning"]:
            assert streamed.status == 200
            assert streamed.chunks[-1]["error"]["code"] == expected["error_kind"]
            assert b'finish_reason":"' not in streamed.body
            assert b"[DONE]" not in streamed.body
        else:
            assert streamed.body == whole.body


def test_one_delta_for_each_token() -> None:
    host = FakeHost(lambda _: answered("reasoning.ndjson"))
    host.run(make_exchange(STREAM))
    contents = [
        chunk["choices"][0]["delta"].get("content") for chunk in host.chunks if chunk is not None
    ]
    assert contents == ["", "<think>Count ", "the ", "legs.\n", "</think>\nEight", " legs.", None]


def test_usage_is_told_when_asked_for() -> None:
    host = FakeHost(lambda _: answered("reasoning.ndjson"))
    summary = host.run(
        make_exchange(chat_body(stream=True, stream_options={"include_usage": True}))
    )
    usage = host.chunks[-2]["usage"]
    assert usage["completion_tokens"] == summary.completion_tokens > 0
    assert 0 < usage["completion_tokens_details"]["reasoning_tokens"] < usage["completion_tokens"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_answer_without_an_end(size: int) -> None:
    data = b"".join(b'{"result":{"token":"%d "}}\n' % n for n in range(100))
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    settings = Settings(max_answer_bytes=1000, max_attempts=1)
    host = FakeHost(lambda _: Response(pieces=pieces))
    host.run(make_exchange(STREAM, settings))
    assert host.text == "".join(f"{n} " for n in range(37))
    assert host.chunks[-1]["error"]["code"] == "upstream"
    host = FakeHost(lambda _: Response(pieces=pieces))
    host.run(make_exchange(settings=settings))
    assert host.status == 502


def test_search_results_in_front() -> None:
    host = FakeHost(lambda _: answered("search.ndjson"))
    host.run(make_exchange(settings=Settings(search=frozenset({SearchFormat.FRONT}))))
    assert "</think>\n- [A & <b>](https://example.com/a?b=1&c=2)\n" in host.text
    host = FakeHost(lambda _: answered("search.ndjson"))
    host.run(make_exchange())
    assert "example.com" not in host.text


# Bad requests


def said(model: str, role: str) -> bytes:
    """A request whose last message has this role."""
    return chat_body(model, messages=[{"role": role, "content": "x"}])


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"{", 400, None),
        (chat_body("gpt-1"), 404, "model"),
        (chat_body(n=9), 400, "n"),
        (chat_body(text=""), 400, "messages"),
        (
            chat_body("grok-3-deepsearch", messages=[{"role": "assistant", "content": "x"}]),
            400,
            "messages",
        ),
        (
            chat_body("grok-2-imageGen", messages=[{"role": "system", "content": "x"}]),
            400,
            "messages",
        ),
        (chat_body_with_picture(*[PNG_BASE64] * 5), 400, "messages"),
    ],
)
def test_bad_requests_cost_nothing(body: bytes, status: int, param: str | None) -> None:
    host = FakeHost(in_turn())
    summary = host.run(make_exchange(body))
    assert host.status == summary.status == status
    assert host.json["error"]["param"] == param
    assert host.json["error"]["type"] == "invalid_request_error"
    assert host.acquired == []


# Failing over


@pytest.mark.parametrize("name", sorted(BODY_EXPECTATIONS))
def test_refusals(name: str) -> None:
    kind = FailureKind(BODY_EXPECTATIONS[name]["error_kind"])
    policy = POLICIES[kind]
    host = FakeHost(lambda _: refusal(name))
    summary = host.run(make_exchange(STREAM))
    attempts = {"never": 1, "once": 2, "freely": 3}[policy.retry.value]
    assert host.status == policy.status
    assert host.json["error"]["code"] == kind.value
    assert summary.attempts == attempts == len(set(host.acquired))
    assert [outcome for _, outcome in host.released] == [policy.outcome] * attempts


@pytest.mark.parametrize("body", [STREAM, chat_body()])
@pytest.mark.parametrize(
    "first",
    [
        refusal("limit.json"),
        refusal("dead_cookie_400.json"),
        refusal("blocked.json"),
        refusal("internal.json"),
        Response(instead=RESET),
        Response(end=RESET),
        Response(pieces=[read_stream("error_fatal.ndjson").splitlines(keepends=True)[-1]]),
        answered("nothing.ndjson"),
        Response(headers=(("content-type", "text/html"),), pieces=[b"<html>hello</html>"]),
    ],
    ids=lambda value: "",
)
def test_fail_over(body: bytes, first: Response) -> None:
    rest = [first]

    def respond(request: c.UpstreamRequest) -> Response:
        if "rate-limits" in request.url:
            return refusal("dead_cookie.json")
        return rest.pop(0) if rest else answered("plain.ndjson")

    host = FakeHost(respond)
    summary = host.run(make_exchange(body))
    assert host.status == 200
    assert host.text == STREAM_EXPECTATIONS["plain.ndjson"]["content"]
    assert summary.attempts == 2
    assert summary.failure is None
    assert host.acquired == ["a", "b"]


def test_body_fails_over_after_text_and_stream_does_not() -> None:
    broken = Response(pieces=read_stream("plain.ndjson").splitlines(keepends=True)[:7], end=RESET)
    host = FakeHost(in_turn(broken, answered("plain.ndjson")))
    host.run(make_exchange())
    assert host.text == STREAM_EXPECTATIONS["plain.ndjson"]["content"]
    assert host.released == [("a", Outcome.SERVED), ("b", Outcome.SERVED)]
    host = FakeHost(in_turn(broken))
    summary = host.run(make_exchange(STREAM))
    assert host.acquired == ["a"]
    assert host.chunks[-1]["error"]["code"] == "network"
    assert summary.failure is not None
    assert "reset by peer" in summary.failure.message


def test_stream_fails_over_after_pings() -> None:
    silent = iter([e.TimedOut(), None])
    host = FakeHost(in_turn(Response(end=RESET), answered("plain.ndjson")))

    def interrupt(command: c.Command) -> e.Event | None:
        if isinstance(command, c.ReceiveData):
            event = next(silent, None)
            host.now += 16 if event else 0
            return event
        return None

    host.interrupt = interrupt
    host.run(make_exchange(STREAM))
    assert host.body.startswith(b": ping\n\n")
    assert host.text == STREAM_EXPECTATIONS["plain.ndjson"]["content"]


def test_dead_cookie_is_confirmed_once() -> None:
    def respond(request: c.UpstreamRequest) -> Response:
        return refusal("dead_cookie.json")

    host = FakeHost(respond, leases=["a"])
    host.run(make_exchange())
    assert [request.url.rsplit("/", 1)[1] for request in host.requests] == ["new", "rate-limits"]
    assert host.released == [("a", Outcome.REFUSED)]
    assert host.status == 503
    assert "sso" in host.json["error"]["message"]


def test_dead_cookie_of_the_clients_own_is_told_as_its_key() -> None:
    host = FakeHost(lambda _: refusal("dead_cookie.json"), leases=["a"])
    host.run(make_exchange(settings=Settings(own_cookie=True)))
    assert host.status == 401


@pytest.mark.parametrize(
    "second",
    [
        Response(pieces=[b'{"windowSizeSeconds":60,"remainingQueries":1,"totalQueries":2}']),
        Response(instead=RESET),
        refusal("challenge.html"),
    ],
    ids=["good", "reset", "challenge"],
)
def test_dead_cookie_that_is_not_confirmed(second: Response) -> None:
    host = FakeHost(
        by_path(rate_limits=second, conversations=refusal("dead_cookie.json")), leases=["a"]
    )
    host.run(make_exchange())
    assert host.released == [("a", Outcome.UNUSED)]


def test_limit_is_told_with_the_earliest_change() -> None:
    host = FakeHost(lambda _: refusal("limit.json"), leases=["a"])
    host.run(make_exchange())
    assert host.status == 429
    assert host.headers["retry-after"] == "60"  # of the pool, which knows all of them
    assert host.json["error"]["code"] == "no_credential"
    assert host.releases[0].failure is not None
    assert host.releases[0].failure.retry_after == 30


def test_limit_with_nobody_who_knows_when() -> None:
    host = FakeHost(lambda _: refusal("limit_bare.json"), leases=["a"])
    host.interrupt = none_left
    host.run(make_exchange())
    assert host.status == 429
    assert host.json["error"]["code"] == "rate_limited"


def test_fault_of_nobodys_is_told_although_there_is_no_other_credential() -> None:
    host = FakeHost(lambda _: Response(instead=RESET), leases=["a"])
    host.run(make_exchange())
    assert host.status == 502
    assert host.json["error"]["code"] == "network"


def test_attempts_are_bounded() -> None:
    host = FakeHost(lambda _: refusal("limit.json"), leases=[f"c{n}" for n in range(50)])
    host.run(make_exchange(settings=Settings(max_attempts=5)))
    assert len(host.acquired) == 5


def test_storm_of_faults_costs_two_calls() -> None:
    host = FakeHost(lambda _: Response(instead=RESET), leases=[f"c{n}" for n in range(50)])
    host.run(make_exchange(settings=Settings(max_attempts=20)))
    assert len(host.requests) == 2


@pytest.mark.parametrize(
    ("first", "again"),
    [(refusal("limit.json"), False), (refusal("internal.json"), True), (RESET, True)],
    ids=["the account's", "Grok's", "the network's"],
)
def test_pool_is_told_whose_fault_the_last_attempt_was(
    first: Response | e.RequestFailed, again: bool
) -> None:
    failed = first if isinstance(first, Response) else Response(instead=first)
    host = FakeHost(in_turn(failed, answered("plain.ndjson")))
    host.run(make_exchange())
    asked = [each.again for each in host.commands if isinstance(each, c.AcquireCredential)]
    assert asked == [False, again]


def test_pool_that_spares_grok_a_second_try_is_heeded() -> None:
    host = FakeHost(in_turn(refusal("internal.json")))

    def interrupt(command: c.Command) -> e.Event | None:
        if isinstance(command, c.AcquireCredential) and command.again:
            return e.NoCredential("Not again.")
        return None

    host.interrupt = interrupt
    host.run(make_exchange())
    assert (host.status, host.json["error"]["code"]) == (502, "upstream")


# Quotas


def test_quota_is_asked_for_when_the_answer_is_out() -> None:
    limits = Response(pieces=[b'{"windowSizeSeconds":60,"remainingQueries":1,"totalQueries":2}'])
    respond = by_path(rate_limits=limits, conversations=answered("plain.ndjson"))
    host = FakeHost(respond, wants_quota=True)
    host.run(make_exchange())
    assert host.releases[0].quota is not None
    assert host.releases[0].quota.remaining == 1
    ended = host.commands.index(c.EndResponse())
    assert any(isinstance(command, c.SendRequest) for command in host.commands[ended:])
    host = FakeHost(respond, wants_quota=True)
    host.run(make_exchange(settings=Settings(quota_probe=False)))
    assert len(host.requests) == 1


@pytest.mark.parametrize(
    "limits", [Response(instead=RESET), Response(500), Response(pieces=[b"?"])]
)
def test_quota_that_cannot_be_had_harms_nobody(limits: Response) -> None:
    respond = by_path(rate_limits=limits, conversations=answered("plain.ndjson"))
    host = FakeHost(respond, wants_quota=True)
    host.run(make_exchange())
    assert host.status == 200
    assert host.released == [("a", Outcome.SERVED)]
    assert host.releases[0].quota is None


# Pictures in


def uploaded(identity: str) -> Response:
    """An answer to an upload."""
    return Response(pieces=[json.dumps({"fileMetadataId": identity}).encode()])


def payloads(host: FakeHost, word: str) -> list[Any]:
    """What was sent to addresses with this word."""
    return [json.loads(request.body) for request in host.requests if word in request.url]


def test_pictures_are_uploaded_in_order() -> None:
    host = FakeHost(in_turn(uploaded("f1"), uploaded("f2"), answered("upload.ndjson")))
    host.run(make_exchange(chat_body_with_picture(*TWO)))
    assert [file["content"] for file in payloads(host, "upload-file")] == TWO
    assert payloads(host, "conversations")[0]["fileAttachments"] == ["f1", "f2"]


def test_older_call_for_uploads() -> None:
    rest = by_path(
        upload_file=Response(404), api=uploaded("f1"), conversations=answered("upload.ndjson")
    )
    host = FakeHost(rest)
    host.run(make_exchange(chat_body_with_picture()))
    assert payloads(host, "rpc")[0]["rpc"] == "uploadFile"
    assert payloads(host, "conversations")[0]["fileAttachments"] == ["f1"]


def test_failed_upload_is_a_failed_attempt() -> None:
    host = FakeHost(
        in_turn(
            uploaded("f1"),
            refusal("internal.json"),
            uploaded("f3"),
            uploaded("f4"),
            answered("upload.ndjson"),
        )
    )
    host.run(make_exchange(chat_body_with_picture(*TWO)))
    assert payloads(host, "conversations")[0]["fileAttachments"] == ["f3", "f4"]
    assert host.released == [("a", Outcome.UNUSED), ("b", Outcome.SERVED)]


@pytest.mark.parametrize(
    ("response", "status", "code"),
    [
        (Response(instead=RESET), 502, "network"),
        (Response(instead=e.TimedOut()), 504, "timed_out"),
        (Response(pieces=[b"{}"]), 502, "upstream"),
        (Response(400, pieces=[b'{"code":3,"message":"too small"}']), 400, "rejected"),
        (refusal("antibot.json"), 503, "anti_bot"),
    ],
    ids=["reset", "timeout", "no id", "rejected", "anti-bot"],
)
def test_uploads_that_fail(response: Response, status: int, code: str) -> None:
    host = FakeHost(lambda _: response)
    if isinstance(response.instead, e.TimedOut):
        host.interrupt = lambda _: setattr(host, "now", host.now + 61)
    host.run(make_exchange(chat_body_with_picture()))
    assert host.status == status
    assert host.json["error"]["code"] == code
    assert {outcome for _, outcome in host.released} == {Outcome.UNUSED}


# Pictures out

TUMY = ImageHost("tumy", "https://tumy.test", Secret("k"))
PICGO = ImageHost("picgo", "https://picgo.test", Secret("k"))
DRAW = chat_body("grok-3-imageGen", stream=True)


def drawn(settings: Settings, name: str = "image_streaming.ndjson", **far: Any) -> FakeHost:
    """What comes of a drawing with these far ends."""
    far = {"assets": Response(pieces=[PNG]), **far}
    host = FakeHost(by_path(conversations=answered(name), **far))
    host.run(make_exchange(DRAW, settings))
    return host


def test_pictures_as_data_uris() -> None:
    host = drawn(Settings())
    image = f"![image]({DATA_URI})"
    assert host.text == f"Done: two.\n\n{image}\n\n{image}"
    assert [request.url for request in host.requests[1:]] == [
        f"https://assets.grok.com/{build.picture(2)}",
        f"https://assets.grok.com/{build.picture(1)}",
    ]
    assert "sso=cookie-a" in dict(host.requests[1].headers)["cookie"]


def test_pictures_on_a_host() -> None:
    links = iter(("https://tumy.test/1", "https://tumy.test/2"))

    def upload() -> Response:
        return Response(pieces=[json.dumps({"data": {"links": {"url": next(links)}}}).encode()])

    host = drawn(Settings(image_hosts=(TUMY, PICGO)), tumy=upload)
    assert (
        host.text == "Done: two.\n\n![image](https://tumy.test/1)\n\n![image](https://tumy.test/2)"
    )


@pytest.mark.parametrize(
    "failed", [Response(500), Response(instead=RESET), Response(pieces=[b"{}"])]
)
def test_hosts_that_fail(failed: Response) -> None:
    second = Response(pieces=[b'{"image":{"url":"https://picgo.test/1"}}'])
    host = drawn(Settings(image_hosts=(TUMY, PICGO)), tumy=failed, picgo=second)
    assert host.text.count("https://picgo.test/1") == 2
    host = drawn(Settings(image_hosts=(TUMY, PICGO)), tumy=failed, picgo=failed)
    assert host.text.count(DATA_URI) == 2


def test_pictures_elsewhere_are_never_fetched() -> None:
    host = drawn(Settings(), "image_final_only.ndjson")
    assert "![image](https://elsewhere.example.com/p.png)" in host.text
    assert not [request for request in host.requests if "elsewhere" in request.url]


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (Response(instead=RESET), "network"),
        (Response(end=RESET), "network"),
        (refusal("challenge.html"), "cloudflare"),
        (Response(pieces=[b"<html>"]), "upstream"),
        (Response(pieces=[PNG] * 500), "upstream"),
    ],
    ids=["reset", "reset later", "challenge", "no picture", "too large"],
)
def test_pictures_that_cannot_be_fetched(response: Response, code: str) -> None:
    host = drawn(Settings(max_image_bytes=1000), assets=response)
    assert host.chunks[-1]["error"]["code"] == code
    assert b"[DONE]" not in host.body
    assert host.released == [("a", Outcome.SERVED)]


def test_call_that_was_made_twice_is_not_made_again() -> None:
    """A fault of nobody's costs two calls, wherever in an attempt it is."""
    host = FakeHost(by_path(conversations=answered("image_streaming.ndjson"), assets=Response(500)))
    host.run(make_exchange(chat_body("grok-3-imageGen")))
    assert (host.status, host.json["error"]["code"]) == (502, "upstream")
    assert len(host.requests) == 3
    host = FakeHost(by_path(upload_file=Response(404), api=Response(404)))
    host.run(make_exchange(chat_body_with_picture()))
    assert (host.status, len(host.requests)) == (502, 2)
    twice = e.RequestFailed("closed", repeated=True)  # as a host does with a kept connection
    host = FakeHost(lambda _: Response(instead=twice))
    host.run(make_exchange())
    assert (host.json["error"]["code"], len(host.requests)) == ("network", 1)


def test_picture_is_fetched_at_the_second_try() -> None:
    tries = iter((Response(503), Response(pieces=[PNG]), Response(pieces=[PNG])))
    host = drawn(Settings(), assets=lambda: next(tries))
    assert host.text.count(DATA_URI) == 2


def test_refusal_whose_body_breaks_off_is_told_by_its_status() -> None:
    host = FakeHost(lambda _: Response(429, pieces=[b"x"], end=RESET), leases=["a"])
    host.interrupt = lambda command: (
        e.NoCredential("None.")
        if isinstance(command, c.AcquireCredential) and command.exclude
        else None
    )
    host.run(make_exchange())
    assert host.json["error"]["code"] == "rate_limited"


def test_long_refusals_are_not_read_to_their_end() -> None:
    host = FakeHost(lambda _: Response(403, pieces=[b"x" * 50_000] * 4), leases=["a"])
    host.run(make_exchange())
    assert host.status == 502
    assert sum(isinstance(command, c.CloseRequest) for command in host.commands) == 1
