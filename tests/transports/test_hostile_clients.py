"""Clients that mean harm, over real sockets: each is told what is wrong, and others are served."""

from __future__ import annotations

import json

import attrs
import trio

from tests.transports.served import KEY, RawClient, RawResponse, Served, chat, with_server

HOST = b"Host: a\r\n"
AUTH = b"Authorization: Bearer " + KEY.encode() + b"\r\n"
GET = b"GET /v1/models HTTP/1.1\r\n" + HOST + AUTH
POST = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + AUTH
BODY = json.dumps(chat()).encode()
WHOLE = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n%b\r\n" % (len(BODY), BODY)


def with_field(field: bytes) -> bytes:
    """A request with one field more."""
    return GET + field + b"\r\n\r\n"


def with_length(*lengths: bytes) -> bytes:
    """A request with a body and these lengths."""
    fields = b"".join(b"Content-Length: %b\r\n" % length for length in lengths)
    return POST + fields + b"\r\n" + BODY


def with_chunks(chunks: bytes) -> bytes:
    """A request with a body of these chunks."""
    return CHUNKED + b"\r\n" + chunks


def with_target(target: bytes, method: bytes = b"GET") -> bytes:
    """A request for this target."""
    return method + b" " + target + b" HTTP/1.1\r\n" + HOST + AUTH + b"\r\n"


@attrs.frozen
class Attack:
    """What a client sends, and the statuses that it must get for it, in order."""

    raw: bytes
    statuses: tuple[int, ...]
    ends: bool = True
    """The connection is closed after the last."""


