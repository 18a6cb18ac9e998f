"""`transports.simulator`: what it does wrong, on order."""

from __future__ import annotations

import base64
import itertools
from typing import Any

import httpcore
import pytest
import trio

from grokproto.failures import FailureKind
from grokproto.grok.calls import CONVERSATIONS, RATE_LIMITS, UPLOAD_FILE
from grokproto.grok.refusals import read_refusal
from tests.fixtures.load import BODY_EXPECTATIONS, read_body
from tests.proto.reading import describe, read
from tests.transports.simulated import Client, Reply, with_simulator
from transports.simulator import Delivery, FaultKind, Simulator, Style
from transports.simulator.framing import FRAMINGS
from transports.simulator.pictures import draw_png
from transports.upstream.codings import CodingError

PLAIN = "You asked: hello — simulated answers are made of plain words so that a reader sees Done."
PICTURE = {"fileName": "a.png", "content": base64.b64encode(draw_png(1)).decode()}

REFUSED = {
    FaultKind.BLOCK_PAGE: (403, FailureKind.CLOUDFLARE),
    FaultKind.ANTI_BOT: (403, FailureKind.ANTI_BOT),
    FaultKind.DEAD_COOKIE: (401, FailureKind.UNAUTHORIZED),
    FaultKind.BLOCKED_ACCOUNT: (403, FailureKind.BLOCKED),
    FaultKind.LIMIT: (429, FailureKind.RATE_LIMITED),
    FaultKind.SERVER_ERROR: (500, FailureKind.UPSTREAM),
    FaultKind.SERVER_ERROR_PAGE: (502, FailureKind.UPSTREAM),
    FaultKind.OVERLOADED: (503, FailureKind.OVERLOADED),
    FaultKind.REDIRECT: (302, FailureKind.UPSTREAM),
}
NOTHING = {FaultKind.NO_CONTENT: 204, FaultKind.EMPTY: 200}
BROKEN: dict[FaultKind, type[Exception] | tuple[type[Exception], ...]] = {
    FaultKind.RESET_BEFORE_BODY: httpcore.NetworkError,
    FaultKind.RESET_BEFORE_HEAD: httpcore.NetworkError,
    FaultKind.RESET_IN_HEAD: (httpcore.NetworkError, httpcore.RemoteProtocolError),
    FaultKind.NOT_HTTP: httpcore.RemoteProtocolError,
    FaultKind.HUGE_HEADERS: httpcore.RemoteProtocolError,
    FaultKind.RESET_AFTER_HEAD: httpcore.NetworkError,
    FaultKind.RESET: httpcore.NetworkError,
    FaultKind.CUT: httpcore.RemoteProtocolError,
    FaultKind.CLOSE: httpcore.RemoteProtocolError,
    FaultKind.WRONG_LENGTH: httpcore.RemoteProtocolError,
    FaultKind.TRUNCATED_GZIP: CodingError,
    FaultKind.BAD_GZIP: CodingError,
}
IN_THE_MIDDLE = {
    FaultKind.RESET,
    FaultKind.CUT,
    FaultKind.CLOSE,
    FaultKind.WRONG_LENGTH,
    FaultKind.TRUNCATED_GZIP,
    FaultKind.BAD_GZIP,
}
STALLS = [
    FaultKind.STALL_BEFORE_BODY,
    FaultKind.STALL_BEFORE_HEAD,
    FaultKind.STALL_AFTER_HEAD,
    FaultKind.STALL,
]
EARLY: dict[FaultKind, tuple[bool, str | None]] = {
    FaultKind.EARLY_END: (True, None),
    FaultKind.EARLY_END_BY_CLOSE: (False, "truncated"),
    FaultKind.SHORT_LENGTH: (True, "truncated"),
    FaultKind.ERROR_LINE: (True, "upstream"),
    FaultKind.ERROR_FATAL: (True, "upstream"),
    FaultKind.LIMIT_IN_STREAM: (True, "rate_limited"),
}
WHOLE = [
    FaultKind.ERROR_NORMAL,
    FaultKind.GARBAGE,
    FaultKind.LONG_LINE,
    FaultKind.DEEP_NESTING,
    FaultKind.NAN,
    FaultKind.DRIP,
    FaultKind.END_BY_CLOSE,
    FaultKind.INVALID_UTF8,
]
ENDLESS = [FaultKind.ENDLESS_LINE, FaultKind.ENDLESS_ANSWER, FaultKind.BOMB]


