"""Pictures as bytes: what they are, by their first ones, and how they stand in text.

What somebody says of a picture is not to be relied on.
"""

from __future__ import annotations

import binascii

MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif")
"""The pictures that are known here, and that Grok takes."""


def sniff_media_type(data: bytes) -> str | None:
    """The media type of a picture by its first bytes; None for what is none we know."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return None


def to_base64(data: bytes) -> str:
    """Bytes as base64 on one line."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def to_data_uri(data: bytes, media_type: str) -> str:
    """A picture as an address that holds it."""
    return f"data:{media_type};base64,{to_base64(data)}"
