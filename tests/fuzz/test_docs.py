"""docs/fuzzing.md is true: its snippets are run, its commands and names are those there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpcore
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.__main__ import NAMES
from tests.snippets import ROOT, find_block, read_document, run_python
from tests.transports.simulated import Client, with_simulator
from transports.simulator import Simulator
from transports.upstream.codings import CodingError

PAGE = "docs/fuzzing.md"
TEXT = read_document(PAGE)


def run_block(word: str) -> dict[str, Any]:
    """Run the snippet that holds a word; what it defined."""
    return run_python(find_block(PAGE, "python", word))[1]


def test_targets() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)) == {*NAMES}


def test_files_are_there() -> None:
    for name in re.findall(r"`((?:tests|transports|benchmarks)/[\w/.]+)`", TEXT):
        assert (ROOT / name).exists(), name


def test_find_is_shown_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "crash-1").write_bytes(b"\0\0\0\0x")
    run_block("TARGETS")


PLAY = run_block("def play")["play"]


@given(st.binary(max_size=60))
def test_play(data: bytes) -> None:
    PLAY(data)


def test_simulator_that_misbehaves() -> None:
    names = run_block("def misbehave")

    async def check(simulator: Simulator, client: Client) -> None:
        for number in range(40):
            names["misbehave"](simulator, b"%d" % number)
            with trio.move_on_after(0.05):
                try:
                    await client.ask()
                except (httpcore.NetworkError, httpcore.RemoteProtocolError, CodingError):
                    pass
            await simulator.site.wait_for(lambda: simulator.site.open_calls == 0)
            names["hold"](simulator)
            simulator.site.faults.clear()

    with_simulator(check)
