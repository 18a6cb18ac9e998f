"""The fuzzed targets hold for their seeds, and would notice a broken rule."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import targets
from tests.fuzz.__main__ import CORPUS, NAMES
from tests.fuzz.seeds import build_seeds, write
from tests.fuzz.targets import KNOBS, TARGETS, Knobs
from transports.server.http_request import HTTPRequest


@pytest.mark.parametrize("name", NAMES)
def test_seeds(name: str) -> None:
    files = sorted((CORPUS / name).iterdir())
    assert len(files) >= 20
    for file in files:
        TARGETS[name](file.read_bytes())
        TARGETS[name](file.read_bytes()[: KNOBS + 30])


def test_seeds_can_be_made_again(tmp_path: Path) -> None:
    write(tmp_path)
    for name, seeds in build_seeds().items():
        assert {path.name for path in (tmp_path / name).iterdir()} == {*seeds}
        assert {path.name for path in (CORPUS / name).iterdir()} == {*seeds}


@pytest.mark.parametrize("name", NAMES)
def test_any_small_input(name: str) -> None:
    for data in (b"", b"\0", b"\xff" * KNOBS, b"\x03\xff\xff\xff\r\n{", bytes(range(60))):
        TARGETS[name](data)


def test_knobs_choose_cuts() -> None:
    data = bytes(range(100))
    cuts = {tuple(Knobs(bytes((0, n, n, n)) + data).pieces) for n in range(40)}
    assert len(cuts) > 20
    assert all(b"".join(pieces) == data for pieces in cuts)


def test_what_depends_on_cuts_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = targets.read
    monkeypatch.setattr(targets, "read", lambda pieces, **more: sound(pieces[:1], **more))
    with pytest.raises(AssertionError):
        TARGETS["reader"](b'\x00\x07\x01\x01{"token":"one"}{"token":"two"}')


def test_mistakes_of_a_handler_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def mistaken(_: HTTPRequest) -> None:
        raise RuntimeError

    monkeypatch.setattr(targets, "answer_request", mistaken)
    with pytest.raises(AssertionError):
        TARGETS["connection"](b"\x00\x00\x00\x00GET / HTTP/1.1\r\nHost: a\r\n\r\n")


def test_command_line_says_what_there_is() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "nothing"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 1
    assert "reader, request, connection" in done.stderr
