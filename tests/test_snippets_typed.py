"""The snippets of the documents satisfy the strictest type checkers, as a user's would have to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.snippets import ROOT, find_blocks

# What clients.md shows is others' APIs, and is run in tests/clients.
_OURS = sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name != "clients.md")
DOCUMENTS = ["README.md", *(f"docs/{name}" for name in _OURS)]

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def snippets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with all of them, a file each."""
    directory = tmp_path_factory.mktemp("snippets")
    for document in DOCUMENTS:
        for number, code in enumerate(find_blocks(document, "python")):
            if "from tests" in code:
                continue  # nobody installs these
            name = f"{Path(document).stem.lower()}_{number}.py"
            (directory / name).write_text(code, encoding="utf-8")
    assert len(list(directory.iterdir())) > 3
    return directory


def run(*command: str, directory: Path) -> None:
    """Run a type checker, which must find nothing."""
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy(snippets: Path) -> None:
    run(sys.executable, "-m", "mypy", "--strict", ".", directory=snippets)


def test_pyright(snippets: Path) -> None:
    pytest.importorskip("basedpyright", reason="pip install -e '.[heavy]'")
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT)]}
    (snippets / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    here = ("--pythonpath", sys.executable)
    run(sys.executable, "-m", "basedpyright", *here, ".", directory=snippets)


def test_misspelt_name(tmp_path: Path) -> None:
    """It is loaded when it is first used, and is told of before."""
    (tmp_path / "misspelt.py").write_text("from grokproto import BodyConvertor\n")
    command = (sys.executable, "-m", "mypy", "--strict", ".")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert 'no attribute "BodyConvertor"' in done.stdout
