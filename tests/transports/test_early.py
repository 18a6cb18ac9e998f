"""What is made of answers that begin before their request is sent to its end."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transports.test_lending import cut
from transports.upstream.early import EarlyAnswer

REFUSED = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n"
GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: </413>\r\n\r\n"
PREFACES = [b"", HINTS, b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Go on\n\n" + HINTS]
FAULTS = {
    "413": REFUSED,
    "302": b"HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n",
    "an empty line": b"\r\n" + GOOD,
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "no HTTP": b"220 mail.example ESMTP\r\n",
}

cuts = st.lists(st.integers(0, 10_000), max_size=6)


def hear(*pieces: bytes) -> EarlyAnswer:
    """One that has come in these pieces, as far as it was listened to."""
    early = EarlyAnswer()
    for piece in pieces:
        if early.room:
            early.add(piece[: early.room])
    return early


@pytest.mark.parametrize("preface", PREFACES, ids=range(len(PREFACES)))
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@given(places=cuts)
def test_refusal_is_heard_wherever_it_is_cut(
    preface: bytes, fault: bytes, places: list[int]
) -> None:
    early = hear(*cut(preface + fault, places))
    assert early.refused
    assert early.room == 0
    assert (preface + fault).startswith(early.data)


@pytest.mark.parametrize("preface", PREFACES, ids=range(len(PREFACES)))
@given(places=cuts)
def test_answer_that_means_well_is_no_refusal(preface: bytes, places: list[int]) -> None:
    early = hear(*cut(preface + GOOD, places))
    assert not early.refused
    assert early.room == 0


@pytest.mark.parametrize("preface", PREFACES, ids=range(len(PREFACES)))
@given(places=cuts)
def test_nothing_is_said_before_it_is_clear(preface: bytes, places: list[int]) -> None:
    early = hear(*cut(preface + REFUSED[:11], places))
    assert not early.refused
    assert early.room > 0
    assert early.data == preface + REFUSED[:11]


@pytest.mark.parametrize("begun", [b"", b"HTTP/1", HINTS, HINTS[:20]], ids=range(4))
def test_end_of_the_connection_is_a_refusal(begun: bytes) -> None:
    early = hear(begun, b"") if begun else hear(b"")
    assert early.refused
    assert early.data == begun


@pytest.mark.parametrize("flood", [HINTS * 1000, HINTS[:-2] + b"x: y\r\n" * 10_000])
@pytest.mark.parametrize("size", [1, 1000, 100_000])
def test_who_never_comes_to_the_point_is_not_listened_to(flood: bytes, size: int) -> None:
    early = hear(*(flood[at : at + size] for at in range(0, len(flood), size)))
    assert early.room == 0
    assert not early.refused
    assert len(early.data) == 16 * 1024


@given(
    st.lists(
        st.sampled_from(
            [*(b"\r\n", b"\n", b"\r", b" ", b"x: y"), HINTS, HINTS[:-2], GOOD, REFUSED]
        ),
        max_size=8,
    )
)
def test_two_readers_of_interim_heads_see_one_answer(pieces: list[bytes]) -> None:
    data = b"HTTP/1.1 103" + b"".join(pieces) + b"\r\n\r\n"
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    connection.receive_data(data)
    try:
        while isinstance(response := connection.next_event(), h11.InformationalResponse):
            pass
    except h11.RemoteProtocolError:
        return  # to send more is in vain, and to do so all the same no harm
    if isinstance(response, h11.Response):
        assert hear(data).refused == (response.status_code == 413)
    else:
        assert not hear(data).refused
