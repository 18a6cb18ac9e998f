"""Joining HTTP chunks changes how often h11 is asked, and nothing else."""

from __future__ import annotations

import itertools

import h11
from hypothesis import given
from hypothesis import strategies as st

from transports.loops.chunk_joiner import ChunkJoiner

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def frame(chunks: list[bytes]) -> bytes:
    return b"".join(b"%X\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)


def read(pieces: list[bytes]) -> tuple[bytes, str]:
    """The body as h11 reads it, and how it ended."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "h")]))
    client.send(h11.EndOfMessage())
    body = b""
    try:
        for piece in [*pieces, b""]:
            client.receive_data(piece)
            while True:
                event = client.next_event()
                if isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    return body, "end"
                elif event is h11.NEED_DATA:
                    break
    except h11.RemoteProtocolError:
        return body, "broken"
    return body, "open"


def join(pieces: list[bytes]) -> list[bytes]:
    joiner = ChunkJoiner()
    joined = [joiner.join(piece) for piece in [*pieces, b""]]
    return [piece for piece in joined if piece]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


CHUNKS = st.lists(st.binary(min_size=1, max_size=40), max_size=12)
PLACES = st.lists(st.integers(0, 2000), max_size=30)
ENDS = (
    b"0\r\n\r\n",
    b"0\r\nx-trailer: 1\r\n\r\n",
    b"",
    b"5\r\nab",
    b"5;a=b\r\nabcde\r\n0\r\n\r\n",
    b"2\r\nabcd\r\n0\r\n\r\n",
    b"zz\r\n",
    b"fffffffffff\r\nabc",
    b"1",
)


@given(CHUNKS, st.sampled_from(ENDS), PLACES)
def test_the_body_is_the_same(chunks: list[bytes], end: bytes, places: list[int]) -> None:
    pieces = cut(HEAD + frame(chunks) + end, places)
    body, how = read(join(pieces))
    expected, expected_how = read(pieces)
    assert how == expected_how
    if how == "end":
        assert body == expected == b"".join(chunks) + (b"abcde" if b";" in end else b"")


@given(CHUNKS, PLACES)
def test_what_came_is_not_kept(chunks: list[bytes], places: list[int]) -> None:
    joiner = ChunkJoiner()
    client = h11.Connection(h11.CLIENT)
    plain = h11.Connection(h11.CLIENT)
    got = [b"", b""]
    for piece in cut(HEAD + frame(chunks), places):
        for number, (side, data) in enumerate(((client, joiner.join(piece)), (plain, piece))):
            if data:
                side.receive_data(data)
            while (event := side.next_event()) is not h11.NEED_DATA:
                got[number] += event.data if isinstance(event, h11.Data) else b""
        assert got[0] == got[1]


def test_chunks_of_one_read_become_one() -> None:
    joiner = ChunkJoiner()
    assert joiner.join(HEAD + frame([b"ab", b"cde"])) == HEAD + b"5\r\nabcde\r\n"
    assert joiner.join(frame([b"f", b"g"]) + b"3\r\nx") == b"2\r\nfg\r\n3\r\nx"
    assert joiner.join(b"yz\r\n" + frame([b"1", b"2"])) == b"yz\r\n2\r\n12\r\n"


def test_a_body_that_is_not_chunked_is_left_alone() -> None:
    data = b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n1\r\na\r\n1\r\nb\r\n"
    assert ChunkJoiner().join(data) == data