BAD = (400,)
HUGE = 1_000_000
LENGTH = b"%d" % len(BODY)
ATTACKS: dict[str, Attack] = {
    # Lengths, and other framings
    "length and chunks": Attack(
        with_chunks(CHUNKS + b"0\r\n\r\n").replace(
            b"\r\n\r\n", b"\r\nContent-Length: 4\r\n\r\n", 1
        ),
        BAD,
    ),
    "chunks and length": Attack(
        POST + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BAD
    ),
    "two lengths": Attack(with_length(LENGTH, b"4"), BAD),
    "one length twice": Attack(with_length(LENGTH, LENGTH), (200,), ends=False),
    "two lengths in a line": Attack(with_length(LENGTH + b", 4"), BAD),
    "a huge length": Attack(with_length(b"9" * 19), (413,)),
    "a length of 5,000 digits": Attack(with_length(b"1" * 5000), BAD),
    "a negative length": Attack(with_length(b"-1"), BAD),
    "a length with a sign": Attack(with_length(b"+" + LENGTH), BAD),
    "a length in hex": Attack(with_length(b"0x10"), BAD),
    "a length with blanks": Attack(with_length(b"1 0"), BAD),
    "a length with an underscore": Attack(with_length(b"1_0"), BAD),
    "a length in other digits": Attack(with_length("١".encode()), BAD),
    "an empty length": Attack(with_length(b""), BAD),
    "another coding": Attack(POST + b"Transfer-Encoding: gzip\r\n\r\n", BAD),
    "two codings": Attack(POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS, BAD),
    "chunked twice": Attack(POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + CHUNKS, BAD),
    "identity": Attack(POST + b"Transfer-Encoding: identity\r\n\r\n", BAD),
    "a coding with a tab": Attack(
        POST + b"Transfer-Encoding:\tchunked\r\n\r\n" + CHUNKS + b"0\r\n\r\n", (200,), ends=False
    ),
    "a coding spelt oddly": Attack(POST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS, BAD),
    "a coding with a blank before its colon": Attack(
        POST + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKS, BAD
    ),
    "an underscore for a hyphen": Attack(
        with_length(LENGTH).replace(b"\r\n\r\n", b"\r\nTransfer_Encoding: chunked\r\n\r\n", 1),
        (200,),
        ends=False,
    ),
    "chunks in HTTP/1.0": Attack(
        b"POST /v1/chat/completions HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", BAD
    ),
    # Chunks
    "a size that is no number": Attack(with_chunks(b"xyz\r\n"), BAD),
    "a negative size": Attack(with_chunks(b"-1\r\n"), BAD),
    "a size with a prefix": Attack(with_chunks(b"0x1\r\n{\r\n"), BAD),
    "an empty size": Attack(with_chunks(b"\r\n"), BAD),
    "a huge size": Attack(with_chunks(b"f" * 30 + b"\r\n"), BAD),
    "a size that is a body of its own": Attack(with_chunks(b"1" * 100_000), BAD),
    "a chunk that is longer than its size": Attack(with_chunks(b"1\r\n{}\r\n"), BAD),
    "a chunk that ends with a bare LF": Attack(with_chunks(b"1\r\n{\n0\r\n\r\n"), BAD),
    "a size that ends with a bare LF": Attack(with_chunks(b"1\n{\r\n0\r\n\r\n"), BAD),
    "an extension": Attack(
        with_chunks(b'%x;a="b"\r\n%b\r\n0;c\r\n\r\n' % (len(BODY), BODY)), (200,), ends=False
    ),
    "a huge extension": Attack(with_chunks(b"1;" + b"a" * HUGE), BAD),
    "an extension with a bare LF": Attack(with_chunks(b"1;a\nb\r\n{\r\n0\r\n\r\n"), BAD),
    "a huge trailer": Attack(with_chunks(CHUNKS + b"0\r\nA: " + b"a" * HUGE), BAD),
    "endless trailers": Attack(with_chunks(CHUNKS + b"0\r\n" + b"A: b\r\n" * 100_000), BAD),
    "a trailer that is none": Attack(with_chunks(CHUNKS + b"0\r\n\x00\r\n\r\n"), BAD),
    "a trailer that is a length": Attack(
        with_chunks(CHUNKS + b"0\r\nContent-Length: 5\r\n\r\n"), (200,), ends=False
    ),
    # Lines
    "bare LF everywhere": Attack(GET.replace(b"\r\n", b"\n") + b"\n", BAD),
    "bare LF in a field": Attack(with_field(b"A: b\nC: d"), BAD),
    "bare LF at the end": Attack(GET + b"\n", BAD),
    "bare CR in a field": Attack(with_field(b"A: b\rC: d"), BAD),
    "a folded field": Attack(with_field(b"A: b\r\n c"), BAD),
    "a field that is folded at once": Attack(b"GET / HTTP/1.1\r\n " + HOST + b"\r\n", BAD),
    "NUL in a field": Attack(with_field(b"A: \x00"), BAD),
    "NUL in a name": Attack(with_field(b"A\x00: b"), BAD),
    "NUL in the target": Attack(with_target(b"/v1/models\x00"), BAD),
    "control characters": Attack(with_field(b"A: \x01\x02\x7f"), BAD),
    "a name with a blank": Attack(with_field(b"A b: c"), BAD),
    "a name with other letters": Attack(with_field("Ä: b".encode()), BAD),
    "no name": Attack(with_field(b": b"), BAD),
    "no colon": Attack(with_field(b"A"), BAD),
    "letters in Latin-1": Attack(with_field(b"A: \xe4"), (200,), ends=False),
    "300 fields": Attack(with_field(b"\r\n".join(b"A%d: b" % i for i in range(300))), (431,)),
    "20,000 fields": Attack(with_field(b"\r\n".join([b"A: b"] * 20_000)), (431,)),
    "a field of a megabyte": Attack(with_field(b"A: " + b"b" * HUGE), (431,)),
    "a name of a megabyte": Attack(with_field(b"A" * HUGE + b": b"), (431,)),
    "a target of a megabyte": Attack(with_target(b"/" + b"a" * HUGE), (414,)),
    "a method of a megabyte": Attack(with_target(b"/", b"A" * HUGE), (414,)),
    "a megabyte of nothing": Attack(b"\r\n" * (HUGE // 2), BAD),
    "a megabyte of blanks": Attack(b" " * HUGE, (414,)),
    "noise": Attack(bytes(range(256)) * 100, BAD),
    "TLS": Attack(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500, BAD),
    # Targets
    "no Host": Attack(b"GET /health HTTP/1.1\r\n\r\n", BAD),
    "two Hosts": Attack(b"GET /health HTTP/1.1\r\n" + HOST + HOST + b"\r\n", BAD),
    "a Host that is a script": Attack(b"GET /health HTTP/1.1\r\nHost: <script>\r\n\r\n", BAD),
    "a Host that is a path": Attack(b"GET /health HTTP/1.1\r\nHost: a/../b\r\n\r\n", BAD),
    "a Host that is no ASCII": Attack(b"GET /health HTTP/1.1\r\nHost: a\xff\r\n\r\n", BAD),
    "a Host of HTTP/1.0 that is none": Attack(b"GET /health HTTP/1.0\r\nHost: a b\r\n\r\n", BAD),
    "an empty Host": Attack(b"GET /health HTTP/1.1\r\nHost:\r\n\r\n", (200,), ends=False),
    "an absolute target": Attack(with_target(b"http://a/health"), (200,), ends=False),
    "another's absolute target": Attack(
        with_target(b"http://b.example/health"), (200,), ends=False
    ),
    "an absolute target of another kind": Attack(with_target(b"ftp://a/health"), BAD),
    "a target without a host": Attack(with_target(b"http:///health"), BAD),
    "an asterisk": Attack(with_target(b"*", b"OPTIONS"), (204,), ends=False),
    "an asterisk for GET": Attack(with_target(b"*"), BAD),
    "an authority": Attack(with_target(b"a:80"), BAD),
    "a tunnel": Attack(with_target(b"a:80", b"CONNECT"), BAD),
    "a tunnel to a path": Attack(with_target(b"/health", b"CONNECT"), BAD),
    "two slashes": Attack(with_target(b"//a/health"), (404,), ends=False),
    "dots": Attack(with_target(b"/v1/../health"), (404,), ends=False),
    "dots in the name of a model": Attack(
        with_target(b"/v1/models/../../health"), (404,), ends=False
    ),
    "coded dots": Attack(with_target(b"/%2e%2e/%2e%2e/etc/passwd"), (404,), ends=False),
    "dots among the pictures": Attack(
        with_target(b"/images/../../state.sqlite3"), (404,), ends=False
    ),
    "coded dots among the pictures": Attack(
        with_target(b"/images/..%2f..%2fstate.sqlite3"), (404,), ends=False
    ),
    "backslashes": Attack(with_target(b"/images\\..\\state.sqlite3"), (404,), ends=False),
    "a coded NUL": Attack(with_target(b"/images/a.png%00.jpg"), (404,), ends=False),
    "a coded line end": Attack(
        with_target(b"/v1/models/%0d%0aSet-Cookie:%20a=b"), (404,), ends=False
    ),
    "overlong UTF-8": Attack(with_target(b"/images/%c0%ae%c0%ae/a"), (404,), ends=False),
    "bad percents": Attack(with_target(b"/%/%zz/%"), (404,), ends=False),
    "a path with other letters": Attack(with_target("/v1/modèles".encode()), BAD),
    "a coded path": Attack(with_target(b"/%76%31/models"), (404,), ends=False),
    "a path in capitals": Attack(with_target(b"/V1/MODELS"), (404,), ends=False),
    "a parameter in the path": Attack(with_target(b"/health;/v1/models"), (404,), ends=False),
    "a fragment": Attack(with_target(b"/health#/v1/models"), (404,), ends=False),
    "a question": Attack(with_target(b"/health?/v1/models?" + b"a" * 10_000), (200,), ends=False),
    "a slash at the end": Attack(with_target(b"/health/"), (404,), ends=False),
    "a long path": Attack(with_target(b"/a" * 15_000), (404,), ends=False),
    "a method that is none": Attack(with_target(b"/health", b"G{T"), BAD),
    "a method of its own": Attack(with_target(b"/health", b"BREW"), (405,), ends=False),
    "a method in small letters": Attack(with_target(b"/health", b"get"), (405,), ends=False),
    "TRACE": Attack(with_target(b"/health", b"TRACE"), (405,), ends=False),
    # Versions
    "HTTP/0.9": Attack(b"GET /health\r\n", BAD),
    "HTTP/0.9 with a version": Attack(b"GET /health HTTP/0.9\r\n\r\n", BAD),
    "HTTP/1.0": Attack(b"GET /health HTTP/1.0\r\n\r\n", (200,)),
    "HTTP/1.2": Attack(with_target(b"/health").replace(b"/1.1", b"/1.2"), BAD),
    "HTTP/2": Attack(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", BAD),
    "HTTP/2 by upgrade": Attack(
        with_field(b"Upgrade: h2c\r\nConnection: upgrade\r\nHTTP2-Settings: AAMAAABk"),
        (200,),
        ends=False,
    ),
    "a WebSocket": Attack(
        with_field(b"Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: a"),
        (200,),
        ends=False,
    ),
    "HTTP/11": Attack(with_target(b"/").replace(b"/1.1", b"/11"), BAD),
    "http in small letters": Attack(with_target(b"/").replace(b"HTTP", b"http"), BAD),
    "a proxy's greeting": Attack(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n" + with_target(b"/"), BAD),
    "SOCKS": Attack(b"\x05\x01\x00", BAD),
    # One after the other
    "garbage behind a request": Attack(GET + b"\r\n" + b"garbage\r\n\r\n", (200, 400)),
    "garbage behind a body": Attack(WHOLE + b"\x00", (200, 400)),
    "garbage behind chunks": Attack(with_chunks(CHUNKS + b"0\r\n\r\n\x00"), (200, 400)),
    "garbage behind the last request": Attack(
        with_field(b"Connection: close") + b"garbage" * 10_000, (200,)
    ),
    "a request in a body that is not read": Attack(
        b"GET /health HTTP/1.1\r\n"
        + HOST
        + b"Content-Length: %d\r\n\r\n" % len(GET + b"\r\n")
        + GET
        + b"\r\n",
        (200,),
        ends=False,
    ),
    "a body that is longer than it says": Attack(
        POST + b"Content-Length: 2\r\n\r\n{}GET /smuggled\r\n\r\n", (400, 400)
    ),
    "100 requests at once": Attack((GET + b"\r\n") * 100, (200,) * 100, ends=False),
    "a body for GET": Attack(GET + b"Content-Length: 3\r\n\r\nabc", (200,), ends=False),
    "an expectation": Attack(
        POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY,
        (200,),
        ends=False,
    ),
    "an expectation of something else": Attack(
        POST + b"Expect: the-worst\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY,
        (200,),
        ends=False,
    ),
}


def hold(name: str, answer: RawResponse) -> None:
    """An answer that tells what is wrong, and is no fault of the server's."""
    assert answer.status < 500, (name, answer)
    assert answer.whole, (name, answer)
    if answer.status >= 400:
        assert set(answer.error) == {"message", "type", "param", "code"}, name
        assert answer.error["type"] == "invalid_request_error", name
        assert len(answer.error["message"]) > 10, name
        assert len(answer.body) < 1000, name
    for header in ("set-cookie", "location", "upgrade"):
        assert header not in answer.headers, name


async def send(client: RawClient, data: bytes) -> None:
    """Send what the server takes; it may have heard enough before the end."""
    try:
        await client.send(data)
    except trio.BrokenResourceError:
        pass


async def read_answers(client: RawClient, number: int) -> list[RawResponse]:
    """The answers on a connection, without those that are on the way to one."""
    answers: list[RawResponse] = []
    while len(answers) < number:
        answer = await client.read_response()
        if answer.status != 100:
            answers.append(answer)
    return answers


def test_what_is_no_clear_request() -> None:
    async def check(served: Served) -> None:
        for name, attack in ATTACKS.items():
            client = await served.connect()
            with trio.fail_after(2):
                async with client.stream, trio.open_nursery() as nursery:
                    nursery.start_soon(send, client, attack.raw)
                    answers = await read_answers(client, len(attack.statuses))
                    assert tuple(each.status for each in answers) == attack.statuses, name
                    for answer in answers:
                        hold(name, answer)
                    assert (answers[-1].headers.get("connection") == "close") is attack.ends, name
                    if attack.ends:
                        assert await client.is_closed(), name
            assert (await served.request("GET", "/v1/models")).status == 200, name
        assert (await served.chat()).status == 200

    with_server(check, quotas={"grok-3": (10_000, 60.0)}, QUOTAS="grok-3=10000/1h")


def test_what_ends_too_soon() -> None:
    """The same, cut short in several places, by a client that then waits for an answer."""

    async def check(served: Served) -> None:
        for name, attack in ATTACKS.items():
            size = len(attack.raw)
            for end in {1, size // 3, size // 2, size - 1}:
                client = await served.connect()
                with trio.fail_after(2):
                    async with client.stream:
                        await send(client, attack.raw[:end])
                        try:
                            await client.stream.send_eof()
                        except trio.BrokenResourceError:
                            pass
                        try:
                            while True:
                                hold(name, await client.read_response())
                        except (EOFError, trio.BrokenResourceError):
                            pass
            assert (await served.request("GET", "/v1/models")).status == 200, name
        assert (await served.chat()).status == 200

    with_server(check, quotas={"grok-3": (10_000, 60.0)}, QUOTAS="grok-3=10000/1h")
