"""JSON that is meant to do harm, over real sockets: a 4xx in OpenAI's shape, or an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from grokproto.dialects.openai_params import PARAMETERS
from tests.transports.served import KEY, RawResponse, Served, chat, with_server
from transports.simulator import Style

PATHS = ("/v1/chat/completions", "/v1/images/generations", "/add/token")
WRONG: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 10**40, -(10**400), 1e308, "", "x", "\0\r\n", [], {}),
    *([[]], [{}], [None], {"": None}, [[[[]]]], {"type": []}, {"url": {}}),
)
"""A value of each type, and some of none that a field would have."""


async def post(served: Served, body: bytes, path: str = PATHS[0]) -> RawResponse:
    """Ask with this body."""
    return await served.request("POST", path, body)


def hold(answer: RawResponse) -> None:
    """An answer that is no fault of the server's."""
    assert answer.whole
    assert answer.status == 200 or 400 <= answer.status < 500, (answer.status, answer.body[:300])
    if answer.status != 200:
        error = answer.error
        assert set(error) >= {"message", "type", "param", "code"}
        assert error["message"]
        assert error["type"] == "invalid_request_error"


def in_message(text: str) -> bytes:
    """A good request, but for a text that stands for the content as it is."""
    head = b'{"model":"grok-3","messages":[{"role":"user","content":'
    return head + text.encode("utf-8", "surrogatepass") + b"}]}"


REFUSED: dict[str, bytes] = {
    "nothing": b"",
    "space": b" \n ",
    "a word": b"hello",
    "NaN": b"NaN",
    "half": b'{"model":"grok-3","mess',
    "two": b"{}{}",
    "a list": b"[]",
    "a text": b'"x"',
    "lists in lists": b"[" * 1_000_000,
    "whole lists in lists": b"[" * 400_000 + b"]" * 400_000,
    "objects in objects": b'{"a":' * 300_000,
    "lists in a message": in_message("[" * 100_000 + "]" * 100_000),
    "lists in an unknown field": b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "NaN in a field": b'{"model":"grok-3","n":NaN,"messages":[{"role":"user","content":"x"}]}',
    "Infinity": in_message("-Infinity"),
    "too large a number": in_message("1e999999999"),
    "a number of a million digits": in_message("9" * 1_000_000),
    "many digits in n": b'{"model":"grok-3","messages":[{"role":"user"}],"n":' + b"9" * 5000 + b"}",
    "a byte that is no UTF-8": in_message('"')[:-3] + b'\xff"}]}',
    "a bare surrogate": in_message('"\ud800"'),
    "UTF-16": json.dumps(chat()).encode("utf-16"),
    "a lone surrogate": in_message('"\\ud800"'),
    "surrogates in the wrong order": in_message('"\\udc00\\ud800"'),
    "a lone surrogate as a key": b'{"\\ud800":1}',
    "a control character": in_message('"\0"'),
    "a bad escape": in_message('"\\x41"'),
    "no messages": b'{"model":"grok-3"}',
    "empty messages": b'{"model":"grok-3","messages":[]}',
    "messages that say nothing": b'{"model":"grok-3","messages":[{"role":"user","content":""}]}',
    "no model": b'{"messages":[{"role":"user","content":"x"}]}',
    "a model that is long": json.dumps(chat(model="x" * 1_000_000)).encode(),
    "a model of another kind": b'{"model":{"a":[]},"messages":[{"role":"user","content":"x"}]}',
    "the last of two models": b'{"model":"grok-3","model":7,"messages":[{"role":"user"}]}',
}
TAKEN: dict[str, bytes] = {
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(chat()).encode(),
    "one model twice": b'{"model":7,"model":"grok-3","messages":[{"role":"user","content":"x"}]}',
    "NUL in a text": json.dumps(chat("a\0b\r\nset-cookie: a")).encode(),
    "all of Unicode": json.dumps(chat("".join(map(chr, range(0x20, 0xD800, 7))))).encode(),
    "10,000 messages": json.dumps(
        {
            "model": "grok-3",
            "messages": [{"role": "user", "content": f"no {i}"} for i in range(10**4)],
        }
    ).encode(),
    "100,000 fields": json.dumps({**chat(), **{f"x{i}": i for i in range(10**5)}}).encode(),
    "a name that is no header's": json.dumps({**chat(), "a\r\nb: c": 1}).encode(),
}


