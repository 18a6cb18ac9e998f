"""Clients get the very bytes that they got before, whatever the cut."""

from __future__ import annotations

import pytest

from tests.golden import GOLDEN, KINDS, make
from tests.strategies import single_bytes


@pytest.mark.parametrize("name", KINDS)
def test_bytes(name: str) -> None:
    expected = (GOLDEN / name).read_bytes()
    assert make(KINDS[name]) == expected
    assert len(expected) > 100


@pytest.mark.parametrize("name", KINDS)
def test_same_answer_in_single_bytes(name: str) -> None:
    if not KINDS[name].cut_off:
        assert make(KINDS[name], single_bytes) == (GOLDEN / name).read_bytes()


def test_no_file_is_left_over() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == set(KINDS)
