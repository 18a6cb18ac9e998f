"""What is a client's stays here, and nobody is called but the configured far ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import pytest
import trio

from grokproto.errors import ConfigurationError
from grokproto.secret import Secret
from tests.transports.served import Served, chat, with_server
from transports.api.service import read_configured, read_configured_guests
from transports.config import load_config
from transports.simulator import Simulator

PICTURE = "data:image/png;base64,iVBORw0KGgo="
NEW = "/rest/app-chat/conversations/new"
OURS = {
    *("host", "accept", "accept-encoding", "accept-language", "content-type", "cookie", "origin"),
    *("referer", "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "user-agent"),
    *("x-xai-request-id", "upgrade-insecure-requests", "content-length"),
    *("authorization", "x-api-key"),  # an image host's
}
"""Headers that this server sends, of its own."""

called: list[str] = []
"""Where sockets were connected to, while `watching`."""
watching = False


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook; it cannot be taken away again, so it has a switch."""
    if watching and event == "socket.connect":
        called.append(str(arguments[1]))
    elif watching and event in ("socket.getaddrinfo", "socket.gethostbyname"):
        called.append(f"look-up of {arguments[0]!r}")


sys.addaudithook(_watch)


async def ask_with_all(served: Served, *, text: str = "hi", **headers: str) -> None:
    """Make calls of every kind to the far ends."""
    part = {"type": "image_url", "image_url": {"url": PICTURE}}
    file = {"type": "file", "file": {"filename": text, "file_data": "aGk="}}
    content = [{"type": "text", "text": text}, part, file]
    for body in (
        chat(text, stream=True),
        chat(messages=[{"role": "user", "content": content}]),
        chat("draw", "grok-3-imageGen"),
        chat(text, "grok-2"),
    ):
        await served.request("POST", "/v1/chat/completions", body, **headers)


def test_headers_of_clients_stay_here() -> None:
    names = (
        *("cookie", "user_agent", "x_forwarded_for", "forwarded", "via", "x_real_ip", "referer"),
        *("origin", "x_xai_request_id", "x_statsig_id", "x_request_id", "accept_language", "te"),
        *("x_api_key", "openai_organization", "sec_fetch_site", "cf_connecting_ip", "range"),
        *("if_none_match", "x_thinking", "proxy_authorization", "traceparent", "priority"),
    )

    async def check(served: Served) -> None:
        await ask_with_all(served, **{name: f"clients-{name}" for name in names})
        received = list(served.simulator.site.received)
        assert {NEW, "/rest/app-chat/upload-file", "/"} <= {each.path for each in received}
        assert any("/upload" in each.path for each in received)
        for each in received:
            assert "clients-" not in f"{each.headers}{each.path}"
            assert each.headers.keys() <= OURS

    with_server(check, TUMY_KEY="a-key", IS_TEMP_GROK2="true")


@pytest.mark.parametrize("evil", ["\r\nx-evil: 1", "\nx-evil: 1\n\n", "\0x-evil", "\rx-evil\r"])
def test_line_ends_in_fields_reach_no_header(evil: str) -> None:
    async def check(served: Served) -> None:
        await ask_with_all(served, text=f"hi{evil}")
        for name in ("model", "stop", "user", "thinking_format", evil, "stream_options", "size"):
            for value in (evil, [evil], {evil: evil}):
                for path in ("/v1/chat/completions", "/v1/images/generations"):
                    body = {**chat(), "prompt": evil, name: value}
                    answer = await served.request("POST", path, body)
                    assert answer.status == 200 or 400 <= answer.status < 500
                    assert "evil" not in str(answer.headers)
        for sso in (f"sso=a{evil}", f"a{evil}", f"a; sso-rw=b{evil}"):
            answer = await served.request("POST", "/add/token", {"sso": sso})
            assert answer.status == 400 or "sso-rw" in sso
        assert (await served.chat()).status == 200
        for each in served.simulator.site.received:
            assert "evil" not in f"{each.headers}{each.path}"

    with_server(check, quotas={"grok-3": (10_000, 60.0)}, QUOTAS="grok-3=10000/1h", TUMY_KEY="k")


@pytest.mark.parametrize("character", ["\r", "\n", "\0", "\r\n", "\x1f", "\x7f", "ü", "\u2028"])
@pytest.mark.parametrize(
    "name",
    [
        *("SSO", "GUEST_SESSIONS", "CF_CLEARANCE", "USER_AGENT", "TUMY_KEY", "PICGO_KEY"),
        *("GROK_HEADERS", "GROK_BASE_URL", "API_KEY", "PROXY"),
    ],
)
def test_line_ends_in_configuration(name: str, character: str) -> None:
    """Refused in a sentence that does not show it; or, between accounts, what parts them."""
    value = f"hunter{character}x-evil: 2"
    match name:
        case "GUEST_SESSIONS":
            value = json.dumps([f"x-anonuserid=1; x-challenge=2; x-signature={value}"])
        case "GROK_HEADERS":
            value = json.dumps({"x-statsig-id": value})
        case "GROK_BASE_URL" | "PROXY":
            value = f"http://{value}/"
    refused = ""
    found: list[Mapping[str, Secret]] = []
    try:
        config = load_config({name: value, "IS_TEMP_GROK2": "true"})
        found = [*read_configured(config), *read_configured_guests(config)]
    except ConfigurationError as exc:
        refused = str(exc)
    values = [secret.reveal() for cookies in found for secret in cookies.values()]
    assert "hunter" not in refused
    assert name in refused or (name == "SSO" and values)
    assert all(c.isprintable() and c.isascii() for value in values for c in value)


