"""Reading Grok's refusals: what a status, an error body or an error frame means.

Error codes are gRPC's numbers; a code may come as a string. Shapes (fixtures `bodies/*`):

    429  {"error":{"code":8,"message":"Too many requests","details":[]}}              [client code]
    429  {"error":{"name":"RateLimitError"}}, also as a line of a 200 stream          [client code]
    403  {"error":{"code":7,"message":"Request rejected by anti-bot rules."}}         [recorded]
    403  code 7 with "[WKE=unauthorized:blocked-user]" in the message                 [client code]
    401, 400 or 403  code 16, "[WKE=unauthenticated:invalid-credentials]"             [client code]
    403  a page of Cloudflare's: "Just a moment...", /cdn-cgi/challenge-platform/     [recorded]
    in a stream  "error":{"message":"...","usageLimitReached":{},
                          "severity":"STREAM_ERROR_SEVERITY_FATAL"}                   [recorded]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ..failures import Failure, FailureKind
from .frames import UNREADABLE

PERMISSION_DENIED = 7
RESOURCE_EXHAUSTED = 8
UNAVAILABLE = 14
UNAUTHENTICATED = 16

_LIMIT_DETAILS = frozenset({"globalRateLimit", "usageLimitReached", "usagePoolExhausted"})
_REJECTED_DETAILS = ("contentModerated", "attachment")
_OVERLOAD_WORDS = re.compile(r"heavy load|overloaded|at capacity|temporarily unavailable", re.I)
_MARKUP = re.compile(rb"\s*<(?:!doctype|html|head)", re.I)
_CHALLENGE = (b"/cdn-cgi/challenge-platform/", b"_cf_chl_opt", b"<title>Just a moment")

MAX_QUOTED = 160
"""Characters of a message of Grok's that are passed on."""
MAX_ERROR_BODY = 64 * 1024
"""Bytes of an error body that are worth reading."""


def quote(text: object) -> str:
    """A text of Grok's, made fit to stand in a sentence: short, on one line, printable."""
    if not isinstance(text, str) or not text.strip():
        return "without a message"
    beginning = text[: 4 * MAX_QUOTED]
    plain = " ".join("".join([c if c.isprintable() else " " for c in beginning]).split())
    shown = plain if len(plain) <= MAX_QUOTED else plain[: MAX_QUOTED - 1] + "…"
    return f"“{shown}”"


def _number(value: Any) -> int | None:
    if type(value) is int and abs(value) < 1_000_000:
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 6:
        return int(value)
    return None


def _seconds(value: Any) -> float | None:
    """A wait as headers and bodies write it; None where it is no sensible number."""
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds <= 30 * 86400 else None


def _limited(said: str, wait: float | None, status: int | None) -> Failure:
    return Failure(
        FailureKind.RATE_LIMITED,
        f"Grok says that this account has used up its calls for this model ({said}); "
        "wait, or add another account.",
        retry_after=wait,
        status=status,
    )


def _overloaded(said: str, wait: float | None, status: int | None) -> Failure:
    return Failure(
        FailureKind.OVERLOADED,
        f"Grok is overloaded or down for now ({said}); try again later.",
        retry_after=wait,
        status=status,
    )


