"""The snippets of the documents: finding them, and running them."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def read_document(name: str) -> str:
    """A document, by its path from the root."""
    return (ROOT / name).read_text(encoding="utf-8")


def find_blocks(name: str, language: str) -> list[str]:
    """The fenced blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", read_document(name), re.DOTALL)


def find_block(name: str, language: str, has: str) -> str:
    """The one that has this in it."""
    (found,) = (block for block in find_blocks(name, language) if has in block)
    return found


def run_python(code: str) -> tuple[str, dict[str, Any]]:
    """Run a snippet; give what it printed and what it defined."""
    names: dict[str, Any] = {"__name__": "snippet"}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "snippet", "exec"), names)
    return printed.getvalue(), names
