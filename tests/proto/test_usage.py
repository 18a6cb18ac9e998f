"""`grokproto.usage`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grokproto.usage import TokenCounter, estimate_tokens


def test_nothing_is_nothing() -> None:
    assert TokenCounter().tokens == 0
    assert estimate_tokens("") == 0
    assert estimate_tokens("a") == 1


def test_scripts_differ() -> None:
    latin = estimate_tokens("abcdefghij" * 100)
    for text in ("ž", "жизнь"[0], "ا", "अ", "ა", "—", "あ", "한", "中", "👋"):
        assert estimate_tokens(text * 1000) > latin


@given(st.text(), st.text())
def test_cuts_do_not_matter(first: str, second: str) -> None:
    counter = TokenCounter()
    counter.add(first)
    counter.add(second)
    assert counter.tokens == estimate_tokens(first + second)
    assert isinstance(counter.tokens, int)
