"""Where a body begins that can be taken off its connection."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import h11
import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transports.upstream.lending import HeadFinder
from transports.upstream.plain_threads import ThreadedStream

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nx: y\r\n\r\n"
OTHERS = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nx: transfer-encoding: chunked\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED,
    b"HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\n\r\n",
    b"HTTP/1.1 200 OK\ncontent-length: 5\n\nhello" + CHUNKED,
]
BODY = b"5\r\nhello\r\n0\r\n\r\n"
EVIL = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"


def cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    """The same in pieces."""
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    for start, end in pairwise(bounds):
        if start < end:
            yield data[start:end]


@given(st.lists(st.integers(0, 10_000), max_size=6))
def test_head_is_found_wherever_it_is_cut(places: list[int]) -> None:
    finder = HeadFinder()
    head, body, found = b"", b"", False
    for piece in cut(CHUNKED + BODY, places):
        start = -1 if found else finder.find_body(piece)
        if start >= 0:
            found = True
            head, body = head + piece[:start], body + piece[start:]
        elif found:
            assert finder.find_body(piece) == -1  # it is found once
            body += piece
        else:
            head += piece
    assert (head, body) == (CHUNKED, BODY)


@pytest.mark.parametrize("head", OTHERS, ids=range(len(OTHERS)))
@given(places=st.lists(st.integers(0, 10_000), max_size=4))
def test_what_is_unusual_is_left_alone(head: bytes, places: list[int]) -> None:
    finder = HeadFinder()
    assert {finder.find_body(piece) for piece in cut(head + BODY, places)} == {-1}


@given(
    st.lists(
        st.sampled_from(
            [
                *(b"\r\n", b"\n", b"\r", b"x: y", b" ", b"\t", b"content-length: 5", BODY, EVIL),
                *(b"transfer-encoding: chunked", b"Transfer-Encoding:chunked\r\n", CHUNKED),
            ]
        ),
        max_size=12,
    )
)
def test_two_readers_of_a_head_see_one_end(pieces: list[bytes]) -> None:
    data = b"HTTP/1.1 200 OK" + b"".join(pieces)
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    connection.receive_data(data)
    try:
        response = connection.next_event()
    except h11.RemoteProtocolError:
        return  # nobody asks for its body
    start = HeadFinder().find_body(data)
    if start >= 0:
        assert isinstance(response, h11.Response)
        assert connection.trailing_data == (data[start:], False)
        assert (b"transfer-encoding", b"chunked") in list(response.headers)


def test_head_without_an_end_is_not_kept() -> None:
    finder = HeadFinder()
    for piece in (b"HTTP/1.1 200 OK\r\nx: ", b"y" * 200_000, b"\r\n" + CHUNKED[17:] + BODY):
        assert finder.find_body(piece) == -1


@contextmanager
def connected() -> Iterator[tuple[ThreadedStream, socket.socket]]:
    """A stream for threads, and its far end."""
    here, there = socket.socketpair()
    stream = ThreadedStream(here)
    with there:
        yield stream, there
    stream.close()


def test_body_that_is_not_lent_is_read_on() -> None:
    with connected() as (stream, far_end):
        stream.write(b"GET ", 1)
        stream.write(b"/", 1)
        far_end.send(CHUNKED + BODY)
        assert stream.read(1000, 1) == CHUNKED
        assert stream.holds_more()
        assert far_end.recv(100) == b"GET /"  # in one piece, before it was waited for
        assert stream.read(1000, 1) == BODY
        assert stream.lend_body() is None
        assert not stream.holds_more()
        assert not stream.is_readable()


def test_what_a_thread_is_told_of() -> None:
    with connected() as (stream, far_end):
        with pytest.raises(httpcore.ReadTimeout):
            stream.read(100, 0.01)
        with pytest.raises(httpcore.WriteTimeout):
            stream.write(b"x" * 10_000_000, 0.01)
        with pytest.raises(NotImplementedError):
            stream.start_tls(None)  # type: ignore[arg-type]
        assert stream.get_extra_info("socket").fileno() > 0
        assert stream.get_extra_info("anything else") is None
        far_end.close()
        assert stream.get_extra_info("is_readable")
        with pytest.raises(httpcore.WriteError):
            stream.write(b"x" * 10_000_000)
        stream.close()
        with pytest.raises(httpcore.ReadError):
            stream.read(100)
        assert stream.is_readable()
