"""What is sent to Grok, by whoever sends it: an exchange's host, or users of the parser alone."""

from __future__ import annotations

from typing import ClassVar

from .quiet import Quiet


class UpstreamRequest(Quiet, frozen=True):
    """An HTTP request to one of the far ends. Its body is complete; its answer is streamed."""

    UNSHOWN: ClassVar = ("headers", "body")

    method: str
    url: str
    """Absolute, http or https."""

    headers: tuple[tuple[str, str], ...]
    """Without host and content-length, which the host of the exchange adds. May hold cookies
    and keys."""

    body: bytes = b""
