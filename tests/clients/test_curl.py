"""curl, as its users use it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from .guide import ANSWER, read_snippet
from .offline import offline_environment
from .stand import KEY, Stand


def run(directory: Path, command: str) -> str:
    """Run a line of the shell's."""
    with offline_environment(directory) as environment:
        done = subprocess.run(
            ["sh", "-c", command], env=environment, capture_output=True, text=True, check=True
        )
    return done.stdout


def test_guide(stand: Stand, tmp_path: Path) -> None:
    printed = run(tmp_path, read_snippet("curl", "sh", stand).replace("curl ", "curl -sS ", 1))
    events = [block.removeprefix("data: ") for block in printed.split("\n\n") if block]
    assert events.pop() == "[DONE]"
    choices = [json.loads(event)["choices"][0] for event in events]
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == ANSWER


def test_error(stand: Stand, tmp_path: Path) -> None:
    command = f"curl -sS -w '\\n%{{http_code}}' -H 'Authorization: Bearer {KEY}' -d @- "
    body = 'printf \'\\357\\273\\277{"model": "grok-3"}\''  # a BOM, and a form's content type
    printed = run(tmp_path, f"{body} | {command} {stand.base_url}/chat/completions")
    answer, status = printed.rsplit("\n", 1)
    assert status == "400"
    assert json.loads(answer)["error"]["param"] == "messages"
