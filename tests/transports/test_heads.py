"""`transports.server.heads`: what is beyond doubt."""

from __future__ import annotations

import pytest

from transports.server.heads import (
    HeadFinder,
    MalformedRequestError,
    check_host,
    split_target,
)

LINE = b"GET / HTTP/1.1\r\n"
HEAD = LINE + b"Host: a\r\nTabs:\t \xff\t\r\n\r\n"


def find(data: bytes, max_bytes: int = 1000) -> int:
    """What the finder says of bytes that come one by one; at once they give the same."""
    whole = say(HeadFinder(max_bytes), data)
    finder = HeadFinder(max_bytes)
    steps = (say(finder, data[:size]) for size in range(len(data) + 1))
    said = next((step for step in steps if step != 0), 0)
    if isinstance(said, int):
        assert said == whole
        return said
    assert str(said) == str(whole)
    raise said


def say(finder: HeadFinder, data: bytes) -> int | MalformedRequestError:
    """What the finder says of bytes."""
    try:
        return finder.find(bytearray(data))
    except MalformedRequestError as exc:
        return exc


def test_where_a_head_ends() -> None:
    assert find(HEAD) == find(HEAD + b"body\n\x00") == len(HEAD)
    assert find(HEAD[:-1]) == find(b"") == 0


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "control"),
        (LINE + b"A: b\x7f", 400, "control"),
        (LINE + b"A: b\x00", 400, "control"),
        (LINE + b"A: b\r\n c", 400, "folded"),
        (LINE + b"A: b\r\n\tc", 400, "folded"),
        (b"GET / HTTP/1.1\n", 400, "CR LF"),
        (LINE + b"A: b\nB: c", 400, "CR LF"),
        (LINE + b"A: b\rB: c", 400, "CR LF"),
        (LINE + b"A: b\r\r\n", 400, "CR LF"),
        (b"GET /\r\n", 400, "begin with"),
        (b"GET  / HTTP/1.1\r\n", 400, "begin with"),
        (b"GET / HTTP/1.1 \r\n", 400, "begin with"),
        (b"GET /\xe9 HTTP/1.1\r\n", 400, "begin with"),
        (b"GET / http/1.1\r\n\x00", 400, "begin with"),
        (b"\r\n", 400, "begin with"),
        (b"PRI * HTTP/2.0\r\n", 400, "1.0 and HTTP/1.1"),
        (LINE + b"A:\r\n" * 1000 + b"\r\n", 431, "too many fields"),
    ],
)
def test_what_is_refused_at_once(data: bytes, status: int, reason: str) -> None:
    with pytest.raises(MalformedRequestError, match=reason) as caught:
        find(data, 10_000)
    assert caught.value.status == status


def test_the_limit() -> None:
    assert find(HEAD, len(HEAD)) == len(HEAD)
    for data in (HEAD, HEAD[:-1], HEAD[:-1] + b"\x00"):
        with pytest.raises(MalformedRequestError, match="fields are too long") as caught:
            find(data, len(HEAD) - 1)
        assert caught.value.status == 431
    with pytest.raises(MalformedRequestError, match="target is too long") as caught:
        find(HEAD, len(LINE) - 1)
    assert caught.value.status == 414


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/a/../b?c?d", "/a/../b", "c?d"),
        ("//a/b", "//a/b", ""),
        ("http://h", "/", ""),
        ("HTTPS://h:1/a/b?c=http://x/y", "/a/b", "c=http://x/y"),
        ("http://h?a/b", "/", "a/b"),
    ],
)
def test_targets(target: str, path: str, query: str) -> None:
    assert split_target("GET", target) == (path, query)


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "*"), ("GET", "h:1"), ("GET", "http:///a"), ("GET", "ftp://h/a"), ("CONNECT", "/")],
)
def test_targets_that_are_none(method: str, target: str) -> None:
    with pytest.raises(MalformedRequestError):
        split_target(method, target)


@pytest.mark.parametrize(
    "host",
    [
        *(b"", b"a", b"a:1", b"a:", b"A-1.example.", b"127.0.0.1:3000", b"[::1]", b"[::1]:3000"),
        *(b"[fe80::1%25eth0]", b"a_b", b"%c3%a9.example"),
    ],
)
def test_hosts(host: bytes) -> None:
    check_host(host)


@pytest.mark.parametrize(
    "host",
    [
        *(b"a\xff", b"a b", b"a/b", b"a?b", b"a#b", b"u@h", b"<>", b'"', b"a:b", b"a:1:2", b"::1"),
        *(b"[]", b"[::1", b"[::1]a", b"%", b"%4", b"http://a", b"a\\b", b"a\tb"),
    ],
)
def test_hosts_that_are_none(host: bytes) -> None:
    with pytest.raises(MalformedRequestError, match="Host"):
        check_host(host)
