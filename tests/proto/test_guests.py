"""`grokproto.grok.guests`."""

from __future__ import annotations

import pytest

from grokproto.cookies import GUEST_COOKIES
from grokproto.grok.guests import build_guest_request, read_guest_cookies
from grokproto.secret import Secret
from grokproto.settings import Settings

SET = [("set-cookie", f"{name}=v-{name}; Path=/; HttpOnly") for name in GUEST_COOKIES]


def test_request_is_anonymous() -> None:
    settings = Settings(base_url="https://grok.test", cookies={"cf_clearance": Secret("clear")})
    request = build_guest_request(settings)
    assert (request.method, request.url, request.body) == ("GET", "https://grok.test/", b"")
    assert dict(request.headers)["cookie"] == "cf_clearance=clear"


def test_cookies_are_found() -> None:
    headers = [("content-type", "text/html"), ("set-cookie", "other=1"), *SET]
    found = read_guest_cookies(headers)
    assert found is not None
    assert {name: value.reveal() for name, value in found.items()} == {
        name: f"v-{name}" for name in GUEST_COOKIES
    }


def test_two_cookies_are_no_guest() -> None:
    assert read_guest_cookies([]) is None
    assert read_guest_cookies(SET[:2]) is None
    assert read_guest_cookies([*SET[:2], ("set-cookie", "x-signature=; Max-Age=0")]) is None
    assert read_guest_cookies([*SET[:2], ("set-cookie", "nonsense")]) is None


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\0", "a b", "ä", '"a"', "x" * 5000])
def test_cookie_that_no_header_can_hold_is_none(value: str) -> None:
    assert read_guest_cookies([*SET, ("set-cookie", f"x-signature={value}; Path=/")]) is None
    changed = [("set-cookie", f"x-signature={value}"), *SET]
    assert read_guest_cookies(changed) == read_guest_cookies(SET)
