"""What is sent to Grok, by whoever sends it: an exchange's host, or users of the parser alone."""

from __future__ import annotations

import attrs


@attrs.frozen
class UpstreamRequest:
    """An HTTP request to one of the far ends. Its body is complete; its answer is streamed."""

    method: str
    url: str
    """Absolute, http or https."""

    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    """Without host and content-length, which the host of the exchange adds. May hold cookies
    and keys."""

    body: bytes = attrs.field(default=b"", repr=False)
