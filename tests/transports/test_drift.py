"""The drift alarm: what is unknown in Grok's answers is counted, and shown to those with a key."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from grokproto import ModelTable, Settings
from grokproto.answer import Unknown
from grokproto.commands import Summary
from tests.clients.conftest import start_demo, stop_demo
from tests.simulators import running_simulator
from tests.transports.served import Served, with_server
from tests.transports.test_cli_credentials import run
from transports.api.drift import MAX_NAMES, Drift
from transports.api.front import Head
from transports.api.routes import Front
from transports.server.http_request import RequestHeaders


def test_adding_up() -> None:
    news: list[str] = []
    drift = Drift(lambda each: news.append(each.name))
    drift.add([Unknown("a", 2, "number"), Unknown("b", 1, "null")], 10.0)
    drift.add([Unknown("a", 3, "string")], 20.0)
    drift.add([], 30.0)
    assert news == ["a", "b"]
    assert drift.describe() == [
        {"name": "a", "shape": "number", "first": 10.0, "last": 20.0, "times": 5, "answers": 2},
        {"name": "b", "shape": "null", "first": 10.0, "last": 10.0, "times": 1, "answers": 1},
    ]


def test_only_so_many_names() -> None:
    drift = Drift()
    for number in range(2 * MAX_NAMES):
        drift.add([Unknown(f"n{number}", 1, "null")], 0.0)
    assert len(drift) == MAX_NAMES


def test_front_tells_of_each_name_once() -> None:
    news: list[Unknown] = []
    front = Front(
        keys=None,
        models=ModelTable(),
        settings=Settings(),
        max_body_bytes=1,
        on_drift=news.append,
    )
    seen = Unknown("novelty", 1, "null")
    for _ in range(2):
        call = front.open(Head("POST", "/v1/chat/completions", RequestHeaders([])), 0.0)
        call.summary = None
        call.summary = Summary(200, None, 1, "a", 1, 1, unknown=(seen,))
        assert call.summary.unknown == (seen,)
    assert news == [seen]


def test_health_tells_how_many_and_with_a_key_which() -> None:
    async def check(served: Served) -> None:
        assert "drift" not in (await served.request("GET", "/health")).json
        for _ in range(2):
            assert (await served.chat("[[fault:long_line]]")).status == 200
        health = (await served.request("GET", "/health", authorization="")).json
        assert health["drift"] == {"names": 1}
        wrong = (await served.request("GET", "/health", authorization="Bearer sk-wrong")).json
        assert wrong["drift"] == {"names": 1}
        (seen,) = (await served.request("GET", "/health")).json["drift"]["seen"]
        assert (seen["name"], seen["times"], seen["answers"]) == ("novelty", 2, 2)
        assert seen["shape"] == "5000002 bytes"

    with_server(check)


def test_users_with_cookies_of_their_own_see_no_more_than_how_many() -> None:
    async def check(served: Served) -> None:
        key = "Bearer cookie-of-anna"
        answer = await served.request(
            "POST",
            "/v1/chat/completions",
            {"model": "grok-3", "messages": [{"role": "user", "content": "[[fault:long_line]]"}]},
            authorization=key,
        )
        assert answer.status == 200
        health = (await served.request("GET", "/health", authorization=key)).json
        assert health["drift"] == {"names": 1}

    with_server(check, IS_CUSTOM_SSO="true", accounts=())


def test_doctor_asks_the_server(tmp_path: Path) -> None:
    key = "a-key-of-its-own"
    process, url = start_demo(tmp_path, API_KEY=key)
    port = url.removesuffix("/v1").rpartition(":")[2]

    def ask_doctor(**environment: str) -> str:
        closed = {"GROK_BASE_URL": "http://127.0.0.1:9", "STATE": str(tmp_path / "state")}
        said = run("doctor", "--json", code=1, PORT=port, SSO="a", **closed, **environment).stdout
        findings = {each["check"]: each for each in map(json.loads, said.splitlines())}
        return f"{findings['drift']['level']}: {findings['drift']['sentence']}"

    try:
        assert ask_doctor(API_KEY=key).startswith("ok: The server has seen nothing")
        body = {"model": "grok-3", "messages": [{"role": "user", "content": "[[fault:long_line]]"}]}
        headers = {"authorization": f"Bearer {key}"}
        httpx.post(f"{url}/chat/completions", json=body, headers=headers)
        said = ask_doctor(API_KEY=key, HOST="0.0.0.0")
        assert said.startswith("warning: ")
        assert "novelty (1 times: 5000002 bytes)" in said
        hashed = ask_doctor(API_KEY=f"sha256:{'0' * 64}")
        assert "unknown here: 1 names, told only to those with a key of its own." in hashed
    finally:
        stop_demo(process)


def test_doctor_without_a_server(tmp_path: Path) -> None:
    said = run(
        "doctor",
        code=1,
        PORT="9",
        SSO="a",
        GROK_BASE_URL="http://127.0.0.1:9",
        STATE=str(tmp_path / "state"),
    ).stdout
    assert "No server runs here that could tell" in said


def test_doctor_beside_a_server_of_another_kind(tmp_path: Path) -> None:
    with running_simulator() as url:
        said = run(
            "doctor",
            code=1,
            PORT=url.rpartition(":")[2],
            SSO="a",
            GROK_BASE_URL="http://127.0.0.1:9",
            STATE=str(tmp_path / "state"),
        ).stdout
    assert "No server runs here that could tell" in said
