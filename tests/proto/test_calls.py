"""`grokproto.grok.calls`, `payload` and `headers`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from grokproto.commands import UpstreamRequest
from grokproto.errors import ConfigurationError, RemoteProtocolError
from grokproto.grok import calls
from grokproto.grok.headers import check_header
from grokproto.grok.payload import build_payload
from grokproto.lease import Lease, Quota
from grokproto.models import TOOLS, ModelTable
from grokproto.request import ImagePart
from grokproto.secret import Secret
from grokproto.settings import Settings

LEASE = Lease(1, "abc", "grok-3", {"sso": Secret("token-1"), "sso-rw": Secret("token-1")})
SETTINGS = Settings(
    base_url="https://grok.test",
    assets_url="https://assets.test",
    headers={"X-Statsig-Id": Secret("signed"), "user-agent": Secret("mine")},
    cookies={"cf_clearance": Secret("clear"), "sso": Secret("stray")},
)
SEARCH = {"webSearch", "xSearch", "xMediaSearch", "trendsSearch", "xPostAnalyze"}


def body(request: UpstreamRequest) -> Any:
    return json.loads(request.body)


@pytest.mark.parametrize(
    ("name", "grok_name", "tools", "preset", "reasoning"),
    [
        ("grok-2", "grok-latest", set(), "", False),
        ("grok-2-search", "grok-latest", SEARCH, "", False),
        ("grok-2-imageGen", "grok-latest", {"imageGen"}, "", False),
        ("grok-3", "grok-3", set(), "", False),
        ("grok-3-search", "grok-3", SEARCH, "", False),
        ("grok-3-imageGen", "grok-3", {"imageGen"}, "", False),
        ("grok-3-deepsearch", "grok-3", set(), "default", False),
        ("grok-3-reasoning", "grok-3", set(), "", True),
    ],
)
def test_payload_of_each_model(
    name: str, grok_name: str, tools: set[str], preset: str, reasoning: bool
) -> None:
    payload = build_payload(ModelTable().find(name), "hi", file_ids=["f1"], temporary=True)
    assert payload["modelName"] == grok_name
    assert payload["toolOverrides"] == {tool: tool in tools for tool in TOOLS}
    assert payload["deepsearchPreset"] == preset
    assert payload["isReasoning"] is reasoning
    assert payload["temporary"] is True
    assert payload["enableSideBySide"] is False
    assert payload["message"] == "hi"
    assert payload["fileAttachments"] == ["f1"]
    assert "modeId" not in payload


@pytest.mark.parametrize("mode", ["auto", "fast", "expert", "heavy"])
def test_payload_of_todays_modes(mode: str) -> None:
    payload = build_payload(ModelTable().find(f"grok-{mode}"), "hi")
    assert payload["modeId"] == mode
    assert "modelName" not in payload
    assert payload["temporary"] is False


def test_conversation_request() -> None:
    request = calls.build_conversation(SETTINGS, LEASE, "id-1", {"message": "hi"})
    headers = dict(request.headers)
    assert (request.method, request.url) == (
        "POST",
        "https://grok.test/rest/app-chat/conversations/new",
    )
    assert headers["cookie"] == "cf_clearance=clear; sso=token-1; sso-rw=token-1"
    assert headers["x-xai-request-id"] == "id-1"
    assert headers["x-statsig-id"] == "signed"
    assert headers["user-agent"] == "mine"
    assert headers["content-type"] == "application/json"
    assert body(request) == {"message": "hi"}
    assert "token-1" not in repr(request)


def test_upload_in_both_forms() -> None:
    picture = ImagePart("aGk=", "image/webp")
    request = calls.build_upload(SETTINGS, LEASE, "id-1", picture)
    file = {"fileName": "image.webp", "fileMimeType": "image/webp", "content": "aGk="}
    assert request.url.endswith("/rest/app-chat/upload-file")
    assert body(request) == file
    request = calls.build_upload(SETTINGS, LEASE, "id-1", ImagePart("", "image/bmp"), rpc=True)
    assert request.url.endswith("/api/rpc")
    assert body(request)["rpc"] == "uploadFile"
    assert body(request)["req"]["fileName"] == "image.bin"


def test_read_upload() -> None:
    assert calls.read_upload(b'{"fileMetadataId":"f1","fileName":"a"}') == "f1"
    for data in (b"", b"[]", b"{}", b'{"fileMetadataId":7}', b'{"fileMetadataId":""}', b"\xff"):
        with pytest.raises(RemoteProtocolError):
            calls.read_upload(data)


def test_download_has_the_cookie_and_not_the_signature() -> None:
    request = calls.build_download(SETTINGS, LEASE, "users/1/image.jpg")
    headers = dict(request.headers)
    assert request.url == "https://assets.test/users/1/image.jpg"
    assert "sso=token-1" in headers["cookie"]
    assert "x-statsig-id" not in headers
    assert request.body == b""


def test_rate_limits_request() -> None:
    models = ModelTable()
    request = calls.build_rate_limits(SETTINGS, LEASE, "id", models.find("grok-3-reasoning"))
    assert body(request) == {"requestKind": "REASONING", "modelName": "grok-3"}
    request = calls.build_rate_limits(SETTINGS, LEASE, "id", models.find("grok-fast"))
    assert body(request)["modelName"] == "fast"


def test_read_rate_limits() -> None:
    data = b'{"windowSizeSeconds":7200,"remainingQueries":46,"totalQueries":50,"x":null}'
    assert calls.read_rate_limits(data) == Quota(46, 50, 7200.0, None)
    data = b'{"windowSizeSeconds":60,"remainingQueries":0,"totalQueries":5,"waitTimeSeconds":9}'
    assert calls.read_rate_limits(data) == Quota(0, 5, 60.0, 9.0)
    data = b'{"windowSizeSeconds":60,"remainingQueries":5,"totalQueries":5,"waitTimeSeconds":0}'
    assert calls.read_rate_limits(data) == Quota(5, 5, 60.0, None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"\xff",
        b'{"windowSizeSeconds":0,"remainingQueries":1,"totalQueries":5}',
        b'{"windowSizeSeconds":60,"remainingQueries":9,"totalQueries":5}',
        b'{"windowSizeSeconds":60,"remainingQueries":-1,"totalQueries":5}',
        b'{"windowSizeSeconds":60,"remainingQueries":0,"totalQueries":0}',
        b'{"windowSizeSeconds":"60","remainingQueries":1,"totalQueries":5}',
    ],
)
def test_senseless_rate_limits(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        calls.read_rate_limits(data)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "x"),
        ("a b", "x"),
        ("ä", "x"),
        ("a", "x\r\nb: c"),
        ("a", "\x00"),
        ("a", "ü"),
        ("a\n", ""),
    ],
)
def test_headers_that_cannot_be_sent(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_header(name, value)
    assert len(value) < 2 or value not in str(caught.value)
    check_header("x-fine", "any value")