def test_what_is_no_request() -> None:
    async def check(served: Served) -> None:
        for name, body in REFUSED.items():
            for path in PATHS:
                answer = await post(served, body, path)
                hold(answer)
                assert answer.status == 400 or (answer.status, answer.error["param"]) == (
                    404,
                    "model",
                ), (name, path, answer.body)
                assert len(answer.body) < 2000, name
        assert (await served.chat()).status == 200
        assert served.simulator.site.calls["/rest/app-chat/conversations/new"] == 1

    with_server(check)


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_merely_odd(name: str) -> None:
    async def check(served: Served) -> None:
        answer = await post(served, TAKEN[name])
        assert answer.status == 200, answer.body
        assert "set-cookie" not in answer.headers

    with_server(check)


def test_every_field_of_every_type() -> None:
    names = sorted(
        {*(p.name for p in PARAMETERS), "prompt", "size", "quality", "sso", "background"}
    )

    async def check(served: Served) -> None:
        served.simulator.site.style = Style(tokens=1)
        client = await served.connect()
        async with client.stream:
            for path in PATHS:
                base = {**chat(), "prompt": "x"} if path != PATHS[2] else {}
                for name in names:
                    for value in WRONG:
                        if name in ("n", "prompt", "sso") and value in (1, "x"):
                            continue
                        body = json.dumps({**base, name: value}).encode()
                        await client.send_request("POST", path, body)
                        hold(await client.read_response())
        assert (await served.chat()).status == 200

    with_server(check, quotas={"grok-3": (10**6, 60.0)}, QUOTAS="grok-3=1000000/1h")


def test_every_part_of_a_message_of_every_type() -> None:
    def build() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for value in WRONG:
            found += [{"role": value, "content": "x"}, {"role": "user", "content": value}]
            found += [{"role": "user", "content": ["x", value]}]
            for kind in (
                "text",
                "refusal",
                "image_url",
                "input_image",
                "file",
                "input_file",
                value,
            ):
                part = {"type": kind, "text": value, "refusal": value, "image_url": value}
                part.update(file=value, file_data=value, filename=value)
                found.append({"role": "user", "content": [part]})
        return found

    async def check(served: Served) -> None:
        client = await served.connect()
        async with client.stream:
            for message in build():
                # The second message is refused, so that no good one costs a call.
                body = {"model": "grok-3", "messages": [message, {"role": "nobody"}]}
                await client.send_request("POST", PATHS[0], body)
                answer = await client.read_response()
                hold(answer)
                assert answer.status == 400
        assert (await served.chat()).status == 200

    with_server(check)


@pytest.mark.parametrize("path", PATHS)
def test_body_that_is_too_long_is_not_read(path: str) -> None:
    """Announced, not a byte of it is waited for; in chunks, it is told when it is too much."""

    async def check(served: Served) -> None:
        client = await served.connect()
        async with client.stream:
            head = f"POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\n"
            await client.send(f"{head}content-length: 99999999999999\r\n\r\n{{".encode())
            answer = await client.read_response()
            assert (answer.status, answer.error["code"]) == (413, "body_too_large")
            assert answer.headers["connection"] == "close"
            assert "10000 bytes" in answer.error["message"]
        client = await served.connect()
        async with client.stream:
            await client.send(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
            with trio.move_on_after(5):
                for _ in range(11):
                    await client.send(b"400\r\n" + b" " * 1024 + b"\r\n")
            answer = await client.read_response()
            assert (answer.status, answer.error["code"]) == (413, "body_too_large")
        assert (await served.chat()).status == 200

    with_server(check, MAX_BODY_BYTES="10000")


def test_body_as_long_as_it_may_be() -> None:
    async def check(served: Served) -> None:
        body = json.dumps(chat()).encode()
        for length, status in ((10_000, 200), (10_001, 413)):
            assert (await post(served, body.ljust(length))).status == status

    with_server(check, MAX_BODY_BYTES="10000")
