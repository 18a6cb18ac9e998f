"""Running clients that are programs of their own, kept to this machine."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .guide import read_snippet
from .install import NODE, PYTHON
from .offline import offline_environment
from .stand import KEY, Stand

PROGRAMS = Path(__file__).parent / "programs"
PATIENCE = 120.0

_QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # litellm fetches its price list otherwise
    "LITELLM_TELEMETRY": "False",
}


def need(path: Path) -> Path:
    """A file that has been installed."""
    assert path.exists(), f"{path} is missing: python -m tests.clients.install"
    return path


@contextmanager
def client_environment(directory: Path) -> Iterator[dict[str, str]]:
    """The environment of a client; fails at the end if it reached beyond this machine."""
    with offline_environment(directory) as environment:
        path = f"{need(PYTHON).parent}{os.pathsep}{environment['PATH']}"
        yield {**environment, **_QUIET, "PATH": path}


def run(directory: Path, *command: str | Path, **more: str) -> str:
    """Run a client to its end; give what it printed. It must end well."""
    with client_environment(directory) as environment:
        done = subprocess.run(
            command,
            env={**environment, **more},
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def run_python(directory: Path, heading: str, program: str, stand: Stand) -> tuple[str, Any]:
    """Run the guide's Python block under a heading, and one of the programs here after it, in one
    process, since some clients take long to start; give what the block printed, and what the
    program saw."""
    parts = read_snippet(heading, "python", stand), (PROGRAMS / program).read_text(encoding="utf-8")
    (directory / "client.py").write_text("\n\n".join(parts), encoding="utf-8")
    printed = run(directory, PYTHON, "client.py", stand.base_url, KEY).strip().splitlines()
    return printed[0], json.loads(printed[-1])


def prepare_node(directory: Path) -> None:
    """Make Node find its packages from a directory."""
    need(NODE / "node_modules" / "openai")
    (directory / "node_modules").symlink_to(NODE / "node_modules")


def run_node_snippet(directory: Path, heading: str, stand: Stand, **more: Any) -> str:
    """Run the guide's JavaScript block under a heading."""
    prepare_node(directory)
    (directory / "snippet.mjs").write_text(read_snippet(heading, "js", stand))
    return run(directory, "node", "snippet.mjs", **more).strip()
