"""Coverage-guided fuzzing: `python -m tests.fuzz TARGET [DIRECTORY] [OPTIONS OF LIBFUZZER]`

DIRECTORY keeps what is found between runs; without one it is thrown away. See docs/fuzzing.md.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

CORPUS = Path(__file__).parent / "corpus"
NAMES = ("reader", "request", "connection")
INSTRUMENTED = ["grokproto", "transports", "h11"]
"""Packages whose branches guide the fuzzer."""
_OPTIONS = ["-timeout=60"]
"""What takes longer is a find."""


def fuzz(name: str, directories: list[str], options: list[str]) -> NoReturn:
    """Fuzz until told to stop, or until something is found. The process ends with it."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        from .targets import TARGETS

    for each in directories:
        Path(each).mkdir(parents=True, exist_ok=True)
    arguments = [sys.argv[0], *_OPTIONS, *options, *directories, str(CORPUS / name)]
    atheris.Setup(arguments, TARGETS[name])
    atheris.Fuzz()
    raise AssertionError("the fuzzer has ended the process")


def main(arguments: list[str]) -> None:
    """Fuzz what is asked for."""
    if not arguments or arguments[0] not in NAMES:
        sys.exit(f"{__doc__}\nTARGET is one of {', '.join(NAMES)}.")
    name, rest = arguments[0], arguments[1:]
    directories = [each for each in rest if not each.startswith("-")]
    if directories:
        fuzz(name, directories, [each for each in rest if each.startswith("-")])
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "tests.fuzz", name, directory, *rest]
        sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main(sys.argv[1:])
