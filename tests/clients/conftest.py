"""A demo server in a process of its own, as users start it."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tracebacks import find_traceback

from .offline import stay_offline
from .stand import KEY, Stand, open_stand

__all__ = ["KEY"]


Demo = subprocess.Popen[str]


def start_demo(directory: Path, *arguments: str, **environment: str) -> tuple[Demo, str]:
    """Start `grokproto serve --demo`; give the process and its base address."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "VIRTUAL_ENV", "SYSTEMROOT", "PYTHONPATH", "LANG")
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "transports", "serve", "--demo", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=directory,
        env={**variables, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://\S+", line)
    if found is None:
        process.kill()
        _, errors = process.communicate()
        raise AssertionError(f"it did not start: {errors}")
    return process, found[0]


def stop_demo(process: Demo) -> str:
    """Stop it as Ctrl-C does; give its log."""
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    return errors


@pytest.fixture(autouse=True)
def _offline() -> Iterator[None]:
    """Whatever client is tried: it stays on this machine."""
    with stay_offline():
        yield


@pytest.fixture
def _sweep() -> Iterator[None]:
    """For clients that leave connections and event loops to the garbage collector."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        asyncio.set_event_loop(None)
        gc.collect()


@pytest.fixture(params=[None, 1], ids=["lines", "bytes"])
def stand(request: pytest.FixtureRequest) -> Iterator[Stand]:
    """A server of one's own, in front of a Grok that sends whole lines, or single bytes."""
    with open_stand(cut=request.param) as stand:
        yield stand


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base address of a demo server."""
    process, url = start_demo(tmp_path_factory.mktemp("demo"))
    try:
        yield url
    finally:
        log = stop_demo(process)
    assert find_traceback(log) == ""
