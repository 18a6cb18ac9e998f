"""A far end that does wrong whatever can be done: each fault has its status, or its last event."""

from __future__ import annotations

import itertools
import socket
import zlib
from collections.abc import Iterable
from typing import Any

import attrs
import pytest
import structlog
import trio

from grokproto.failures import POLICIES
from tests.fixtures.build import one
from tests.tracebacks import find_traceback
from tests.transports.apart import Apart, with_process
from tests.transports.served import RawResponse, Served, chat, with_server
from tests.transports.test_served import recover
from transports.logs import configure_logs
from transports.simulator import FaultKind, Style

NEW = "/rest/app-chat/conversations/new"
SMALL = {"MAX_LINE_BYTES": "250000", "MAX_ANSWER_BYTES": "400000", "ACQUIRE_WAIT": "0"}
QUICK = {**SMALL, "UPSTREAM_FIRST_BYTE_TIMEOUT": "0.15", "UPSTREAM_IDLE_TIMEOUT": "0.15"}
"""For what stands still; anything else may take longer on a busy machine."""


@attrs.frozen
class Outcome:
    """What becomes of a request, and of the call that was granted for it."""

    status: int
    """Of a whole answer; of a stream that has not begun."""
    code: str | None
    """The error's; None where there is an answer after all."""
    counts: bool
    """The call has used up some of the account's quota."""
    begun: bool = False
    """A stream has begun before the fault; its last event is the error."""
    state: str = "ready"
    """Of the account, afterwards."""
    whole: str | None = None
    """The code of an answer that is no stream, where it is another: it goes on for longer."""
    may_be_early: bool = False
    """The fault may overtake what was sent before it."""


def middle(code: str, status: int = 502, **fields: Any) -> Outcome:
    """A fault in the middle of an answer: the call has been made."""
    return Outcome(status, code, counts=True, begun=True, **fields)


def early(code: str, status: int = 502, *, counts: bool = False, **fields: Any) -> Outcome:
    """A fault before there is an answer."""
    return Outcome(status, code, counts, **fields)


FINE = Outcome(200, None, counts=True)
OUTCOMES: dict[FaultKind, Outcome] = {
    FaultKind.BLOCK_PAGE: early("cloudflare", 503),
    FaultKind.ANTI_BOT: early("anti_bot", 503),
    FaultKind.DEAD_COOKIE: early("unauthorized", 503),  # the second question is answered
    FaultKind.BLOCKED_ACCOUNT: early("blocked", 503, counts=True, state="disabled"),
    FaultKind.LIMIT: early("no_credential", 429, counts=True, state="cooling"),
    FaultKind.SERVER_ERROR: early("upstream"),
    FaultKind.SERVER_ERROR_PAGE: early("upstream"),
    FaultKind.OVERLOADED: early("overloaded", 503),
    FaultKind.REDIRECT: early("upstream"),
    FaultKind.NO_CONTENT: early("upstream"),
    FaultKind.EMPTY: early("empty", counts=True),
    FaultKind.RESET_BEFORE_BODY: early("network"),
    FaultKind.STALL_BEFORE_BODY: early("timed_out", 504, counts=True),
    FaultKind.RESET_BEFORE_HEAD: early("network"),
    FaultKind.STALL_BEFORE_HEAD: early("timed_out", 504, counts=True),
    FaultKind.RESET_IN_HEAD: early("network"),
    FaultKind.NOT_HTTP: early("network"),
    FaultKind.HUGE_HEADERS: early("network"),
    FaultKind.RESET_AFTER_HEAD: early("network", counts=True),
    FaultKind.STALL_AFTER_HEAD: early("timed_out", 504, counts=True),
    FaultKind.RESET: middle("network", may_be_early=True),
    FaultKind.STALL: middle("timed_out", 504),
    FaultKind.CUT: middle("network"),
    FaultKind.CLOSE: middle("network"),
    FaultKind.EARLY_END: FINE,  # its framing says that it is whole
    FaultKind.EARLY_END_BY_CLOSE: middle("truncated"),
    FaultKind.WRONG_LENGTH: middle("network"),
    FaultKind.SHORT_LENGTH: middle("truncated"),
    FaultKind.TRUNCATED_GZIP: middle("network"),
    FaultKind.BAD_GZIP: middle("network"),
    FaultKind.BOMB: middle("upstream"),
    FaultKind.ENDLESS_LINE: middle("upstream"),
    FaultKind.ENDLESS_ANSWER: middle("upstream"),
    FaultKind.ERROR_LINE: middle("upstream"),
    FaultKind.ERROR_FATAL: middle("upstream"),
    FaultKind.LIMIT_IN_STREAM: middle("rate_limited", 429, state="cooling", whole="no_credential"),
    FaultKind.ERROR_NORMAL: FINE,
    FaultKind.GARBAGE: FINE,
    FaultKind.LONG_LINE: FINE,
    FaultKind.DEEP_NESTING: FINE,
    FaultKind.NAN: FINE,
    FaultKind.INVALID_UTF8: FINE,
    FaultKind.DRIP: FINE,
    FaultKind.END_BY_CLOSE: FINE,
}


