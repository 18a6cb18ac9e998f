"""Canaries: texts that may stand nowhere, planted wherever a secret can be; then everything that
goes wrong is made to go wrong, and all that comes out of the program is searched for them."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.transports.served import RawResponse, Served, chat, with_server
from transports.logs import configure_logs
from transports.simulator import FaultKind

MARK = "canary"
"""Every secret here has it in it, and nothing else has."""
SSO, ADDED, KEY, WRONG_KEY = "canary-sso", "canary-added", "canary-key", "canary-wrong-key"
TEXT = "canary-in-a-question"
PICTURE = "data:image/png;base64,iVBORw0KGgo="
SECRETS: dict[str, Any] = {
    "API_KEY": KEY,
    "SSO": SSO,
    "CF_CLEARANCE": "canary-clearance",
    "TUMY_KEY": "canary-tumy",
    "PICGO_KEY": "canary-picgo",
    "GROK_HEADERS": '{"x-statsig-id": "canary-signature"}',
    "GUEST_SESSIONS": json.dumps(
        ["x-anonuserid=canary-guest; x-challenge=canary-challenge; x-signature=canary-signed"]
    ),
    "IS_TEMP_GROK2": "true",
}
QUICK: dict[str, Any] = {
    "UPSTREAM_FIRST_BYTE_TIMEOUT": "0.2",
    "UPSTREAM_IDLE_TIMEOUT": "0.2",
    "MAX_LINE_BYTES": "100000",
    "MAX_ANSWER_BYTES": "200000",
    "ACQUIRE_WAIT": "0",
}
SETUPS = [("debug", "json"), ("debug", "console"), ("error", "json")]


@pytest.fixture
def logs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Logs as the command line sets them up."""
    yield
    structlog.reset_defaults()


def hold_back(answer: RawResponse, *, text: bool = True) -> None:
    """See to it that a response shows no secret. A question's text is the client's own."""
    seen = f"{answer.headers} {answer.body.decode()}"
    assert MARK not in (seen if text else seen.replace(TEXT, ""))


async def ask_for_all(served: Served, key: str = KEY) -> None:
    """Ask for everything there is, in good order and not."""
    bearer = f"Bearer {key}"
    own = {"authorization": bearer, "cookie": "canary-cookie", "x_api_key": "canary-header"}
    for path in ("/health", "/v1/models", "/v1/models/nothing", "/get/tokens", "/nothing"):
        hold_back(await served.request("GET", path, **own))
    for scheme in (f"Bearer {WRONG_KEY}", f"Basic {WRONG_KEY}", WRONG_KEY, "Bearer canary\xe9"):
        for path in ("/get/tokens", "/v1/chat/completions"):
            answer = await served.request("POST", path, chat(TEXT), authorization=scheme)
            hold_back(answer, text=False)
    for body in ({"sso": f"other={ADDED}"}, {"sso": f"{ADDED};;\r\n"}, {"token": ADDED}, ADDED):
        for path in ("/add/token", "/delete/token", "/enable/token"):
            hold_back(await served.request("POST", path, body, **own))
    part = {"type": "image_url", "image_url": {"url": PICTURE}}
    content = [{"type": "text", "text": TEXT}, part]
    for stream in (False, True):
        for model in ("grok-3", "grok-3-imageGen", "grok-2"):
            fields = chat(TEXT, model, stream=stream)
            answer = await served.request("POST", "/v1/chat/completions", fields, **own)
            hold_back(answer, text=False)
        fields = chat(messages=[{"role": "user", "content": content}], stream=stream)
        answer = await served.request("POST", "/v1/chat/completions", fields, **own)
        hold_back(answer, text=False)


