"""A value that must never be printed.

Cookies and keys travel through settings, leases and requests, and every one of those has a repr.
Wrapping the text keeps it out of logs, tracebacks and error messages without anyone having to
remember; the only way to the text is a call that can be searched for.
"""

from __future__ import annotations

from typing import final

_FINGERPRINT_LENGTH = 8
"""Hex digits shown for a secret: enough to tell a few thousand apart, useless for guessing."""


@final
class Secret:
    """A text that shows itself only as a short fingerprint.

    Equal texts give equal fingerprints, so that a person can tell two credentials apart in a log.
    """

    __slots__ = ("_text", "fingerprint")

    def __init__(self, text: str) -> None:
        from hashlib import sha256  # noqa: PLC0415  # it takes milliseconds to load

        self._text = text
        self.fingerprint = sha256(text.encode()).hexdigest()[:_FINGERPRINT_LENGTH]
        """The first hex digits of the text's SHA-256, safe to show."""

    def reveal(self) -> str:
        """The text itself; call it only where the bytes for the wire are made."""
        return self._text

    def matches(self, text: str) -> bool:
        """Whether `text` is this secret, compared in constant time."""
        from hmac import compare_digest  # noqa: PLC0415  # as above

        return compare_digest(self._text.encode(), text.encode())

    def __repr__(self) -> str:
        return f"<secret {self.fingerprint}>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __reduce__(self) -> str:
        raise TypeError("a secret cannot be pickled")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.matches(other._text)

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __bool__(self) -> bool:
        return bool(self._text)
