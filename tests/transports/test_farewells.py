"""What is heard of HTTP/2: the same however it is cut; all of it but farewells that do no harm."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import cuts
from transports.upstream.farewells import Farewells

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LAST = 2**31 - 1
"""What a far end says that does not know yet which will be its last request."""

streams = st.sampled_from([1, 3, 5, 7])
others = st.one_of(
    st.builds(lambda n, data: DataFrame(n, data), streams, st.binary(max_size=40)),
    st.builds(lambda n, data: HeadersFrame(n, data), streams, st.binary(max_size=40)),
    st.just(PingFrame(0, b"\x00\x00\x08\x07\x00\x00\x00\x00")),  # looks like the head of a farewell
)
farewells = st.builds(
    lambda last, error, told: GoAwayFrame(
        0, last_stream_id=last, error_code=error, additional_data=told
    ),
    st.sampled_from([0, 1, 3, 5, LAST]),
    st.sampled_from([0, 0, 0, 2, 11]),
    st.binary(max_size=20),
)


def open_stream(number: int) -> Farewells:
    """Farewells of a connection over which a call is under way."""
    found = Farewells()
    found.send(PREFACE + PingFrame(0, b"12345678").serialize())
    for each in range(1, number + 1, 2):
        found.send(HeadersFrame(each, b"head").serialize() + DataFrame(each, b"body").serialize())
    return found


@given(st.lists(st.one_of(others, farewells), max_size=8), streams, st.data())
def test_all_but_farewells_that_spare_the_call(
    frames: Sequence[Frame], number: int, data: st.DataObject
) -> None:
    heard = open_stream(number)
    received = b"".join(frame.serialize() for frame in frames)
    spared = [
        frame
        for frame in frames
        if isinstance(frame, GoAwayFrame)
        and not frame.error_code
        and frame.last_stream_id >= number
    ]
    left = b"".join(map(heard.receive, data.draw(cuts(received))))
    assert left == b"".join(frame.serialize() for frame in frames if frame not in spared)
    assert heard.said == bool(spared)


@given(st.data())
def test_what_is_sent_may_be_cut_too(data: st.DataObject) -> None:
    heard = Farewells()
    for piece in data.draw(cuts(PREFACE + HeadersFrame(5, b"head").serialize())):
        heard.send(piece)
    assert heard.receive(GoAwayFrame(0, last_stream_id=3).serialize())
    assert not heard.receive(GoAwayFrame(0, last_stream_id=5).serialize())


def test_before_the_first_call() -> None:
    heard = Farewells()
    assert heard.receive(GoAwayFrame(0, last_stream_id=LAST).serialize())
    assert not heard.said


@pytest.mark.parametrize("size", range(8))
def test_farewell_that_is_too_short_is_not_waited_for(size: int) -> None:
    heard = open_stream(1)
    short = bytes([0, 0, size, 7, 0, 0, 0, 0, 0, *range(size)])
    assert heard.receive(short) == short
    assert not heard.said
