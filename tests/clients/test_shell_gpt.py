"""shell-gpt, as its users use it."""

from __future__ import annotations

from pathlib import Path

import pytest

from .guide import ANSWER, QUESTION, find_snippet, read_snippet
from .running import run
from .stand import Stand

pytestmark = pytest.mark.heavy


def test_guide(stand: Stand, tmp_path: Path) -> None:
    directory = tmp_path / ".config" / "shell_gpt"
    directory.mkdir(parents=True)
    (directory / ".sgptrc").write_text(read_snippet("shell-gpt", "ini", stand))
    printed = run(tmp_path, "sh", "-ec", find_snippet("shell-gpt", "sh"))
    assert printed.startswith("You asked: You are ShellGPT ")
    assert " ".join(printed.split()).endswith(ANSWER.partition("— ")[2])
    message = stand.questions[0].body["message"]
    assert message.startswith("USER: You are ShellGPT\n")
    assert message.endswith(QUESTION)
