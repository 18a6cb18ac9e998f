"""Anonymous sessions: what grok.com gives a browser that has not signed in.

[client code] Three cookies make one; they appear once the site was loaded. How the site of today
makes them is out of scope: they are taken from what `GET /` sets, or the operator gives them
(docs/wire.md 2.2).
"""

from __future__ import annotations

from collections.abc import Iterable

from ..cookies import GUEST_COOKIES, check_cookie
from ..errors import ConfigurationError
from ..lease import Lease
from ..secret import Secret
from ..settings import Settings
from ..upstream_request import UpstreamRequest
from .headers import build_asset_headers

_NOBODY = Lease(0, "nobody", "")


def build_guest_request(settings: Settings) -> UpstreamRequest:
    """Load the site's front page, as a browser does that was never there."""
    return UpstreamRequest("GET", f"{settings.base_url}/", build_asset_headers(settings, _NOBODY))


def read_guest_cookies(headers: Iterable[tuple[str, str]]) -> dict[str, Secret] | None:
    """The cookies of a guest in the headers of a response; None unless all three are set, each to
    something that can be sent back."""
    found: dict[str, Secret] = {}
    for name, value in headers:
        if name == "set-cookie":
            pair, _, _ = value.partition(";")
            cookie, _, content = pair.partition("=")
            if cookie.strip() in GUEST_COOKIES:
                try:
                    found[cookie.strip()] = check_cookie(content.strip(" \t"))
                except ConfigurationError:
                    found.pop(cookie.strip(), None)  # the last one counts, and this is none
    return found if len(found) == len(GUEST_COOKIES) else None
