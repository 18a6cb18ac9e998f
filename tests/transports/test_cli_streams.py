"""Commands whose standard streams are full, closed or at their end, as a shell starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tracebacks import find_traceback
from tests.transports.test_credentials import ROOT

PLAIN = ROOT / "tests/fixtures/streams/plain.ndjson"
FULL = "grokproto: standard output: No space left on device\n"
CLOSED = "grokproto: standard output: Bad file descriptor\n"
NO_INPUT = "grokproto: standard input: Bad file descriptor\n"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fills devices of Linux's")


def run_in_shell(
    line: str, code: int, *, buffered: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a line of shell, where `$G` is the command line, and nothing is kept."""
    environment = {"PATH": os.environ["PATH"], "STATE": ":memory:", "SSO": "anna"}
    if not buffered:
        environment["PYTHONUNBUFFERED"] = "1"
    done = subprocess.run(
        ["bash", "-c", line],
        env={**environment, "G": f"{sys.executable} -m transports"},
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    assert find_traceback(done.stderr) == ""
    return done


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "--version",
        f"parse {PLAIN}",
        f"parse {PLAIN} --as text",
        "credentials list",
        "credentials export -",
        "conform http://127.0.0.1:9/ --list",
    ],
)
def test_output_that_is_full(command: str, buffered: bool) -> None:
    assert run_in_shell(f"$G {command} >/dev/full", 1, buffered=buffered).stderr == FULL


@pytest.mark.parametrize("command", ["--help", f"parse {PLAIN}", "credentials list"])
def test_output_that_is_closed(command: str) -> None:
    assert run_in_shell(f"$G {command} >&-", 1).stderr == CLOSED


@pytest.mark.parametrize(
    "command", ["parse -", "convert -", "replay -", "credentials add", "credentials import -"]
)
def test_input_that_is_closed(command: str) -> None:
    assert run_in_shell(f"$G {command} <&-", 1).stderr == NO_INPUT


def test_reader_that_has_seen_enough(tmp_path: Path) -> None:
    """Nothing is said of that, and the shell's other commands go on."""
    long = tmp_path / "long"
    long.write_bytes(b'{"result":{"response":{"token":"a, b"}}}\n' * 20_000)
    done = run_in_shell(f"$G parse {long} --as text | head -c 4; exit ${{PIPESTATUS[0]}}", 1)
    assert (done.stdout, done.stderr) == ("a, b", "")


def test_nobody_can_be_told() -> None:
    assert run_in_shell("$G credentials list >/dev/full 2>/dev/full", 1).stderr == ""
    assert run_in_shell("$G simulate --model x 2>/dev/full", 2).stderr == ""
    run_in_shell(f"$G parse {PLAIN} 2>/dev/full", 1)
    assert run_in_shell(f"$G parse {PLAIN} 2>&-", 0).stdout
    run_in_shell("$G --help <&- >&- 2>&-", 1)


@pytest.mark.parametrize("command", ["parse", "replay"])
def test_file_without_an_end(command: str) -> None:
    told = run_in_shell(f"$G {command} /dev/zero", 2).stderr
    assert told == "grokproto: /dev/zero is larger than 256 MiB\n"


@pytest.mark.parametrize("command", ["parse", "convert", "replay", "credentials import"])
def test_file_that_cannot_be_read(command: str) -> None:
    told = run_in_shell(f"$G {command} /proc/self/mem", 2).stderr
    assert told == "grokproto: /proc/self/mem cannot be read: Input/output error\n"