@pytest.fixture(autouse=True)
def logs() -> Any:
    """Logs as they are in use; a traceback in them is a fault of ours."""
    configure_logs("info", "json")
    yield
    structlog.reset_defaults()


def hold_stream(answer: RawResponse, code: str | None) -> None:
    """A stream that has begun, and has a clear end."""
    assert answer.whole
    assert answer.status == 200
    reasons = [
        event["choices"][0]["finish_reason"]
        for event in answer.events
        if event and event.get("choices")
    ]
    if code is None:
        assert answer.events[-1] is None
        assert reasons[-1] == "stop"
    else:
        assert answer.events[-1]["error"]["code"] == code
        assert set(reasons) <= {None}  # nothing says that it is whole


def hold_failure(answer: RawResponse, status: int, code: str) -> None:
    """An answer that says what went wrong."""
    assert (answer.status, answer.error["code"]) == (status, code)
    assert answer.whole
    assert len(answer.error["message"]) > 20
    assert answer.headers["x-should-retry"] in ("true", "false")


LARGE = {**SMALL, "MAX_LINE_BYTES": "6000000", "MAX_ANSWER_BYTES": "6000000"}
"""As a line of 5 MB needs it."""
STALLS = {kind for kind, outcome in OUTCOMES.items() if outcome.code == "timed_out"}


@pytest.mark.parametrize("stream", [False, True])
def test_what_becomes_of_each_fault(stream: bool, capfd: pytest.CaptureFixture[str]) -> None:
    assert {*OUTCOMES} == {*FaultKind} - {FaultKind.ANSWER, FaultKind.RAW}
    quotas = {"grok-3": (10**6, 60.0)}
    for kinds, limits in (
        ({*OUTCOMES} - STALLS - {FaultKind.LONG_LINE}, SMALL),
        ({FaultKind.LONG_LINE}, LARGE),
        (STALLS, QUICK),
    ):

        async def check(served: Served, kinds: set[FaultKind] = kinds) -> None:
            for kind in sorted(kinds, key=str):
                await order_and_look(served, kind, stream)
            recover(served)
            assert (await served.chat()).status == 200

        with_server(check, quotas=quotas, **limits)
    assert find_traceback("".join(capfd.readouterr())) == ""


async def order_and_look(served: Served, kind: FaultKind, stream: bool) -> None:
    """Let a fault happen to an account that nothing has happened to."""
    site, outcome = served.simulator.site, OUTCOMES[kind]
    recover(served)
    site.faults.order(kind, times=None)
    answer = await served.chat(stream=stream)
    site.faults.clear()
    try:
        if outcome.may_be_early and answer.status != 200:
            hold_failure(answer, outcome.status, outcome.code or "")
        elif stream and (outcome.begun or outcome.code is None):
            hold_stream(answer, outcome.code)
        elif outcome.code is not None:
            hold_failure(answer, outcome.status, outcome.whole or outcome.code)
        else:
            assert answer.status == 200
            assert answer.json["choices"][0]["finish_reason"] == "stop"
            assert len(answer.text) > 20
        (status,) = served.scheduler.pool.status(served.scheduler.unix_now)
        (group,) = status.groups
        assert status.in_flight == 0
        assert status.state.value == outcome.state
        assert group.total - group.remaining == outcome.counts
    except AssertionError as exc:
        raise AssertionError(f"{kind}: {answer}") from exc


