"""The guards that keep clients to this machine do stop them, and do tell."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from .offline import offline_environment, stay_offline
from .webdriver import open_browser

ELSEWHERE = "192.0.2.1"  # set aside for documentation: nobody's


def reach(host: str) -> None:
    """Try to connect."""
    with contextlib.suppress(OSError), socket.create_connection((host, 9), timeout=5):
        pass


@pytest.mark.parametrize("host", [ELSEWHERE, "api.openai.com"])
def test_this_process(host: str) -> None:
    with pytest.raises(AssertionError, match=host), stay_offline():
        reach(host)
    with stay_offline():
        reach("127.0.0.1")


PYTHON = "import socket; socket.socket().connect(({!r}, 9))"


def run(directory: Path, *command: str) -> int:
    """Run a program with the guards on."""
    with offline_environment(directory) as environment:
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


def test_python(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=ELSEWHERE):
        run(tmp_path, sys.executable, "-c", PYTHON.format(ELSEWHERE))
    (tmp_path / "more").mkdir()
    code = "import urllib.request as u; u.urlopen('http://api.openai.com')"
    with pytest.raises(AssertionError, match=r"api\.openai\.com"):
        run(tmp_path / "more", sys.executable, "-c", code)


def test_program_that_goes_by_the_proxy(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"GET http://api\.openai\.com/"):
        run(tmp_path, "curl", "-s", "--max-time", "5", "http://api.openai.com/")


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("code", "stranger"),
    [
        ("fetch('http://api.openai.com/').catch(() => {})", r"api\.openai\.com"),
        (f"try {{ require('net').connect(9, '{ELSEWHERE}') }} catch {{}}", ELSEWHERE),
        ("try { require('dns').promises.lookup('openai.com') } catch {}", r"openai\.com"),
    ],
)
def test_node(tmp_path: Path, code: str, stranger: str) -> None:
    with pytest.raises(AssertionError, match=stranger):
        run(tmp_path, "node", "-e", code)


def show_stranger(directory: Path) -> None:
    """A page that asks for what is elsewhere."""
    page = "<script>fetch('http://api.openai.com').catch(() => document.title = 'done')</script>"
    with open_browser(directory) as browser:
        browser.open(f"data:text/html,{page}")
        browser.wait_for_title("done")


@pytest.mark.heavy
def test_browser(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"(GET http://|CONNECT )api\.openai\.com"):
        show_stranger(tmp_path)


def test_program_that_stays_here(tmp_path: Path) -> None:
    assert run(tmp_path, sys.executable, "-c", "print(1)") == 0
