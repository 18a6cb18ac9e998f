"""How one knows where a body ends: what its head says of that, held against what came.

HTTP clients raise where a body is shorter than its head says, but not all of them and not always:
`http.client`, and urllib with it, just end with `read1`, and with `read` of an amount. So bytes are
counted here too, wherever what is counted is what was sent.
"""

from __future__ import annotations

from collections.abc import Mapping

_LONGEST = 18
"""Digits of a length. Nobody waits for more, and Python does not read numbers of any length."""


class Framing:
    """What the head of a response says of where its body ends.

    Args:
        headers: Names in any case.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        lengths = _gather(headers, "content-length")
        length = _read_length(lengths.pop()) if len(lengths) == 1 else None
        transfer = _gather(headers, "transfer-encoding")
        coded = _gather(headers, "content-encoding") - {"identity"}
        # A length does not count beside a transfer coding. And where content codings have been
        # undone, what came is not what was sent.
        self._framed = "chunked" in transfer if transfer else length is not None
        self._missing = 0 if length is None or transfer or coded else length

    def count(self, size: int) -> None:
        """So many bytes have come."""
        self._missing -= size

    @property
    def whole(self) -> bool:
        """If the body ends here: the head has said how one knows, and nothing speaks against it."""
        return self._framed and self._missing <= 0


def _gather(headers: Mapping[str, str], name: str) -> set[str]:
    """The values of a header. The same may be there several times, or stand in a list."""
    found = [value for known, value in headers.items() if known.lower() == name]
    return {each.strip().lower() for value in found for each in value.split(",")} - {""}


def _read_length(value: str) -> int | None:
    """A length; None where it is none, and nobody can go by it."""
    if not value.isascii() or not value.isdigit() or len(value) > _LONGEST:
        return None
    return int(value)
