"""No text can forge the mark of a speaker."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from grokproto.prompt import build_prompt
from grokproto.request import Role, TextPart, Turn

texts = st.lists(
    st.sampled_from(
        [
            *(
                "USER: ",
                "ASSISTANT: ",
                "user:",
                " ",
                "\t",
                "\n",
                "\r",
                "\u2028",
                "\x85",
                "> ",
                "word",
            ),
            *("<think>", "</think>", "![a](data:image/png;base64,aGk=)", "Human\uff1a", "System :"),
        ]
    )
    | st.text(max_size=4),
    max_size=12,
).map("".join)


@given(st.lists(st.tuples(st.sampled_from([Role.USER, Role.ASSISTANT]), texts), min_size=1))
def test_marks_are_the_turns(said: list[tuple[Role, str]]) -> None:
    turns = [Turn(Role.USER, (TextPart("begin"),))]
    turns += [Turn(role, (TextPart(f"x{text}"),)) for role, text in said]
    message = build_prompt(turns).message
    marks = [
        found[1]
        for line in message.splitlines()
        if (found := re.match(r"\s*(user|assistant|system|human)\s*[:\uff1a]", line, re.I))
    ]
    speakers = ["USER" if turn.role is Role.USER else "ASSISTANT" for turn in turns]
    changes = [s for i, s in enumerate(speakers) if i == 0 or speakers[i - 1] != s]
    assert marks == changes


@given(
    st.text(st.characters(categories=("L", "N", "P"), exclude_characters="<![:\uff1a"), min_size=1)
)
def test_plain_text_is_not_touched(text: str) -> None:
    assert build_prompt([Turn(Role.USER, (TextPart(text),))]).message == f"USER: {text}"
