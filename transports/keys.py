"""The keys that clients may use."""

from __future__ import annotations

import hashlib
import hmac
from typing import Protocol

import attrs

from grokproto.secret import Secret

from .variables import BadValueError

DEFAULT_API_KEY = "sk-123456789"
"""The key of those who set none. Everybody knows it."""


class Keys(Protocol):
    """Which keys are good."""

    def accept(self, key: str) -> bool:
        """Whether `key` is one of them; empty where a request gives none."""
        ...


class AnyKey:
    """All of them, and none too."""

    def accept(self, _: str) -> bool:
        """See `Keys`."""
        return True


@attrs.frozen
class ApiKeys:
    """The keys that clients may use. One may be given as `sha256:` and its hex digest."""

    _digests: frozenset[bytes] = attrs.field(repr=False)
    first: Secret | None = None
    """The first that is given as itself, for our own calls to a server that runs."""

    def accept(self, key: str) -> bool:
        """Whether `key` is one of them, in a time that does not depend on how near it is."""
        digest = hashlib.sha256(key.encode()).digest()
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(known, digest)
        return found

    @property
    def is_default(self) -> bool:
        """Whether the key that everybody knows is among them."""
        return self.accept(DEFAULT_API_KEY)


def read_api_keys(text: str) -> ApiKeys:
    digests: set[bytes] = set()
    plain: list[Secret] = []
    for key in (part.strip() for part in text.split(",")):
        if key.startswith("sha256:"):
            try:
                digest = bytes.fromhex(key.removeprefix("sha256:"))
            except ValueError:
                digest = b""
            if len(digest) != hashlib.sha256().digest_size:
                raise BadValueError("has a sha256: entry that is not 64 hex digits")
            digests.add(digest)
        elif key:
            if not key.isascii() or not key.isprintable() or " " in key:
                raise BadValueError("has a key with characters that no header may have")
            digests.add(hashlib.sha256(key.encode()).digest())
            plain.append(Secret(key))
    if not digests:
        raise BadValueError("must hold at least one key")
    return ApiKeys(frozenset(digests), plain[0] if plain else None)
