"""The cookies that tell Grok who asks: their names, and what a value may be."""

from __future__ import annotations

import re

from .errors import ConfigurationError
from .secret import Secret

SSO = "sso"
SSO_RW = "sso-rw"
GUEST_COOKIES = ("x-anonuserid", "x-challenge", "x-signature")
"""What makes an anonymous session. The first tells one from another."""

MAX_COOKIE = 4096
"""Characters of one value; browsers keep no longer ones."""

_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]+", re.ASCII)
"""What RFC 6265 lets a cookie's value be: no control, space, quote, comma, semicolon, backslash."""


def check_cookie(value: str) -> Secret:
    """The value of a cookie, once it is sure that a header can hold it.

    Raises:
        ConfigurationError: It cannot. The sentence lacks its subject, and never shows the value.
    """
    if not value:
        raise ConfigurationError("is empty where the value of a cookie should be")
    if len(value) > MAX_COOKIE:
        raise ConfigurationError(f"is longer than the {MAX_COOKIE} characters a cookie may have")
    if not _VALUE.fullmatch(value):
        raise ConfigurationError("has a character that no cookie may have")
    return Secret(value)