BODIES: dict[str, tuple[str, bytes]] = {
    "nothing": ("text/plain", b""),
    "JSON": ("application/json", b'{"error":{"code":13,"message":"simulated"}}'),
    "JSON without an error": ("application/json", b'{"ok":true}'),
    "JSON of another kind": ("application/json", b'[null,{"error":7}]'),
    "half of JSON": ("application/json", b'{"error":{"mess'),
    "a number": ("application/json", b"1e999"),
    "NaN": ("application/json", b'{"error":NaN}'),
    "deep JSON": ("application/json", b'{"error":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    "odd JSON": ("application/json", b'{"error":{"code":{},"message":["x"],"details":1}}'),
    "a page": ("text/html", b"<!doctype html><title>Sorry</title>"),
    "a challenge": ("text/html", b"<html><script>window._cf_chl_opt={}</script>"),
    "bytes": ("application/octet-stream", bytes(range(256)) * 1000),
    "a line end": (
        "application/json",
        b'{"error":{"message":"a\\r\\nx-evil: 1\\u0000\\u001b[31m"}}',
    ),
}
STATUSES = [
    *(200, 201, 202, 203, 204, 205, 206, 207, 226, 299),
    *(300, 301, 302, 303, 304, 305, 306, 307, 308, 399),
    *(*range(400, 419), 421, 422, 423, 424, 425, 426, 428, 429, 431, 444, 451, 499),
    *(*range(500, 512), 520, 521, 522, 523, 524, 525, 526, 527, 529, 530, 599, 600, 999),
]
KNOWN = {(policy.status, kind.value) for kind, policy in POLICIES.items()}


@pytest.mark.parametrize("name", BODIES)
def test_every_status_with_every_body(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    media_type, body = BODIES[name]

    async def check(served: Served) -> None:
        site = served.simulator.site
        for number, status in enumerate(STATUSES):
            recover(served)
            whole = b"" if status in (204, 205, 304) else body
            site.faults.order_answer(status, {"content-type": media_type}, whole, times=None)
            answer = await served.chat(stream=number % 2 == 0)
            site.faults.clear()
            told = (status, answer.status, answer.body)
            if answer.status == 200:  # a stream, or what looks like one, that has begun
                assert status == 200, told
                hold_stream(answer, answer.events[-1]["error"]["code"])
            else:
                assert (answer.status, answer.error["code"]) in KNOWN, told
                assert answer.whole, told
                assert "evil" not in answer.headers, told
                assert answer.error["message"].isprintable(), told
        recover(served)
        assert (await served.chat()).status == 200

    with_server(check, quotas={"grok-3": (10**6, 60.0)}, **SMALL)
    output = "".join(capfd.readouterr())
    assert find_traceback(output) == ""
    assert "\x1b" not in output


FRAME = one({"result": {"response": {"token": "a", "isThinking": False}}}) + b"\n"
SOFT_STOP = one({"result": {"response": {"token": "", "isSoftStop": True}}}) + b"\n"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n"


def chunk(data: bytes) -> bytes:
    """A chunk of a body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def by_length(length: bytes, body: bytes = FRAME, fields: bytes = b"") -> bytes:
    """A response with this length."""
    return OK + fields + b"content-length: " + length + b"\r\n\r\n" + body


BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "an empty line": b"\r\n\r\n",
    "HTTP/0.9": FRAME,
    "HTTP/2": b"HTTP/2 200\r\n\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2's settings": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18,
    "TLS": b"\x16\x03\x01\x00\x05hello",
    "no status": b"HTTP/1.1\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a status below all": b"HTTP/1.1 099 OK\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    "NUL in the head": OK + b"a: \x00\r\n\r\n",
    "a field without a colon": OK + b"a\r\n\r\n",
    "half a head": OK + b"a: b\r\n",
    "a switch of protocols": b"HTTP/1.1 101 Go\r\nupgrade: a\r\nconnection: upgrade\r\n\r\nabc",
    "interim responses and no other": b"HTTP/1.1 100 Go on\r\n\r\n" * 3,
    "two lengths": OK + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabc",
    "a negative length": by_length(b"-1"),
    "a length that is none": by_length(b"many"),
    "a huge length": by_length(b"9" * 40),
    "a length and chunks": CHUNKED + b"content-length: 3\r\n\r\nabc",
    "an unknown coding of the transfer": OK + b"transfer-encoding: gzip\r\n\r\nabc",
    "a size that is none": CHUNKED + b"\r\nxyz\r\n",
    "a negative size": CHUNKED + b"\r\n-1\r\n",
    "a chunk longer than its size": CHUNKED + b"\r\n1\r\nabc\r\n0\r\n\r\n",
    **{
        f"no {coding}": by_length(b"3", b"abc", f"content-encoding: {coding}\r\n".encode())
        for coding in ("gzip", "deflate", "br", "zstd", "gzip, gzip", "unknown")
    },
}
"""What is no HTTP response, or none with a body that can be had."""
UNFINISHED: dict[str, bytes] = {
    "a length that is too long": by_length(b"%d" % (len(FRAME) + 1)),
    "no framing": OK + b"\r\n" + FRAME,
    "chunks without their end": CHUNKED + b"\r\n" + chunk(FRAME),
    "half a chunk": CHUNKED + b"\r\nff\r\n" + FRAME,
    "half a size": CHUNKED + b"\r\n" + chunk(FRAME) + b"1",
    "half an end": CHUNKED + b"\r\n" + chunk(FRAME) + b"0\r\n",
    "half a line": CHUNKED + b"\r\n" + chunk(FRAME + FRAME[:9]) + b"0\r\n\r\n",
    "half a character": CHUNKED + b"\r\n" + chunk(FRAME + b'{"token":"\xe2\x80') + b"0\r\n\r\n",
}
"""Begins with a token, and has no good end."""


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_response(stream: bool, capfd: pytest.CaptureFixture[str]) -> None:
    async def check(served: Served) -> None:
        site = served.simulator.site
        for name, raw in BROKEN.items():
            recover(served)
            site.faults.order_raw([raw])
            answer = await served.chat(stream=stream)
            told = (name, answer)
            assert (answer.status, answer.error["code"]) == (502, "network"), told
            assert answer.error["message"].isprintable(), told
            assert "bytearray" not in answer.error["message"], told
        for name, raw in UNFINISHED.items():
            recover(served)
            site.faults.order_raw([raw])
            answer = await served.chat(stream=stream)
            error = answer.events[-1]["error"] if stream else answer.error
            assert answer.status == (200 if stream else 502), (name, answer)
            assert error["code"] in ("network", "truncated"), (name, answer)
        recover(served)
        site.faults.order_raw([b"HTTP/1.1 103 Early\r\n\r\n", OK, b"\r\n", FRAME, SOFT_STOP])
        assert (await served.chat(stream=stream)).text == "a"
        assert (await served.chat()).status == 200

    with_server(check, quotas={"grok-3": (10**6, 60.0)}, **SMALL)
    assert find_traceback("".join(capfd.readouterr())) == ""


def build_gzip(data: bytes) -> bytes:
    """Compressed, and not ended."""
    compressor = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)


def floods() -> dict[str, Iterable[bytes]]:
    """What goes on for ever; each thing is sent as fast as it is taken."""

    def flood(head: bytes, piece: bytes) -> Iterable[bytes]:
        return itertools.chain([head], itertools.repeat(piece))

    gzipped = CHUNKED + b"content-encoding: gzip\r\n\r\n" + chunk(build_gzip(FRAME))
    body = CHUNKED + b"\r\n" + chunk(FRAME)
    return {
        "interim responses": flood(b"", b"HTTP/1.1 100 Go on\r\n\r\n" * 500),
        "empty lines before the head": flood(b"", b"\r\n" * 5000),
        "a status line": flood(b"HTTP/1.1 200 ", b"a" * 10_000),
        "fields": flood(OK, b"a: b\r\n" * 2000),
        "a field": flood(OK + b"a: ", b"b" * 10_000),
        "the size of a chunk": flood(body, b"1" * 10_000),
        "an extension": flood(body + b"1;", b"a" * 10_000),
        "trailers": flood(body + b"0\r\n", b"a: b\r\n" * 2000),
        "tiny chunks": flood(body, b"1\r\n \r\n" * 2000),
        "empty lines": flood(body, chunk(b"\n" * 10_000)),
        "a line": flood(body, chunk(b"x" * 10_000)),
        "garbage": flood(body, chunk(b"x\n" * 5_000)),
        "titles": flood(body, chunk(one({"result": {"title": {"newTitle": "x"}}}) * 200)),
        "a coding of nothing": flood(gzipped, chunk(b"\x00\x00\x00\xff\xff" * 3000)),
    }


@pytest.mark.parametrize("name", floods())
def test_what_goes_on_for_ever_ends(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    async def check(served: Served) -> None:
        for stream in (False, True):
            served.simulator.site.faults.order_raw(floods()[name], times=None)
            answer = await served.chat(stream=stream)
            assert answer.whole
            error = answer.error if answer.status != 200 else answer.events[-1]["error"]
            assert error["code"] in ("network", "upstream", "timed_out"), answer
            await served.simulator.site.wait_for(lambda: served.simulator.site.open_calls == 0)
            served.simulator.site.faults.clear()
        assert (await served.chat()).status == 200

    timeouts = {"UPSTREAM_FIRST_BYTE_TIMEOUT": "0.5", "UPSTREAM_TOTAL_TIMEOUT": "1"}
    with_server(check, **SMALL, **timeouts)
    assert find_traceback("".join(capfd.readouterr())) == ""


# Before there is a connection


async def hold_unreachable(server: Apart, seconds: float) -> None:
    """Ask what cannot be reached; others are served meanwhile."""
    async with trio.open_nursery() as nursery:

        async def be_served() -> None:
            for _ in range(10):
                assert (await server.request("GET", "/health")).status == 200

        nursery.start_soon(be_served)
        for stream in (False, True):
            began = trio.current_time()
            answer = await server.request("POST", "/v1/chat/completions", chat(stream=stream))
            hold_failure(answer, 502, "network")
            assert trio.current_time() - began < seconds


def test_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    async def check(server: Apart) -> None:
        await hold_unreachable(server, 2)

    with_process(check, GROK_BASE_URL=f"http://127.0.0.1:{port}")


def test_no_connection_in_time() -> None:
    """Nobody accepts, and the queue at the door is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))

        async def check(server: Apart) -> None:
            await hold_unreachable(server, 3)

        with_process(
            check, GROK_BASE_URL=f"http://127.0.0.1:{port}", UPSTREAM_CONNECT_TIMEOUT="0.3"
        )
        for sock in waiting:
            sock.close()


