"""How the frames of an answer follow each other."""

from __future__ import annotations

from typing import Any

import msgspec

FRAMINGS = ("lines", "joined", "crlf", "sse")

END = {"sse": b"data: [DONE]\n\n"}
"""What ends the stream, by framing."""


def frame_bytes(frame: dict[str, Any], framing: str) -> bytes:
    """One frame as it is sent."""
    text = msgspec.json.encode(frame)
    # The site escapes these, as browsers' tools show [recorded].
    for character, escape in ((b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026")):
        text = text.replace(character, escape)
    match framing:
        case "joined":
            return text
        case "crlf":
            return text + b"\r\n"
        case "sse":
            return b"data: " + text + b"\n\n"
    return text + b"\n"
