"""Server-sent events, as far as the dialects need them."""

from __future__ import annotations

CONTENT_TYPE = "text/event-stream; charset=utf-8"

PING = b": ping\n\n"
"""A comment: every parser of the format passes over it."""

DONE = b"data: [DONE]\n\n"
"""How OpenAI ends a stream."""

HEADERS = (
    ("content-type", CONTENT_TYPE),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),  # nginx would hold the stream back otherwise
)


def encode_data(payload: bytes) -> bytes:
    """One event. `payload` must not hold a line feed; JSON on one line never does."""
    return b"data: " + payload + b"\n\n"


def encode_event(name: str, payload: bytes) -> bytes:
    """One event with a name, which is plain ASCII."""
    return b"event: " + name.encode("ascii") + b"\n" + encode_data(payload)
