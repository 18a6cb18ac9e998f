"""Pictures as bytes: what they are, and how they stand in text."""

from __future__ import annotations

import binascii
import re

_UNSAFE_IN_MARKDOWN = re.compile(r"[\s()<>\\]")


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


def to_data_uri(data: bytes, media_type: str) -> str:
    """A picture as an address that holds it."""
    content = binascii.b2a_base64(data, newline=False).decode("ascii")
    return f"data:{media_type};base64,{content}"


def markdown_image(url: str) -> str:
    """A picture in Markdown; what would end the address early is percent-encoded."""
    safe = _UNSAFE_IN_MARKDOWN.sub(lambda found: f"%{ord(found.group()) & 0xFF:02X}", url)
    return f"![image]({safe})"