def test_a_key_that_is_a_cookie_cannot_bring_others() -> None:
    async def check(served: Served) -> None:
        for key in ("dora; cf_clearance=evil", "sso=dora; x=evil", "sso=dora; sso-rw=a; b=evil"):
            await served.request(
                "POST", "/v1/chat/completions", chat(), authorization=f"Bearer {key}"
            )
        for each in served.simulator.site.received:
            assert "evil" not in str(each.headers)

    with_server(check, IS_CUSTOM_SSO="true")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 300])
@pytest.mark.parametrize("path", [NEW, "/rest/app-chat/upload-file", "/", "/api/v1/upload", "*"])
def test_redirects_are_not_followed(status: int, path: str) -> None:
    async def check(served: Served) -> None:
        elsewhere = Simulator()
        await served.nursery.start(elsewhere.run)
        location = {"location": f"{elsewhere.base_url}/there", "refresh": "0; url=/there"}
        if path == "*":  # the pictures, whose paths are made up as they are drawn
            served.simulator.site.replay = [draw("users/a/b/image.jpg")]
            order_path = "/users/a/b/image.jpg"
        else:
            order_path = path
        served.simulator.site.faults.order_answer(
            status, location, b"Moved.", times=None, path=order_path
        )
        await ask_with_all(served)
        assert served.simulator.site.calls[order_path] > 0
        assert served.simulator.site.calls["/there"] == 0
        assert not elsewhere.site.calls

    with_server(check, TUMY_KEY="a-key", IS_TEMP_GROK2="true")


def draw(address: str) -> bytes:
    """An answer with a picture at this address."""
    message = {"responseId": "r", "message": "Done.", "generatedImageUrls": [address]}
    frames: list[dict[str, Any]] = [
        {"token": "Done.", "responseId": "r"},
        {"modelResponse": message},
    ]
    return b"".join(json.dumps({"result": {"response": f}}).encode() + b"\n" for f in frames)


ADDRESSES = (
    *("http://127.0.0.1:{port}/a.png", "//127.0.0.1:{port}/a.png", "@127.0.0.1:{port}/a.png"),
    *("\\\\127.0.0.1:{port}\\a", "../../../a.png", "/\r\nx-evil: 1", "users/ü/\0.png", "?a#b"),
    *("users/a b\tc.png", " http://127.0.0.1:{port}/a.png", "users/\ud800.png", "gopher://x/y"),
    *("https://assets.grok.com@127.0.0.1:{port}/a.png", "users/" + "x" * 100_000, "::::", "[::1"),
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_in_answers_lead_nowhere_else(address: str) -> None:
    """Grok may name any address for a picture: its own are fetched, others are passed on."""

    async def check(served: Served) -> None:
        elsewhere = Simulator()
        await served.nursery.start(elsewhere.run)
        wanted = address.format(port=elsewhere.base_url.rpartition(":")[2])
        served.simulator.site.replay = [draw(wanted)]
        for stream in (False, True):
            answer = await served.chat("draw", "grok-3-imageGen", stream=stream)
            assert answer.whole
            assert answer.status in (200, 502)
        assert not elsewhere.site.calls
        for each in served.simulator.site.received:
            assert "x-evil" not in each.headers
        served.simulator.site.replay = None
        assert (await served.chat()).status == 200

    with_server(check)


def test_connections_are_opened_to_configured_far_ends_only() -> None:
    global watching

    async def check(served: Served) -> None:
        global watching
        far_end = int(served.simulator.base_url.rpartition(":")[2])
        listening = {served.listening.port, far_end}
        called.clear()
        watching = True
        links = ["http://127.0.0.1:9/a.png", "http://localhost:9/b", "https://example.invalid/c"]
        parts = [{"type": "image_url", "image_url": {"url": link}} for link in links]
        await served.chat(messages=[{"role": "user", "content": [*parts, *links]}])
        await ask_with_all(served, text="see http://127.0.0.1:9/ and https://example.invalid/")
        with trio.move_on_after(1):
            await served.request("GET", "http://example.invalid/v1/models")
        watching = False
        assert called
        allowed = {str(("127.0.0.1", port)) for port in listening} | {"look-up of '127.0.0.1'"}
        assert set(called) <= allowed, called

    try:
        with_server(check, TUMY_KEY="a-key", IS_TEMP_GROK2="true", FETCH_IMAGES="false")
    finally:
        watching = False
