"""Hypothesis strategies: streams, damaged anywhere and cut anywhere."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import strategies as st

from tests.fixtures.load import STREAM_EXPECTATIONS, read_stream


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut data at these places; pieces are never empty."""
    edges = [0, *sorted(set(places)), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


def single_bytes(data: bytes) -> list[bytes]:
    """The worst cut."""
    return [data[i : i + 1] for i in range(len(data))]


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Any way of cutting data."""
    places = draw(st.lists(st.integers(0, len(data)), max_size=40))
    return cut(data, places)


names = st.sampled_from(sorted(STREAM_EXPECTATIONS))


@st.composite
def damaged_streams(draw: st.DrawFn) -> bytes:
    """A known stream with pieces taken out, put in, and replaced."""
    data = bytearray(read_stream(draw(names)))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 30))
        data[start : start + length] = draw(
            st.one_of(st.binary(max_size=12), st.sampled_from(_NASTY))
        )
    return bytes(data)


_NASTY = [
    b"\n",
    b"}{",
    b'"',
    b"\\",
    b"{",
    b"}",
    b"data: ",
    b"data: [DONE]\n",
    b"\xe2\x80\xa8",
    b"<grok:render ",
    b"\\u003c",
    b'{"error":{"code":8}}\n',
    b'{"result":{"response":{"token":"<grok:re","responseId":"x"}}}\n',
    b'{"result":{"response":{"isSoftStop":true}}}',
]

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
