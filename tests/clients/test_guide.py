"""Every section of `docs/clients.md` is run by a test here."""

from __future__ import annotations

import re
from pathlib import Path

from .guide import ANSWER, GUIDE, run_snippet
from .stand import Stand

TESTS = "".join(
    path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("test_*.py"))
)


def test_no_section_is_left_out() -> None:
    headings = re.findall(r"^## (.*)$", GUIDE, re.MULTILINE)
    assert len(headings) > 10
    assert [heading for heading in headings if f'"{heading}"' not in TESTS] == []


def test_openai(stand: Stand) -> None:
    assert run_snippet("openai for Python", stand) == ANSWER
