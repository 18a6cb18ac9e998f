"""The wheel: it is built, installed into an empty environment without a compiler, and serves."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

from tests.snippets import ROOT

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel and the source distribution."""
    pytest.importorskip("build", reason="pip install -e '.[heavy]'")
    directory = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", str(directory), str(ROOT))
    return directory


def run(*command: str, **environment: str) -> str:
    """Run a command to its end; give what it printed."""
    done = subprocess.run(
        command,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environment},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheel_has_the_packages_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"grokproto", "transports"}
    assert {"grokproto/py.typed", "transports/py.typed"} <= set(names)
    sources = {str(path.relative_to(ROOT)) for path in ROOT.glob("grokproto/**/*.py")}
    assert sources <= set(names)


def test_source_distribution_can_be_tested(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "grokproto/py.typed"} <= names
    assert {"tests/test_wheel.py", "docs/parser.md"} <= names


def test_server_starts_from_the_wheel(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    no_compiler = {"CC": "/bin/false", "CXX": "/bin/false", "HOME": str(tmp_path)}
    run(
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--only-binary=:all:",
        str(wheel),
        **no_compiler,
    )
    listed = json.loads(run(str(python), "-m", "pip", "list", "--format", "json"))
    installed = {each["name"].lower() for each in listed}
    assert not {"pytest", "openai", "starlette", "flask", "uvicorn", "anyio"} & installed
    command = [str(tmp_path / "venv/bin/grokproto"), "serve", "--demo", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path
    ) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"http://\S+", server.stdout.readline())
            assert found is not None
            body = {"model": "grok-3", "messages": [{"role": "user", "content": "Name a colour."}]}
            request = urllib.request.Request(
                f"{found[0]}/chat/completions",
                json.dumps(body).encode(),
                {"authorization": "Bearer sk-123456789", "content-type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=20) as response:
                answer = json.load(response)
        finally:
            server.terminate()
    assert answer["choices"][0]["message"]["content"].startswith("You asked: Name a colour.")
    assert server.returncode == 0