def read_error(error: Any, status: int | None = None, wait: float | None = None) -> Failure:
    """Read an error object of Grok's, from a body or from a line of a stream.

    Args:
        error: The decoded `error`, of whatever type.
        status: The HTTP status it came with; None within a stream.
        wait: Seconds that a `retry-after` header asked for.
    """
    fields: Mapping[str, Any] = error if isinstance(error, dict) else {"message": error}
    message = fields.get("message")
    text = message if isinstance(message, str) else ""
    code = _number(fields.get("code"))
    said = quote(message)
    for key in _LIMIT_DETAILS & fields.keys():
        detail = fields[key]
        named = detail.get("waitTimeSeconds") if isinstance(detail, dict) else None
        return _limited(said, _seconds(named) if named is not None else wait, status)
    if code == UNAUTHENTICATED or "unauthenticated:" in text:
        return Failure(
            FailureKind.UNAUTHORIZED,
            f"Grok no longer accepts this account's cookie ({said}); "
            "sign in on grok.com and give the server the new sso cookie.",
            status=status,
        )
    if "blocked-user" in text:
        return Failure(
            FailureKind.BLOCKED,
            f"Grok has blocked this account ({said}); only its owner can settle that with xAI.",
            status=status,
        )
    if code == PERMISSION_DENIED:
        return Failure(
            FailureKind.ANTI_BOT,
            f"Grok's anti-bot rules refused the request ({said}); the operator of this server "
            "must set a fresh x-statsig-id in GROK_HEADERS.",
            status=status,
        )
    if code == UNAVAILABLE or status in (503, 529) or _OVERLOAD_WORDS.search(text[:10_000]):
        return _overloaded(said, wait, status)
    if code == RESOURCE_EXHAUSTED or status == 429 or fields.get("name") == "RateLimitError":
        return _limited(said, wait, status)
    if any(key.startswith(_REJECTED_DETAILS) for key in fields):
        return Failure(
            FailureKind.REJECTED,
            f"Grok will not answer this request ({said}); change its text or its attachments.",
            status=status,
        )
    where = f"with HTTP status {status}" if status is not None else "with an error"
    number = f" {code}" if code is not None and status is None else ""
    return Failure(
        FailureKind.UPSTREAM,
        f"Grok answered {where}{number} ({said}); the fault is at Grok's end, try again later.",
        status=status,
    )


def read_stream_error(error: Any) -> Failure | None:
    """Read a frame's `error`; None where its severity says that the answer goes on."""
    if not isinstance(error, dict) or error.get("severity") != "STREAM_ERROR_SEVERITY_FATAL":
        return None
    return read_error(error)


def is_refusal(status: int, headers: Mapping[str, str]) -> bool:
    """Whether a response is something else than a streamed answer, going by its head.

    Args:
        status: Its HTTP status.
        headers: Its headers, names in lower case.
    """
    return status != 200 or "text/html" in headers.get("content-type", "")


def read_refusal(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Read a whole answer that is no stream.

    Args:
        status: Its HTTP status.
        headers: Its headers, names in lower case.
        body: Its body, or as much of it as was worth reading.
    """
    wait = _seconds(headers.get("retry-after"))
    if any(mark in body for mark in _CHALLENGE):
        return Failure(
            FailureKind.CLOUDFLARE,
            f"Cloudflare's challenge page came back instead of Grok (HTTP status {status}); the "
            "operator of this server must set CF_CLEARANCE and the USER_AGENT it belongs to, or "
            "use another address (PROXY).",
            status=status,
        )
    if 300 <= status < 400:
        return Failure(
            FailureKind.UPSTREAM,
            f"Grok answered with a redirect (HTTP status {status}), which is not followed; the "
            "operator of this server should look at GROK_BASE_URL and PROXY.",
            status=status,
        )
    try:
        decoded = msgspec.json.decode(body)
    except UNREADABLE:
        decoded = None
    if isinstance(decoded, dict):
        inner = decoded.get("error")
        error = inner if inner is not None else decoded
        if isinstance(error, str) and "code" in decoded:
            error = {"code": decoded["code"], "message": error}
        return read_error(error, status, wait)
    kind = "an HTML page" if _MARKUP.match(body) else None
    if status == 429:
        return _limited(kind or "HTTP status 429", wait, status)
    if status in (503, 529):
        return _overloaded(f"HTTP status {status}", wait, status)
    if status == 401:
        return read_error({"code": UNAUTHENTICATED, "message": "HTTP status 401"}, status)
    what = kind or ("an empty body" if not body else "a body that is no JSON")
    whose = (
        "something between this server and Grok sent it (a firewall, a proxy), or Grok is down"
        if kind
        else "the fault is at Grok's end, try again later"
    )
    return Failure(
        FailureKind.UPSTREAM,
        f"Grok answered with HTTP status {status} and {what}; {whose}.",
        status=status,
    )
