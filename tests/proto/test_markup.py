"""`grokproto.grok.markup`."""

from __future__ import annotations

import pytest

from grokproto.grok.markup import MarkupStripper

CASES = [
    ("plain", "plain"),
    ("a<b <b> <grokking> <xai: </grok:render>", "a<b <b> <grokking> <xai: </grok:render>"),
    ("<grok:renderer>x</grok:renderer>", "<grok:renderer>x</grok:renderer>"),
    ("<xai:tool_usage_card_id>7</xai:tool_usage_card_id>",) * 2,
    ("a<grok:render x='1'>y</grok:render>b", "ab"),
    ("a<grok:render\n/>b<grok:render/>c", "abc"),
    ("a<xai:tool_usage_card><b></b>< /</xai:tool_usage_card >no</xai:tool_usage_card>b", "ab"),
    ("<<grok:render><</grok:render><", "<<"),
    ("a<grok:render>never closed", "a"),
    ("a<grok:render never closed", "a"),
    ("a<grok:render", "a"),
    ("a<grok:rende", "a<grok:rende"),
    ("a<", "a<"),
    ("<grok:render a='/'>x</grok:render>y", "y"),
    ("<grok:render></grok:</grok:render>y", "y"),
]


@pytest.mark.parametrize(("text", "kept"), CASES)
def test_strip(text: str, kept: str) -> None:
    for size in (len(text), 1, 2, 3, 7):
        stripper = MarkupStripper()
        got = "".join(stripper.receive(text[i : i + size]) for i in range(0, len(text), size))
        assert got + stripper.flush() == kept


def test_holds_back_no_longer_than_a_possible_mark() -> None:
    stripper = MarkupStripper()
    assert stripper.receive("one <") == "one "
    assert stripper.receive("gro") == ""
    assert stripper.receive("w> two") == "<grow> two"
    assert stripper.receive(" three") == " three"
    assert stripper.flush() == ""


def test_many_marks_take_linear_steps() -> None:
    stripper = MarkupStripper()
    assert stripper.receive("<" * 200_000) == "<" * 199_999
    assert stripper.flush() == "<"
