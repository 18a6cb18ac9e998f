"""`grokproto.images.local`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokproto.errors import InvalidRequestError
from grokproto.images.local import (
    PictureName,
    build_name,
    public_base,
    read_name,
    sign_name,
    verify_token,
)
from grokproto.media import MEDIA_TYPES

SECRET = b"s" * 32
NONCE = bytes(range(16))
NOW = 1_750_000_000.25


def name(media_type: str = "image/png", lifetime: float = 60) -> PictureName:
    return build_name(media_type, NONCE, NOW, lifetime)


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_a_name_says_all_there_is_to_know(media_type: str) -> None:
    built = name(media_type)
    assert read_name(built.text) == built
    assert built.media_type == media_type
    assert built.expires == 1_750_000_060


@pytest.mark.parametrize(
    ("media_type", "nonce", "unix_now", "lifetime"),
    [
        ("image/svg+xml", NONCE, NOW, 60),
        ("image/png", b"", NOW, 60),
        ("image/png", NONCE, -1, 60),
        ("image/png", NONCE, NOW, 16.0**10),
        ("image/png", NONCE, NOW, -NOW - 1),
        ("image/png", NONCE, 16.0**12, 0),
    ],
)
def test_names_that_cannot_be(
    media_type: str, nonce: bytes, unix_now: float, lifetime: float
) -> None:
    with pytest.raises(ValueError):
        build_name(media_type, nonce, unix_now, lifetime)


def test_names_sort_by_age_whatever_their_lifetime() -> None:
    names = [build_name("image/png", NONCE, NOW + n / 1000, 99 - n).text for n in range(50)]
    assert names == sorted(names)


def test_a_token_is_good_until_it_expires() -> None:
    token = sign_name(SECRET, name())
    assert verify_token(SECRET, token, NOW) == name()
    assert verify_token(SECRET, token, 1_750_000_059.9) == name()
    assert verify_token(SECRET, token, 1_750_000_060) is None


def test_a_token_is_worth_nothing_under_another_secret() -> None:
    assert verify_token(b"t" * 32, sign_name(SECRET, name()), NOW) is None


def test_nothing_in_a_token_can_be_changed() -> None:
    token = sign_name(SECRET, name())
    for place, old in enumerate(token):
        for new in {*"0123456789abcdefAF/.-\n\0", old.upper()} - {old}:
            assert verify_token(SECRET, token[:place] + new + token[place + 1 :], NOW) is None
        assert verify_token(SECRET, token[:place] + token[place + 1 :], NOW) is None


def test_the_kind_cannot_be_changed() -> None:
    token = sign_name(SECRET, name())
    assert verify_token(SECRET, token.replace(".png", ".gif"), NOW) is None


@pytest.mark.parametrize(
    "text",
    [
        *("", "secret", "lock", "../secret", "a.png", ".png", "..", "/etc/passwd"),
        name().text + "\n",
        name().text.upper(),
        "../" + name().text,
        name().text.replace("-", "/"),
        name().text.replace("0", "\N{ARABIC-INDIC DIGIT ZERO}"),
    ],
)
def test_what_is_no_name_and_no_token(text: str) -> None:
    assert read_name(text) is None
    assert verify_token(SECRET, text, NOW) is None


@given(st.text())
def test_any_text_is_taken_and_refused(text: str) -> None:
    assert verify_token(SECRET, text, NOW) is None
    assert read_name(text) is None


# Where the server is


@pytest.mark.parametrize(
    ("public_url", "headers", "base"),
    [
        ("https://pictures.test/grok/", {"host": "10.0.0.1"}, "https://pictures.test/grok"),
        ("", {"host": "localhost:5200"}, "http://localhost:5200"),
        ("", {"host": "my_server"}, "http://my_server"),
        ("", {"host": "[::1]:5200"}, "http://[::1]:5200"),
        ("", {"host": "a", "x-forwarded-proto": "HTTPS"}, "https://a"),
        ("", {"host": "a", "x-forwarded-host": "b.test:8443"}, "http://b.test:8443"),
        (
            "",
            {"x-forwarded-proto": "https, http", "x-forwarded-host": "b.test, inner"},
            "https://b.test",
        ),
    ],
)
def test_public_base(public_url: str, headers: dict[str, str], base: str) -> None:
    assert public_base(public_url, headers) == base


@pytest.mark.parametrize(
    "host",
    [
        *("", " ", "a b", "a/b", "user@a", "a:b", "a:", "a:65536", "a:123456", "a?b", "a#b"),
        *("a\r\nx: y", "a\n", "ä.test", "[::1", "::1", "[a]b", '"', "a\\b", "x" * 254, "a:٣"),
    ],
)
@pytest.mark.parametrize("header", ["host", "x-forwarded-host"])
def test_hosts_that_are_none(header: str, host: str) -> None:
    with pytest.raises(InvalidRequestError, match=header):
        public_base("", {"host": "good", header: host})


def test_no_host_at_all() -> None:
    with pytest.raises(InvalidRequestError, match="host"):
        public_base("", {})


def test_a_scheme_that_is_none_of_ours() -> None:
    with pytest.raises(InvalidRequestError, match="x-forwarded-proto"):
        public_base("", {"host": "a", "x-forwarded-proto": "javascript"})