def describe_reply(reply: Reply, *, framed: bool = True) -> dict[str, Any]:
    """What a reader makes of an answer."""
    return describe(read([reply.body], framed=framed))


def test_every_fault_is_tested_here() -> None:
    tested = {*REFUSED, *NOTHING, *BROKEN, *STALLS, *EARLY, *WHOLE, *ENDLESS}
    assert tested == set(FaultKind) - {FaultKind.ANSWER, FaultKind.RAW}


@pytest.mark.parametrize("kind", REFUSED)
def test_refusals_cost_nothing(kind: FaultKind) -> None:
    status, failure = REFUSED[kind]

    async def check(simulator: Simulator, client: Client) -> None:
        simulator.site.faults.order(kind)
        reply = await client.ask()
        assert reply.status == status
        assert read_refusal(status, dict(reply.headers), reply.body).kind is failure
        assert simulator.site.accounts.get("anna").calls == 0
        assert describe_reply(await client.ask())["content"] == PLAIN
        assert simulator.site.calls == {CONVERSATIONS: 2}

    with_simulator(check)


@pytest.mark.parametrize("kind", NOTHING)
def test_answers_that_say_nothing(kind: FaultKind) -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        simulator.site.faults.order(kind)
        reply = await client.ask()
        assert (reply.status, reply.body) == (NOTHING[kind], b"")

    with_simulator(check)


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_answers(kind: FaultKind) -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        simulator.site.faults.order(kind)
        pieces: list[bytes] = []
        with pytest.raises(BROKEN[kind]):
            await client.call(
                "POST",
                CONVERSATIONS,
                b'{"message":"hello","modelName":"grok-3"}',
                headers={"cookie": "sso=anna"},
                on_piece=pieces.append,
            )
        if kind is FaultKind.RESET:  # a reset may overtake what was sent before it
            pass
        elif kind in IN_THE_MIDDLE:
            assert b"".join(pieces).startswith(b'{"result":{"conversation"')
            assert b'"token":"asked: "' in b"".join(pieces)
            assert b"".join(pieces).endswith(b"\n") is (kind is not FaultKind.CUT)
        else:
            assert pieces == []
        assert describe_reply(await client.ask())["content"] == PLAIN
        if kind is not FaultKind.HUGE_HEADERS:  # there it is the client that gives up
            assert simulator.site.cancelled == 0

    with_simulator(check)


@pytest.mark.parametrize("path", [CONVERSATIONS, UPLOAD_FILE])
@pytest.mark.parametrize("kind", STALLS)
def test_stalls_last_until_the_client_leaves(kind: FaultKind, path: str) -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        site = simulator.site
        site.faults.order(kind, path=path)
        async with trio.open_nursery() as nursery:
            question = {"message": "hello", "modelName": "grok-3", **PICTURE}
            nursery.start_soon(client.post, path, question)
            await site.wait_for(lambda: site.open_calls == 1)
            if kind is FaultKind.STALL:
                await site.wait_for(lambda: site.bytes_sent > 0)
            assert site.cancelled == 0
            nursery.cancel_scope.cancel()
        await site.wait_for(lambda: site.cancelled == 1)
        assert site.cancelled_paths == {path: 1}
        assert (site.open_calls, site.in_flight) == (0, 0)

    with_simulator(check)


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("kind", EARLY)
def test_answers_that_end_early(kind: FaultKind, framing: str) -> None:
    framed, error = EARLY[kind]

    async def check(simulator: Simulator, client: Client) -> None:
        simulator.site.style = Style(framing=framing)
        simulator.site.faults.order(kind)
        reply = await client.ask()
        delimited = {"content-length", "transfer-encoding"} & {n for n, _ in reply.headers}
        assert bool(delimited) is framed
        found = describe_reply(reply, framed=framed)
        assert found["error_kind"] == error
        assert found["content"].startswith("You asked: hello")
        assert not found["content"].endswith("Done.")

    with_simulator(check)


