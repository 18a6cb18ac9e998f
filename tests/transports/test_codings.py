"""`transports.upstream.codings`: any cut gives the same, and a bomb goes off in small pieces."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from transports.upstream.codings import MAX_PIECE, CodingError, build_decoder

CODINGS = {
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
BOMB = 64 * 1024 * 1024
MOST = {"gzip": MAX_PIECE, "deflate": MAX_PIECE, "br": 2 * MAX_PIECE, "zstd": 8 * MAX_PIECE}
"""Bytes that one piece may have, and a coding's own block more."""


def decode(coding: str, pieces: list[bytes]) -> bytes:
    """All of a body."""
    decoder = build_decoder(coding)
    found = b"".join(part for piece in pieces for part in decoder.decode(piece))
    decoder.finish()
    return found


@pytest.mark.parametrize("coding", CODINGS)
@given(data=st.binary(max_size=500), size=st.integers(1, 50))
def test_any_cut(coding: str, data: bytes, size: int) -> None:
    coded = CODINGS[coding](data)
    pieces = [coded[start : start + size] for start in range(0, len(coded), size)]
    assert decode(coding, pieces) == data


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@given(parts=st.lists(st.binary(max_size=100), max_size=4), size=st.integers(1, 50))
def test_several_parts_are_one_body(coding: str, parts: list[bytes], size: int) -> None:
    coded = b"".join(CODINGS[coding](part) for part in parts)
    pieces = [coded[start : start + size] for start in range(0, len(coded), size)]
    assert decode(coding, pieces) == b"".join(parts)
    with pytest.raises(CodingError):
        decode(coding, [coded, CODINGS[coding](b"some text")[:-1]])


@pytest.mark.parametrize("coding", MOST)
@pytest.mark.parametrize("cut", [False, True])
def test_what_follows_the_end_is_a_fault(coding: str, cut: bool) -> None:
    coded = CODINGS[coding](b"some text")
    with pytest.raises(CodingError):
        decode(coding, [coded, b" and more"] if cut else [coded + b" and more"])


@pytest.mark.parametrize("coding", MOST)
def test_bombs(coding: str) -> None:
    """A body of some kilobytes: whoever takes a few pieces of it has had a few, and no more."""
    coded = CODINGS[coding](bytes(BOMB))
    assert len(coded) < BOMB // 900
    decoder = build_decoder(coding)
    sizes = [len(piece) for piece in itertools.islice(decoder.decode(coded), 10)]
    assert max(sizes) <= MOST[coding]
    whole = build_decoder(coding)
    assert sum(len(piece) for piece in whole.decode(coded)) == BOMB
    whole.finish()


@pytest.mark.parametrize("coding", MOST)
@given(data=st.data())
def test_damage_is_told(coding: str, data: st.DataObject) -> None:
    coded = bytearray(CODINGS[coding](b"some text that is long enough to be coded " * 5))
    place = data.draw(st.integers(0, len(coded) - 1))
    coded[place : place + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
    with contextlib.suppress(CodingError):  # and nothing else
        decode(coding, [bytes(coded)])


@pytest.mark.parametrize("coding", MOST)
def test_end_that_is_missing(coding: str) -> None:
    coded = CODINGS[coding](b"some text")
    for size in range(1, len(coded)):
        with pytest.raises(CodingError):
            decode(coding, [coded[:size]])


@pytest.mark.parametrize("coding", ["compress", "gzip, br", "x", "\x00"])
def test_codings_that_nobody_knows(coding: str) -> None:
    with pytest.raises(CodingError, match="not known"):
        build_decoder(coding)
