"""Reading the cookies of accounts and guests, however a person wrote them down.

No error ever shows a value: what cannot be read may be a cookie with a slip in it.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..cookies import GUEST_COOKIES, SSO, SSO_RW, check_cookie
from ..errors import ConfigurationError
from ..secret import Secret


def parse_account(text: str) -> Mapping[str, Secret]:
    """The cookies of an account, for `CredentialPool.add`.

    Args:
        text: A bare token, `sso=...`, or a browser's whole `sso=...; sso-rw=...; ...`, of which the
            others are dropped.

    Raises:
        ConfigurationError: It is none of these. The sentence lacks its subject.
    """
    text = text.strip(" \t")
    if ";" in text or text.startswith((f"{SSO}=", f"{SSO_RW}=")):
        found = _split(text)
    elif "=" in text.rstrip("="):
        raise ConfigurationError("is no sso cookie: it has another name in front of its value")
    else:
        found = {SSO: check_cookie(text)}
    token = found.get(SSO) or found.get(SSO_RW)
    if token is None:
        raise ConfigurationError("has no sso cookie in it")
    return {SSO: token, SSO_RW: found.get(SSO_RW, token)}


def parse_guest(text: str) -> Mapping[str, Secret]:
    """The cookies of a guest session, for `CredentialPool.add_guest`.

    Args:
        text: `x-anonuserid=...; x-challenge=...; x-signature=...`, others among them.

    Raises:
        ConfigurationError: One of the three is missing or wrong. The sentence lacks its subject.
    """
    found = _split(text)
    missing = [name for name in GUEST_COOKIES if name not in found]
    if missing:
        raise ConfigurationError(f"has no {missing[0]} cookie in it")
    return {name: found[name] for name in GUEST_COOKIES}


def _split(text: str) -> dict[str, Secret]:
    """The cookies of a string that are ours to know."""
    found: dict[str, Secret] = {}
    for pair in text.split(";"):
        name, _, value = pair.strip(" \t").partition("=")
        if name not in (SSO, SSO_RW, *GUEST_COOKIES):
            continue
        secret = check_cookie(value)
        if found.setdefault(name, secret) != secret:
            raise ConfigurationError(f"has two different {name} cookies in it")
    return found
