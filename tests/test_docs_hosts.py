"""README and docs/hosts.md are true of hosts: their programs are run against a simulated Grok."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.hosts.hosting import (
    KEY,
    Accounts,
    Grok,
    hosted,
    run_uvicorn,
    run_werkzeug,
    running,
)
from tests.snippets import find_block, read_document, run_python
from transports.commands.conform import conform_command
from transports.conform import CHECKS, Outcome, Target, run_checks
from transports.inprocess import build_async_transport

NAMES = ("models", "chat", "stream", "stream end", "wrong key", "HEAD")


@pytest.fixture
def grok(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Grok]:
    """A simulated Grok, to which the environment leads."""
    monkeypatch.chdir(tmp_path)
    with Grok() as grok:
        for name, value in {
            "GROK_BASE_URL": grok.simulator.base_url,
            "API_KEY": KEY,
            "SSO": "anna,bert",
            "STATE": str(tmp_path / "state"),
            "QUOTA_PROBE": "false",
        }.items():
            monkeypatch.setenv(name, value)
        yield grok


def check(url: str, key: str = KEY) -> None:
    """Run some checks."""
    target = Target(url, key=key, model="grok-3", timeout=10)
    results = list(run_checks(target, [each for each in CHECKS if each.name in NAMES]))
    assert [(each.check.name, each.outcome) for each in results] == [
        (name, Outcome.PASSED) for name in NAMES
    ]


@pytest.mark.usefixtures("grok")
def test_fastapi() -> None:
    _, names = run_python(find_block("README.md", "python", "FastAPI"))
    with running(lambda sock: run_uvicorn(names["app"], sock)) as listening:
        check(f"{listening.url}/grok/v1")


@pytest.mark.usefixtures("grok")
def test_flask() -> None:
    _, names = run_python(find_block("README.md", "python", "Flask"))
    with names["application"].mounts["/grok"]:
        with running(lambda sock: run_werkzeug(names["application"], sock)) as listening:
            check(f"{listening.url}/grok/v1")


@pytest.mark.usefixtures("grok")
def test_sdk_without_a_port() -> None:
    printed, _ = run_python(find_block("README.md", "python", "build_transport"))
    assert "Name a colour." in printed


def test_by_hand(grok: Grok) -> None:
    code = find_block("docs/hosts.md", "python", "load_config")
    url = grok.simulator.base_url
    _, names = run_python(code.replace('"STATE"', f'"GROK_BASE_URL": "{url}", "STATE"'))
    with running(lambda sock: run_uvicorn(names["app"], sock)) as listening:
        check(f"{listening.url}/v1", "a-key")
    code = find_block("docs/hosts.md", "python", "CredentialPool")
    _, names = run_python(code.replace("Settings(max", f'Settings(base_url="{url}", max'))
    with running(lambda sock: run_uvicorn(names["app"], sock)) as listening:
        check(f"{listening.url}/v1", "a-key")
    names["scheduler"].store.close()


def test_checks_in_a_test() -> None:
    _, names = run_python(find_block("docs/hosts.md", "python", "run_checks"))
    with Grok(quotas={"grok-3": (1000, 7200.0)}) as grok:
        for quotas, well in (("grok-3=1000/2h", True), ("grok-3=1/2h", False)):
            config = grok.configure(API_KEY="a-key", QUOTAS=quotas)
            with hosted("werkzeug", config, Accounts(config)) as listening:
                expected = contextlib.nullcontext() if well else pytest.raises(AssertionError)
                with expected:
                    names["check"](f"{listening.url}/v1")


def test_what_is_said_of_the_command() -> None:
    told = {parameter.name for parameter in conform_command.params}
    for document in ("README.md", "docs/hosts.md"):
        text = read_document(document)
        assert "grokproto conform URL" in text
    assert {"url", "key", "model", "basic", "only", "as_json", "listed"} <= told
    assert 40 < len(CHECKS) < 60


def test_commands_name_what_is_there() -> None:
    text = read_document("README.md")
    for reference in ("transports.asgi:build_app", "transports.threaded:build_app"):
        assert reference in text
        module, name = reference.split(":")
        assert callable(getattr(__import__(module, fromlist=[name]), name))


@pytest.mark.usefixtures("grok")
def test_asynchronous_transport() -> None:
    async def ask() -> None:
        async with httpx.AsyncClient(transport=build_async_transport()) as client:
            assert (await client.get("http://grok/v1/models")).status_code == 200

    asyncio.run(ask())
