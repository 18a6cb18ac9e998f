"""`grokproto.credentials`: quotas, cookies and files of accounts, as people write them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokproto.credentials import (
    DEFAULT_QUOTA,
    DEFAULT_QUOTAS,
    Allowance,
    Quotas,
    lease_own,
    parse_account,
    parse_guest,
    parse_own,
    parse_quotas,
    read_accounts,
)
from grokproto.errors import ConfigurationError, InvalidRequestError

# Quotas


def test_default_quotas() -> None:
    quotas = Quotas()
    assert quotas.find("grok-2") == quotas.find("grok-3") == Allowance(20, 7200)
    assert quotas.find("grok-3-deepsearch") == quotas.find("grok-3-reasoning")
    assert quotas.find("grok-3-reasoning") == Allowance(10, 86400)
    assert quotas.find("my-own") == DEFAULT_QUOTA
    assert parse_quotas("") == parse_quotas(" , ") == quotas


def test_quotas() -> None:
    quotas = parse_quotas("grok-3=50/2h, my-own = 3 / 90s ,fast=1/31d,")
    assert quotas.find("grok-3") == Allowance(50, 7200)
    assert quotas.find("my-own") == Allowance(3, 90)
    assert quotas.find("another") == DEFAULT_QUOTA
    assert quotas.find("fast") == Allowance(1, 31 * 86400)
    assert quotas.find("grok-2") == DEFAULT_QUOTAS["grok-2"]


def test_default_of_the_operator_goes_before_our_guesses() -> None:
    quotas = parse_quotas("default=7/5m,grok-3=50/2h")
    assert quotas.find("grok-3") == Allowance(50, 7200)
    for group in ("grok-2", "grok-3-reasoning", "my-own"):
        assert quotas.find(group) == Allowance(7, 300)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("grok-3", "'grok-3'.*look like"),
        ("grok-3=20", "look like"),
        ("grok-3=20/2", "look like"),
        ("grok-3=20/2w", "look like"),
        ("=20/2h", "look like"),
        ("grok-3=-1/2h", "look like"),
        ("grok-3=0/2h", "calls must be"),
        ("grok-3=1000001/2h", "calls must be"),
        ("grok-3=20/0s", "windows are"),
        ("grok-3=20/32d", "windows are"),
        ("a=1/1h,a=2/1h", "two entries for a"),
        ("٣=٣/٣h", "look like"),
    ],
)
def test_wrong_quotas(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        parse_quotas(text)


# Cookies

JWT = "eyJ0eXAi.eyJzZXNzaW9u.c2ln-bmF0_dXJl"


@pytest.mark.parametrize(
    ("text", "sso", "rw"),
    [
        (JWT, JWT, JWT),
        (f" \t{JWT} ", JWT, JWT),
        ("YWJjZA==", "YWJjZA==", "YWJjZA=="),
        (f"sso={JWT}", JWT, JWT),
        (f"sso-rw={JWT}", JWT, JWT),
        ("sso=a; sso-rw=b", "a", "b"),
        ("sso-rw=b;sso=a;", "a", "b"),
        ("cf_clearance=x y,z; sso=a; sso=a; i18n", "a", "a"),
        ("sso=a=b", "a=b", "a=b"),
    ],
)
def test_account(text: str, sso: str, rw: str) -> None:
    cookies = parse_account(text)
    assert list(cookies) == ["sso", "sso-rw"]
    assert [value.reveal() for value in cookies.values()] == [sso, rw]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("sso=", "empty"),
        ("session=s3cret", "another name"),
        ("session=s3cret; other=1", "no sso cookie"),
        ("sso=s3cret; sso=s3cret2", "two different sso"),
        ("s3cret\r\nx: y", "no cookie may have"),
        ("s3cret\n", "no cookie may have"),
        ("s3cret\0", "no cookie may have"),
        ("sso=s3 cret", "no cookie may have"),
        ("s3cret,s3cret", "no cookie may have"),
        ('"s3cret"', "no cookie may have"),
        ("s3cret\\", "no cookie may have"),
        ("s3crét", "no cookie may have"),
        ("s3cret\x7f", "no cookie may have"),
        ("s3cret" * 1000, "longer"),
    ],
)
def test_wrong_account(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        parse_account(text)
    assert "s3cr" not in str(caught.value)


@given(st.text(max_size=30))
def test_what_is_accepted_can_stand_in_a_header(text: str) -> None:
    try:
        cookies = parse_account(text)
    except ConfigurationError:
        return
    for value in cookies.values():
        revealed = value.reveal()
        assert revealed.isascii()
        assert revealed.isprintable()
        assert not set(revealed) & set(' ",;\\')
        assert revealed in text


def test_guest() -> None:
    cookies = parse_guest("x-signature=s; x-challenge=c;lang=de; x-anonuserid=u")
    assert {name: value.reveal() for name, value in cookies.items()} == {
        "x-anonuserid": "u",
        "x-challenge": "c",
        "x-signature": "s",
    }
    assert next(iter(cookies)) == "x-anonuserid"
    with pytest.raises(ConfigurationError, match="no x-signature cookie"):
        parse_guest("x-anonuserid=u; x-challenge=c")


# The user's own cookie


def test_own_cookie() -> None:
    cookies = parse_own("sso=mine")
    lease = lease_own(cookies, "grok-3")
    assert lease.cookies["sso"].reveal() == "mine"
    assert lease.credential == cookies["sso"].fingerprint
    assert (lease.group, lease.wants_quota) == ("grok-3", False)


def test_own_cookie_that_is_none() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_own("s3cret;")
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")
    assert "s3cret" not in caught.value.message
    assert caught.value.__cause__ is None


# Files


def read(text: str) -> list[str]:
    found = read_accounts(text)
    assert found.problems == ()
    return [cookies["sso"].reveal() for cookies in found.accounts]


@pytest.mark.parametrize(
    "text",
    [
        "a\nb\nc\n",
        "\ufeffa\r\nb\r\n\r\n# mine\r\n  c",
        "SSO=a,b,c",
        "export SSO='a, b, c,'",
        'SSO="a,b"\nsso=c; sso-rw=d',
        '["a", "b", "sso=c"]',
        ' [{"sso": "a"}, {"token": "b", "sso": ""}, {"cookie": "sso=c; sso-rw=x"}]',
        '{"sso": "a"}\n{"cookies": {"sso": "b"}}\n"c"',
        '{"free": ["a", {"token": "b", "status": "ok"}], "version": 2, "paid": ["c"]}',
        '[{"name": "sso", "value": "a"}, {"name": "lang", "value": "b"}]\nb\n["c"]',
        '[{"name": "sso", "value": "a"},\n {"name": "x", "value": "b"}, "b", "c"]',
        "a\na\nb,c\nsso=b",
    ],
)
def test_accounts(text: str) -> None:
    assert read(text) == ["a", "b", "c"]


def test_no_accounts() -> None:
    assert read("") == read("\n# nothing\n") == read("SSO=") == read("[]") == read("{}") == []


def test_duplicates() -> None:
    found = read_accounts('a\nsso=a; sso-rw=b\n"a"\nb')
    assert (len(found.accounts), found.duplicates) == (2, 2)


def test_problems() -> None:
    found = read_accounts('good\nsession=s3cret\n[1, "fine"]\n{"s3cret\n{"name": "sso"}\n[[]]')
    assert len(found.accounts) == 2
    assert found.problems == (
        "Line 2 is no sso cookie: it has another name in front of its value.",
        "Line 3, entry 1 is nothing that holds an sso cookie.",
        "Line 4 is nothing that holds an sso cookie.",
        "Line 5, entry 1 is nothing that holds an sso cookie.",
        "Line 6, entry 1 is nothing that holds an sso cookie.",
    )
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize("text", ["[" * 200_000, '["\ud800"]', '[{"sso": {"sso": {}}}]', "[7]"])
def test_absurd_files(text: str) -> None:
    found = read_accounts(text)
    assert found.accounts == ()
    assert len(found.problems) == 1


def test_json_that_is_written_and_read() -> None:
    tokens = [f"token-{number}" for number in range(1000)]
    assert read(json.dumps(tokens)) == tokens
    assert read(json.dumps([{"token": token} for token in tokens], indent=2)) == tokens


@given(st.text(max_size=60))
def test_any_text_can_be_read(text: str) -> None:
    read_accounts(text)