@pytest.mark.parametrize("path", [CONVERSATIONS, "/rest/app-chat/conversations/abc/responses"])
@pytest.mark.parametrize("kind", WHOLE)
def test_answers_that_are_whole_all_the_same(kind: FaultKind, path: str) -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        question = {"message": "hello", "modelName": "grok-3"}
        plain = await client.post(path, question)
        simulator.site.faults.order(kind, path=path)
        reply = await client.post(path, question)
        framed = kind is not FaultKind.END_BY_CLOSE
        assert (reply.header("transfer-encoding") == "chunked") is framed
        found = describe_reply(reply, framed=framed)
        assert found["content"].replace("\ufffd", "") == PLAIN
        assert ("\ufffd" in found["content"]) is (kind is FaultKind.INVALID_UTF8)
        assert (found["finish_reason"], found["error_kind"]) == ("stop", None)
        if kind is FaultKind.LONG_LINE:
            assert len(reply.body) > 5_000_000
        elif kind is FaultKind.DRIP:
            assert {len(piece) for piece in reply.pieces} == {1}
        elif kind is not FaultKind.END_BY_CLOSE:
            assert len(reply.body) > len(plain.body) + 20

    with_simulator(check)


def test_drip_takes_its_time() -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        simulator.site.delivery = Delivery(drip=0.0001)
        simulator.site.replay = [b'{"result":{"token":"a"}}\n']
        simulator.site.faults.order(FaultKind.DRIP)
        begun = trio.current_time()
        assert describe_reply(await client.ask())["content"] == "a"
        assert trio.current_time() - begun >= 0.0001 * 25

    with_simulator(check)


@pytest.mark.parametrize("lines_per_write", [0, 1])
@pytest.mark.parametrize("kind", ENDLESS)
def test_endless_answers_end_with_the_client(kind: FaultKind, lines_per_write: int) -> None:
    enough = 1_000_000 if kind is FaultKind.ENDLESS_ANSWER else 16_000_000

    async def check(simulator: Simulator, client: Client) -> None:
        simulator.site.delivery = Delivery(lines_per_write=lines_per_write)
        simulator.site.faults.order(kind)
        received = 0
        with trio.CancelScope() as scope:

            def take(piece: bytes) -> None:
                nonlocal received
                received += len(piece)
                if received > enough:
                    scope.cancel()

            body = b'{"message":"hello","modelName":"grok-3"}'
            cookie = {"cookie": "sso=anna"}
            await client.call("POST", CONVERSATIONS, body, headers=cookie, on_piece=take)
        assert scope.cancelled_caught
        await simulator.site.wait_for(lambda: simulator.site.cancelled == 1)
        if kind is FaultKind.BOMB:
            assert simulator.site.bytes_sent < enough // 100

    with_simulator(check)


@pytest.mark.parametrize("name", sorted(BODY_EXPECTATIONS))
def test_any_other_answer(name: str) -> None:
    expected = BODY_EXPECTATIONS[name]

    async def check(simulator: Simulator, client: Client) -> None:
        body = read_body(name)
        simulator.site.faults.order_answer(expected["status"], expected["headers"], body)
        reply = await client.ask()
        assert (reply.status, reply.body) == (expected["status"], body)
        found = read_refusal(reply.status, dict(reply.headers), reply.body)
        assert found.kind.value == expected["error_kind"]

    with_simulator(check)


