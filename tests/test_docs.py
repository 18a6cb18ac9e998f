"""The documents are true: links lead somewhere, and what is made from the code is up to date."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.fixtures.load import read_stream
from tests.generated import PARTS, write_parts
from tests.snippets import ROOT, find_block, read_document
from tests.transports.test_cli_offline import invoke

DOCUMENTS = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


@pytest.mark.parametrize("document", PARTS)
def test_parts_are_up_to_date(document: str) -> None:
    text = read_document(document)
    assert write_parts(text, PARTS[document]) == text, "run python -m tests.generated"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    text = re.sub(r"```.*?```|`[^`]*`", "", read_document(document), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", text):
        assert ((ROOT / document).parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_are_there(document: str) -> None:
    named = re.findall(
        r"`((?:grokproto|transports|tests|docs|benchmarks)/[\w./]+\.(?:py|md))`",
        read_document(document),
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_commands_of_transcripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "answer.ndjson").write_bytes(read_stream("plain.ndjson"))
    block = find_block("docs/transcripts.md", "sh", "parse")
    commands = [line for line in block.splitlines() if line.startswith("grokproto ")]
    assert len(commands) == 2
    for command in commands:
        _, *arguments = shlex.split(command)
        assert "Whole." in invoke(*arguments).stderr
