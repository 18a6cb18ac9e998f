"""Several answers to one request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from grokproto import commands as c
from grokproto import events as e
from grokproto.dialects import DIALECTS
from grokproto.lease import Outcome
from grokproto.states import State
from tests.fixtures.load import read_body, read_stream
from tests.playbook import OK, FakeHost, Playbook, Response, answered, chat_body, make_exchange

DONE = e.Completed()


def ask(host: FakeHost, *, stream: bool, **fields: Any) -> c.Summary:
    """Ask for three answers."""
    return host.run(make_exchange(chat_body(stream=stream, n=3, **fields)))


def test_body() -> None:
    host = FakeHost(lambda _: answered("plain.ndjson"))
    summary = ask(host, stream=False)
    choices = host.json["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in choices}) == 1
    single = FakeHost(lambda _: answered("plain.ndjson"))
    single.run(make_exchange(chat_body()))
    cost, one = host.json["usage"], single.json["usage"]
    assert cost["prompt_tokens"] == one["prompt_tokens"]
    assert cost["completion_tokens"] == 3 * one["completion_tokens"]
    assert summary.completion_tokens == cost["completion_tokens"]
    assert summary.attempts == 3
    assert summary.status == 200
    assert host.released == [(name, Outcome.SERVED) for name in "abc"]


def test_each_has_a_credential_of_its_own_where_there_are() -> None:
    host = FakeHost(lambda _: answered("plain.ndjson"))
    ask(host, stream=False)
    assert host.avoided == [frozenset(), frozenset("a"), frozenset("ab")]


def test_stream() -> None:
    host = FakeHost(lambda _: answered("reasoning.ndjson"))
    fields = {"stream_options": {"include_usage": True}, "thinking_format": "reasoning_content"}
    ask(host, stream=True, **fields)
    *chunks, last, done = host.chunks
    assert done is None
    assert last["choices"] == []
    assert last["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
    assert len({chunk["id"] for chunk in chunks}) == 1
    single = FakeHost(lambda _: answered("reasoning.ndjson"))
    single.run(make_exchange(chat_body(stream=True, **fields)))
    expected = [chunk["choices"][0] for chunk in single.chunks if chunk and chunk["choices"]]
    for index in range(3):
        of_this = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == index]
        assert of_this == [{**choice, "index": index} for choice in expected]


@pytest.mark.parametrize("stream", [False, True])
def test_one_that_fails_fails_all(stream: bool) -> None:
    bad = Response(status=500, pieces=[b"{}"])
    replies = iter([answered("plain.ndjson"), bad, bad])
    host = FakeHost(lambda _: next(replies))
    summary = ask(host, stream=stream)
    assert summary.failure is not None
    if stream:
        assert host.status == 200
        assert "error" in host.chunks[-1]
        assert b"[DONE]" not in host.body
        assert {chunk["choices"][0]["index"] for chunk in host.chunks[:-1]} == {0}
    else:
        assert host.status == 502
        assert "error" in host.json
    assert len(host.requests) == 3, "the third was not begun"


def test_one_that_breaks_off_breaks_off_all() -> None:
    whole = read_stream("plain.ndjson")
    broken = Response(pieces=[whole[: len(whole) // 2]], end=e.RequestFailed("reset"))
    replies = iter([answered("plain.ndjson"), broken])
    host = FakeHost(lambda _: next(replies))
    ask(host, stream=True)
    assert host.body.count(b'"error"') == 1
    assert host.chunks[-1]["error"]["code"] == "network"
    assert {chunk["choices"][0]["index"] for chunk in host.chunks[:-1]} == {0, 1}
    assert host.released == [("a", Outcome.SERVED), ("b", Outcome.SERVED)]


def test_one_that_fails_over_is_as_good_as_any() -> None:
    limit = Response(429, OK, [read_body("limit.json")])
    replies = iter([limit, *[answered("plain.ndjson")] * 3])
    host = FakeHost(lambda _: next(replies))
    assert ask(host, stream=True).failure is None
    assert host.released[0] == ("a", Outcome.LIMITED)
    assert len(host.released) == 4


def test_no_credential() -> None:
    host = FakeHost(lambda _: answered("plain.ndjson"), leases=())
    ask(host, stream=True)
    assert host.status == 429
    assert host.headers["retry-after"] == "60"
    assert host.json["error"]["type"] == "rate_limit_error"


def fork(stream: bool = True) -> tuple[Playbook, c.Fork]:
    """An exchange that is divided."""
    book = Playbook(make_exchange(chat_body(stream=stream, n=2)))
    book >> e.Start() << c.Fork
    assert book.exchange.state is State.DIVIDED
    assert isinstance(book.command, c.Fork)
    return book, book.command


def test_client_leaves() -> None:
    book, _ = fork()
    book >> e.ClientClosed() << c.Finish
    assert isinstance(book.command, c.Finish)
    assert book.command.summary.client_closed


def test_server_stops() -> None:
    book, _ = fork()
    book >> e.ServerStopping() << (lambda command: command.status == 503)
    book >> DONE << (lambda command: b"stopping" in command.data)
    book >> DONE << c.EndResponse >> DONE << c.Finish


def test_server_stops_in_the_middle_of_a_stream() -> None:
    book, divided = fork()
    assert divided.join.take(0, c.SendResponse(200, ())) == ()
    commands = divided.join.take(0, c.SendData(b"data: {}\n\n"))
    assert [type(command) for command in commands] == [c.SendResponse, c.SendData]
    assert not divided.join.over
    book >> e.ServerStopping() << (lambda command: b"stopping" in command.data)
    book >> DONE << c.EndResponse >> DONE << c.Finish


def test_branch_that_is_stopped_says_nothing() -> None:
    _, divided = fork()
    branch = divided.branches[0]
    assert isinstance(branch.handle(e.Start(), 0.0), c.AcquireCredential)
    command = branch.handle(e.ServerStopping(), 0.0)
    assert isinstance(command, c.Finish)
    assert command.summary.status is None


def test_interleaved_streams_keep_their_indices() -> None:
    _, divided = fork()
    seen: list[tuple[int, str]] = []
    for turn in range(3):
        for index in (1, 0):
            chunk = {"choices": [{"index": index, "delta": {"content": str(turn)}}]}
            divided.join.take(index, c.SendResponse(200, ()))
            for command in divided.join.take(index, c.SendData(json.dumps(chunk).encode())):
                if isinstance(command, c.SendData):
                    got = json.loads(command.data)["choices"][0]
                    seen.append((got["index"], got["delta"]["content"]))
    assert seen == [(1, "0"), (0, "0"), (1, "1"), (0, "1"), (1, "2"), (0, "2")]


def test_pings() -> None:
    for stream in (True, False):
        request = DIALECTS["openai_chat"].decode_request(chat_body(stream=stream, n=2), {})
        choices = DIALECTS["openai_chat"].build_choices(request, "1", 1)
        assert choices.ping() == (b": ping\n\n" if stream else b"")
        assert choices.build_encoder(1).ping() == choices.ping()


def test_bytes_of_a_failed_branch_are_left_out() -> None:
    _, divided = fork(stream=False)
    divided.join.take(0, c.SendResponse(502, ()))
    assert divided.join.take(0, c.SendData(b"{}")) == ()
    assert divided.join.take(0, c.EndResponse()) == ()
