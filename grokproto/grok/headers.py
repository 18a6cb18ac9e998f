"""The headers of a call to grok.com or its assets host.

[recorded] A trimmed set proved enough: content-type, cookie, origin, referer, user-agent,
x-xai-request-id, x-statsig-id and the sec-fetch headers. The assets host is asked the way a browser
opens a page. `x-statsig-id` is tied to the path and signed since 2026; making one is not our
business, the operator may give one (docs/wire.md 2.1).
"""

from __future__ import annotations

from ..errors import ConfigurationError
from ..lease import Lease
from ..settings import Settings

Headers = tuple[tuple[str, str], ...]

ACCEPT_ENCODING = "gzip, br, zstd"


def _cookie(settings: Settings, lease: Lease) -> str:
    # The account's own cookies come last and win: an operator's stray `sso` must not mix accounts.
    cookies = {**settings.cookies, **lease.cookies}
    return "; ".join(f"{name}={value.reveal()}" for name, value in cookies.items())


def _merge(settings: Settings, ours: dict[str, str]) -> Headers:
    own = {name.lower(): value.reveal() for name, value in settings.headers.items()}
    return tuple({**ours, **own}.items())


def build_api_headers(settings: Settings, lease: Lease, request_id: str) -> Headers:
    """Headers of a call to grok.com's API, for the account of `lease`."""
    headers = {
        "accept": "*/*",
        "accept-encoding": ACCEPT_ENCODING,
        "accept-language": "en-US,en;q=0.9",
        "content-type": "application/json",
        "cookie": _cookie(settings, lease),
        "origin": "https://grok.com",
        "referer": "https://grok.com/",
        "sec-fetch-dest": "empty",
        "sec-fetch-mode": "cors",
        "sec-fetch-site": "same-origin",
        "user-agent": settings.user_agent,
        "x-xai-request-id": request_id,
    }
    return _merge(settings, headers)


def build_asset_headers(settings: Settings, lease: Lease) -> Headers:
    """Headers of a download from the assets host, for the account of `lease`."""
    headers = {
        "accept": "text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8",
        "accept-encoding": ACCEPT_ENCODING,
        "accept-language": "en-US,en;q=0.9",
        "cookie": _cookie(settings, lease),
        "referer": "https://grok.com/",
        "sec-fetch-dest": "document",
        "sec-fetch-mode": "navigate",
        "sec-fetch-site": "same-site",
        "upgrade-insecure-requests": "1",
        "user-agent": settings.user_agent,
    }
    # The operator's headers are for the API (a signature of its paths); they stay there.
    return tuple(headers.items())


def check_header(name: str, value: str) -> None:
    """See to it that a header of the operator's can be sent.

    Raises:
        ConfigurationError: The name is no header name, or the value has characters that would end
            the header. The value is not shown.
    """
    if not name or not all(c.isascii() and (c.isalnum() or c in "!#$%&'*+-.^_`|~") for c in name):
        raise ConfigurationError(f"{name!r} is no name of a header")
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in value) or not value.isascii():
        raise ConfigurationError(f"the value of {name} has characters that no header may have")
