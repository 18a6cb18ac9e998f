"""`python -m tests.clients.install`: what the tests marked `heavy` need, beside the project.

Python clients that want versions of their own get an environment of their own; Node's and Debian's
come from where these come from. What is there already is left alone. `CLIENTS_DIR` says where to.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLIENTS = Path(os.environ.get("CLIENTS_DIR") or ROOT / ".clients")
PYTHON = CLIENTS / "venv" / "bin" / "python"
NODE = CLIENTS / "node"
_NPM = ("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")


def _run(*command: str | Path, cwd: Path = ROOT) -> None:
    print("+", *command, flush=True)
    subprocess.run(command, cwd=cwd, check=True)


def install_python() -> None:
    """The Python clients of the extra `clients`, by uv: pip takes long to find versions that go
    together."""
    if not PYTHON.exists():
        venv.create(CLIENTS / "venv", with_pip=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    _run(PYTHON, "-m", "pip", "install", "--quiet", "uv")
    wanted = project["optional-dependencies"]["clients"]
    options = ("--quiet", "--compile-bytecode", "--python", PYTHON)
    _run(PYTHON, "-m", "uv", "pip", "install", *options, *wanted)


def install_node() -> None:
    """The clients for Node."""
    NODE.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).parent / "node" / "package.json", NODE)
    _run(*_NPM, cwd=NODE)


def install_browser() -> None:
    """Chromium and its driver, from Debian."""
    if shutil.which("chromium") and shutil.which("chromedriver"):
        return
    packages = ("chromium", "chromium-driver")
    _run("apt-get", "update", "-qq")
    _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)


def main() -> int:
    """Install everything."""
    install_python()
    install_node()
    install_browser()
    return 0


if __name__ == "__main__":
    sys.exit(main())
