"""`docs/clients.md`, whose settings are those that the tests use: they are taken from there."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

from .stand import KEY, Stand

GUIDE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:3000/v1"
QUESTION = "Name a colour."
ANSWER = (
    "You asked: Name a colour. — simulated answers are made of plain words so that a reader sees "
    "Done."
)
"""What the simulated Grok says to that."""


def find_snippet(heading: str, language: str) -> str:
    """The fenced block of a language under a heading; there is one."""
    (section,) = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", GUIDE, re.M | re.S)
    (block,) = re.findall(rf"```{language}\n(.*?)```", section, re.S)
    return str(block)


def read_snippet(heading: str, language: str, stand: Stand) -> str:
    """The same, for this server."""
    block = find_snippet(heading, language)
    assert ADDRESS in block or KEY in block
    return block.replace(ADDRESS, stand.base_url)


def run_snippet(heading: str, stand: Stand) -> str:
    """Run the Python block under a heading; give what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(read_snippet(heading, "python", stand), heading, "exec"), {})
    return printed.getvalue().strip()