async def break_all(served: Served, key: str = KEY) -> None:
    """Let every fault happen once, each to an account that nothing has happened to."""
    bearer = f"Bearer {key}"
    for number, kind in enumerate(FaultKind):
        if kind is FaultKind.ANSWER:
            continue
        served.simulator.site.faults.clear()
        served.simulator.site.faults.order(kind, times=None)
        if key == KEY:
            added = {"sso": f"{ADDED}-{number}"}
            hold_back(await served.request("POST", "/add/token", added, authorization=bearer))
        fields = chat(TEXT, stream=number % 2 == 0)
        answer = await served.request("POST", "/v1/chat/completions", fields, authorization=bearer)
        hold_back(answer, text=False)
        hold_back(await served.request("GET", "/get/tokens", authorization=bearer))
    served.simulator.site.faults.clear()


@pytest.mark.parametrize(("level", "form"), SETUPS)
@pytest.mark.parametrize("own_cookies", [False, True])
@pytest.mark.usefixtures("logs")
def test_good_and_failing_requests(
    level: str, form: str, own_cookies: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logs(level, form)
    state = tmp_path / "state.sqlite3"

    async def check(served: Served) -> None:
        key = SSO if own_cookies else KEY
        await ask_for_all(served, key)
        await break_all(served, key)
        # The planted ones were used: without that, nothing is proved.
        sent = "\n".join(str(each.headers) for each in served.simulator.site.received)
        assert "canary-clearance" in sent
        assert "canary-signature" in sent
        assert SSO in sent
        assert "canary-cookie" not in sent
        assert "canary-header" not in sent

    environment = {**SECRETS, **QUICK, "STATE": str(state)}
    if own_cookies:
        environment["IS_CUSTOM_SSO"] = "true"
    with_server(check, **environment)
    out, errors = capfd.readouterr()
    assert MARK not in out
    assert MARK not in errors
    assert ("request" in errors) == (level == "debug")
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for known in (KEY, WRONG_KEY, TEXT, "canary-clearance", "canary-tumy", "canary-picgo"):
        assert known.encode() not in kept
    if own_cookies:
        assert kept == b""
    else:
        assert stat.S_IMODE(state.stat().st_mode) == 0o600


def crash(*_: Any, **__: Any) -> Any:
    """A mistake, in a place with secrets all around."""
    raise RuntimeError("this is a mistake")


@pytest.mark.parametrize(("level", "form"), SETUPS)
@pytest.mark.parametrize(
    "place",
    [
        "grokproto.grok.headers._merge",
        "grokproto.grok.headers._cookie",
        "transports.upstream.rules.tell_host",
        "transports.upstream.calls.httpcore.URL",
        "transports.upstream.calls.Upstream.call",
        "transports.driving.drive.Drive.run",
        "grokproto.exchange.machine.Context",
        "transports.api.routes.Call.send_response",
        "transports.api.routes.admin.add_credential",
        "transports.pool.scheduler.encode_record",
        "grokproto.grok.reader.AnswerReader.receive_data",
    ],
)
@pytest.mark.usefixtures("logs")
def test_mistakes_of_ours(
    place: str,
    level: str,
    form: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    configure_logs(level, form)

    async def check(served: Served) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(place, crash)
            for stream in (False, True):
                for path, body in (
                    ("/v1/chat/completions", chat(TEXT, stream=stream)),
                    ("/add/token", {"sso": ADDED}),
                ):
                    answer = await served.request(
                        "POST", path, body, authorization=f"Bearer {KEY}", cookie="canary-cookie"
                    )
                    hold_back(answer, text=False)
        if not place.endswith(".encode_record"):
            answer = await served.request(
                "POST", "/v1/chat/completions", chat(), authorization=f"Bearer {KEY}"
            )
            assert answer.status == 200

    no_guests = (
        {"IS_TEMP_GROK2": "false"} if place == "transports.pool.scheduler.encode_record" else {}
    )
    with_server(check, **{**SECRETS, **QUICK, **no_guests})
    out, errors = capfd.readouterr()
    assert "this is a mistake" in errors
    assert MARK not in errors
    assert MARK not in out
