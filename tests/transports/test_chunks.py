"""The chunks of a body are read as h11 reads them, however they are cut."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import cut, single_bytes
from transports.upstream.chunks import BrokenChunksError, ChunkReader

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

CHUNKS = st.lists(
    st.tuples(
        st.binary(min_size=1, max_size=40) | st.sampled_from([b"\r\n", b"a\r\nb", b"5\r\n"]),
        st.sampled_from(["%x", "%X", "0%x", "%x;a=b", "%x \t"]),
    ),
    max_size=12,
)
ENDS = (
    b"0\r\n\r\n",
    b"000\r\n\r\nrest",
    b"0;a=b\r\nx-trailer: 1\r\n\r\n",
    b"",
    b"5\r\nab",
    b"2\r\nabcd\r\n0\r\n\r\n",
    b"zz\r\n",
    b"\r\n",
    b"+5\r\nabcde\r\n",
    b"5\n12345\n",
    b"1",
)
PLACES = st.lists(st.integers(0, 2000), max_size=30)


def frame(chunks: list[tuple[bytes, str]]) -> bytes:
    return b"".join(
        (size % len(chunk)).encode() + b"\r\n" + chunk + b"\r\n" for chunk, size in chunks
    )


def read_by_h11(data: bytes) -> tuple[bytes, str]:
    """The body as h11 reads it, and how it ended."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "h")]))
    client.send(h11.EndOfMessage())
    body = b""
    client.receive_data(HEAD + data)
    try:
        while (event := client.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return body, "end"
    except h11.RemoteProtocolError:
        return body, "broken"
    return body, "open"


def read(pieces: list[bytes]) -> tuple[bytes, str]:
    reader = ChunkReader()
    body = b""
    try:
        for piece in pieces:
            if reader.ended:
                break
            body += reader.receive_data(piece)
    except BrokenChunksError:
        return body, "broken"
    return body, "end" if reader.ended else "open"


@given(CHUNKS, st.sampled_from(ENDS), PLACES)
def test_the_body_is_the_same(
    chunks: list[tuple[bytes, str]], end: bytes, places: list[int]
) -> None:
    data = frame(chunks) + end
    body, how = read_by_h11(data)
    for pieces in ([data], cut(data, [place % (len(data) + 1) for place in places])):
        got, got_how = read(pieces)
        assert got_how == how or (got_how, how) == ("broken", "open")  # it need not wait for more
        assert got == body if got_how != "broken" else got.startswith(body) or body.startswith(got)
    assert read(single_bytes(data))[1] == got_how


@given(CHUNKS, st.integers(0, 2000))
def test_what_came_is_not_kept(chunks: list[tuple[bytes, str]], place: int) -> None:
    data = frame(chunks)[:place]
    assert read([data])[0] == read(single_bytes(data))[0] == read_by_h11(data)[0]


def test_sizes_seen_before_are_read_together() -> None:
    reader = ChunkReader()
    data = frame([(b"ab", "%x"), (b"cde", "%x")])
    assert reader.receive_data(data) == b"abcde"
    assert reader.receive_data(data) == b"abcde"
    assert reader.receive_data(data + data[:4]) == b"abcdea"
    assert reader.receive_data(data[4:] + b"0\r\n\r\nmore") == b"bcde"
    assert (reader.ended, reader.rest) == (True, b"more")


@pytest.mark.parametrize(
    "data",
    [b"1" * 5000, b"1;" + b"x" * 5000, b"0\r\n" + b"x" * 10_000, b"1\r\nab", b"1\r\na\n"],
)
def test_what_has_no_end_is_given_up(data: bytes) -> None:
    with pytest.raises(BrokenChunksError):
        ChunkReader().receive_data(data)