@pytest.mark.parametrize("hello", [b"", b"\x16\x03\x03\x00\x05", b"HTTP/1.1 400 Bad\r\n\r\n"])
def test_handshake_that_does_not_end_well(hello: bytes) -> None:
    async def check(server: Apart) -> None:
        async def serve(stream: trio.SocketStream) -> None:
            async with stream:
                await stream.send_all(hello or b"\x16")
                while await stream.receive_some():
                    pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, serve, listeners)
            await hold_unreachable(server, 3)
            nursery.cancel_scope.cancel()

    async def find_port() -> int:
        listeners.extend(await trio.open_tcp_listeners(0, host="127.0.0.1"))
        port: int = listeners[0].socket.getsockname()[1]
        return port

    listeners: list[trio.SocketListener] = []
    port = trio.run(find_port)
    with_process(check, GROK_BASE_URL=f"https://127.0.0.1:{port}", UPSTREAM_CONNECT_TIMEOUT="0.3")


# What it costs


def test_what_a_far_end_can_make_it_keep() -> None:
    """Memory with the limits as they are by default: bounded by them, and given back."""
    kinds = (
        *(FaultKind.BOMB, FaultKind.ENDLESS_LINE, FaultKind.HUGE_HEADERS, FaultKind.LONG_LINE),
        *(FaultKind.DEEP_NESTING, FaultKind.GARBAGE),
    )

    async def check(server: Apart) -> None:
        site = server.simulator.site
        site.style = Style(tokens=50)
        assert (await server.request("POST", "/v1/chat/completions", chat())).status == 200
        peaks: list[int] = []
        for _ in range(3):
            server.forget_peak()
            before = server.read_memory()
            for kind in kinds:
                for stream in (False, True):
                    site.faults.order(kind, times=None)
                    await server.request("POST", "/v1/chat/completions", chat(stream=stream))
                    site.faults.clear()
            peaks.append(server.read_memory("VmHWM") - before)
        assert max(peaks) < 64 * 2**20
        assert peaks[-1] < 32 * 2**20  # nothing has piled up

    with_process(check)