def test_any_bytes_at_all() -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        pieces = [b"HTTP/1.1 200 Fine\r\n", b"content-length: 2\r\n\r\n", b"hi"]
        simulator.site.faults.order_raw(pieces, times=2)
        for _ in range(2):
            assert (await client.ask()).body == b"hi"
        simulator.site.faults.order_raw([b"nonsense\r\n\r\n"])
        with pytest.raises(httpcore.RemoteProtocolError):
            await client.ask()
        simulator.site.faults.order_raw(itertools.repeat(b"HTTP/1.1 100 Go on\r\n\r\n"))
        with trio.move_on_after(0.1) as scope:
            await client.ask()
        assert scope.cancelled_caught
        await simulator.site.wait_for(lambda: simulator.site.cancelled == 1)

    with_simulator(check)


# Orders


def test_fault_in_a_message() -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        for _ in range(2):
            assert (await client.ask("USER: please [[fault:overloaded]]!")).status == 503
        assert (await client.ask("[[fault:unknown]]")).status == 200
        assert (await client.ask("[[fault:answer]]")).status == 200

    with_simulator(check)


def test_orders_are_limited() -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        faults = simulator.site.faults
        faults.order(FaultKind.OVERLOADED, times=2)
        faults.order(FaultKind.LIMIT, after=1)
        assert [(await client.ask()).status for _ in range(5)] == [503, 503, 200, 429, 200]
        faults.order(FaultKind.LIMIT, times=None)
        assert [(await client.ask()).status for _ in range(3)] == [429] * 3
        faults.clear()
        assert (await client.ask()).status == 200

    with_simulator(check)


def test_orders_for_an_account_or_a_path() -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        faults = simulator.site.faults
        faults.order(FaultKind.LIMIT, account="berta")
        assert (await client.ask()).status == 200
        assert (await client.ask(cookie="sso=berta")).status == 429
        faults.order(FaultKind.SERVER_ERROR, path="/rest/rate-*")
        assert (await client.ask()).status == 200
        assert (await client.post(RATE_LIMITS, {})).status == 500

    with_simulator(check)


def test_script_that_is_a_program() -> None:
    seen = []

    def choose(path: str, account: str | None, payload: dict[str, Any]) -> FaultKind | None:
        seen.append((path, account, payload.get("message")))
        return FaultKind.OVERLOADED if len(seen) == 2 else None

    async def check(simulator: Simulator, client: Client) -> None:
        simulator.site.faults.choose = choose
        assert [(await client.ask(text)).status for text in "abc"] == [200, 503, 200]
        assert seen == [(CONVERSATIONS, "anna", text) for text in "abc"]

    with_simulator(check)


def test_redirect_stays_here_so_that_following_it_is_seen() -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        simulator.site.faults.order(FaultKind.REDIRECT)
        location = (await client.ask()).header("location")
        assert location is not None
        await client.get(location)
        assert simulator.site.calls[location] == 1

    with_simulator(check)


@pytest.mark.parametrize("kind", [FaultKind.CUT, FaultKind.RESET, FaultKind.WRONG_LENGTH])
def test_pictures_and_uploads_break_too(kind: FaultKind) -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        faults = simulator.site.faults
        faults.order(kind, path=UPLOAD_FILE)
        with pytest.raises(BROKEN[kind]):
            await client.post(UPLOAD_FILE, PICTURE)
        reply = await client.ask(toolOverrides={"imageGen": True})
        path = "/" + describe_reply(reply)["images"][0]
        faults.order(kind, path="/users/*")
        with pytest.raises(BROKEN[kind]):
            await client.get(path)
        assert (await client.get(path)).status == 200
        faults.order(kind, path="/")
        with pytest.raises(BROKEN[kind]):
            await client.get("/", cookie="")

    with_simulator(check)


def test_faults_need_no_long_answer() -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        simulator.site.replay = [b'{"result":{"token":"a"}}\n']
        for kind in (FaultKind.CUT, FaultKind.CLOSE):
            simulator.site.faults.order(kind)
            with pytest.raises(httpcore.RemoteProtocolError):
                await client.ask()
        simulator.site.replay = []
        simulator.site.faults.order(FaultKind.CUT)
        with pytest.raises(httpcore.RemoteProtocolError):
            await client.ask()

    with_simulator(check)
