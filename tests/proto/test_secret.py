"""`grokproto.secret`."""

from __future__ import annotations

import pickle

import pytest

from grokproto.lease import Lease
from grokproto.secret import Secret
from grokproto.settings import ImageHost, Settings

TEXT = "do-not-tell-9f2c"


def test_cannot_be_printed() -> None:
    secret = Secret(TEXT)
    holders = [
        secret,
        Lease(1, secret.fingerprint, "g", {"sso": secret}),
        Settings(headers={"a": secret}, cookies={"b": secret}),
        ImageHost("tumy", "https://x", secret),
        [secret],
        {"k": secret},
    ]
    for holder in holders:
        shown = f"{holder} {holder!r} {holder!s:>40}" + "%s %r" % (holder, [holder])  # noqa: UP031
        assert TEXT not in shown
        assert secret.fingerprint in shown
    assert f"{secret:>30}".endswith(">")
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_is_what_it_was() -> None:
    secret = Secret(TEXT)
    assert secret.reveal() == TEXT
    assert secret.matches(TEXT)
    assert not secret.matches(TEXT + "x")
    assert secret == Secret(TEXT)
    assert secret != Secret("other")
    assert secret != TEXT
    assert len({secret, Secret(TEXT)}) == 1
    assert secret
    assert not Secret("")
