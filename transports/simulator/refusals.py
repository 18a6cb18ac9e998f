"""Whole answers that are no streams: a simulated Grok's refusals."""

from __future__ import annotations

import msgspec

from .faults import FaultKind, WholeAnswer

Headers = tuple[tuple[str, str], ...]

JSON_HEADERS: Headers = (("content-type", "application/json"),)
_HTML_HEADERS: Headers = (("content-type", "text/html; charset=UTF-8"), ("server", "cloudflare"))

_CHALLENGE = (
    b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body><script>"
    b"window._cf_chl_opt={cZone:'grok.com'};"
    b"</script><script src='/cdn-cgi/challenge-platform/h/b/orchestrate'></script></body></html>"
)


def _error(code: int, message: str) -> bytes:
    return msgspec.json.encode({"error": {"code": code, "message": message, "details": []}})


LIMIT: WholeAnswer = (429, JSON_HEADERS, _error(8, "Too many requests"))
UNAUTHENTICATED: WholeAnswer = (
    401,
    JSON_HEADERS,
    _error(16, "No session for this cookie. [WKE=unauthenticated:invalid-credentials]"),
)
BLOCKED: WholeAnswer = (403, JSON_HEADERS, _error(7, "No entry. [WKE=unauthorized:blocked-user]"))
NOT_FOUND: WholeAnswer = (404, JSON_HEADERS, _error(5, "There is nothing here."))


def reject(message: str) -> WholeAnswer:
    """The answer to a request that is wrong in itself."""
    return (400, JSON_HEADERS, _error(3, message))


REFUSALS: dict[FaultKind, WholeAnswer] = {
    FaultKind.BLOCK_PAGE: (403, _HTML_HEADERS, _CHALLENGE),
    FaultKind.ANTI_BOT: (403, JSON_HEADERS, _error(7, "Stopped by anti-bot rules.")),
    FaultKind.DEAD_COOKIE: UNAUTHENTICATED,
    FaultKind.BLOCKED_ACCOUNT: BLOCKED,
    FaultKind.LIMIT: LIMIT,
    FaultKind.SERVER_ERROR: (500, JSON_HEADERS, _error(13, "internal")),
    FaultKind.SERVER_ERROR_PAGE: (
        502,
        _HTML_HEADERS,
        b"<html><head><title>502 Bad Gateway</title></head><body></body></html>",
    ),
    FaultKind.OVERLOADED: (503, JSON_HEADERS, _error(14, "We are under heavy load.")),
    FaultKind.REDIRECT: (302, (("location", "/elsewhere"),), b""),
    FaultKind.NO_CONTENT: (204, (), b""),
    FaultKind.EMPTY: (200, JSON_HEADERS, b""),
}
