"""`grokproto.grok.refusals`."""

from __future__ import annotations

from typing import Any

import pytest

from grokproto.failures import FailureKind
from grokproto.grok.refusals import quote, read_error, read_refusal, read_stream_error
from tests.fixtures.load import BODY_EXPECTATIONS, read_body


@pytest.mark.parametrize("name", sorted(BODY_EXPECTATIONS))
def test_body(name: str) -> None:
    expected = BODY_EXPECTATIONS[name]
    failure = read_refusal(expected["status"], expected["headers"], read_body(name))
    assert failure.kind.value == expected["error_kind"]
    assert failure.status == expected["status"]
    assert failure.message.endswith(".")


def test_retry_after_of_the_header() -> None:
    failure = read_refusal(429, {"retry-after": "30"}, read_body("limit.json"))
    assert failure.retry_after == 30


@pytest.mark.parametrize("value", ["soon", "-1", "1e99", "nan", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_senseless_retry_after(value: str) -> None:
    assert read_refusal(429, {"retry-after": value}, b"").retry_after is None


def test_wait_of_a_detail() -> None:
    error = {"usageLimitReached": {"waitTimeSeconds": 90}}
    assert read_error(error, wait=5).retry_after == 90
    assert read_error({"usageLimitReached": None}, wait=5).retry_after == 5


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": True, "message": "x"}, FailureKind.UPSTREAM),
        ({"code": "99999999", "message": "x"}, FailureKind.UPSTREAM),
        ({"code": [8], "message": ["x"]}, FailureKind.UPSTREAM),
        ({"code": "16"}, FailureKind.UNAUTHORIZED),
        ({"attachmentTooLarge": {}}, FailureKind.REJECTED),
        (None, FailureKind.UPSTREAM),
    ],
)
def test_error_objects(error: Any, kind: FailureKind) -> None:
    assert read_error(error).kind is kind


@pytest.mark.parametrize("code", [True, 10**4000, -(10**4000), 1.5])
def test_code_that_is_none_is_not_told(code: Any) -> None:
    told = read_error({"code": code, "message": "x"}).message
    assert told == read_error({"message": "x"}).message


def test_stream_errors_by_severity() -> None:
    assert read_stream_error("text") is None
    assert read_stream_error({"severity": "STREAM_ERROR_SEVERITY_NORMAL"}) is None
    failure = read_stream_error({"severity": "STREAM_ERROR_SEVERITY_FATAL", "message": "x"})
    assert failure is not None


def test_quote_makes_texts_fit_for_a_sentence() -> None:
    assert quote("a\r\nb\x00\x1b[31mc") == "“a b [31mc”"
    assert quote("x" * 1000) == "“" + "x" * 159 + "…”"
    assert quote("") == quote(7) == "without a message"
    assert quote("naïve 你好 🙂") == "“naïve 你好 🙂”"
    assert quote("\u202eback\ud800wards\ue000") == "“back wards”"


def test_deep_body() -> None:
    assert read_refusal(500, {}, b"[" * 60_000).kind is FailureKind.UPSTREAM
