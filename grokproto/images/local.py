"""Pictures that this server serves itself: their names, and the addresses under which they are had.

A picture is kept in a file, and the file's name says all there is to know of it: when it was kept,
until when its address is good, a nonce that nobody can guess, and what kind it is:

    019f3a2b4c5d-00691f0a80-5bd1...e3.png

The token of its address is that name with an HMAC-SHA256 of it between stem and extension. So

1. an address is checked before any file is looked for, and a name that is none of ours never
   becomes a path;
2. nobody can make an address last longer, nor guess one;
3. there is no index that could be lost or be wrong; names sort by age.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping

import msgspec

from ..errors import InvalidRequestError

PATH = "/images/"
"""In front of a token."""
SECRET_BYTES = 32
"""As long as the hash; more would add nothing."""
NONCE_BYTES = 16

_PURPOSE = b"grokproto local picture\0"
"""In front of what is signed, so that no other use of the secret could be taken for an address."""
_EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
}
_MEDIA_TYPES = {extension: media_type for media_type, extension in _EXTENSIONS.items()}
_MAX_MILLISECONDS = 16**12 - 1
_MAX_SECONDS = 16**10 - 1
_STEM = r"([0-9a-f]{12})-([0-9a-f]{10})-([0-9a-f]{32})"
_NAME = re.compile(rf"{_STEM}\.(png|jpg|webp|gif)", re.ASCII)
_TOKEN = re.compile(rf"({_STEM})-([0-9a-f]{{64}})(\.(?:png|jpg|webp|gif))", re.ASCII)
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?", re.ASCII)


class PictureName(msgspec.Struct, frozen=True):
    """The name of a picture's file, taken apart."""

    text: str
    """The name itself; no path, and nothing in it that could lead elsewhere."""

    expires: int
    """Unix time from which its address is good no more, seconds."""

    media_type: str


def build_name(media_type: str, nonce: bytes, unix_now: float, lifetime: float) -> PictureName:
    """Name a picture.

    Args:
        media_type: One of those that are known here.
        nonce: `NONCE_BYTES` that nobody can guess.
        unix_now: Unix time, seconds.
        lifetime: Seconds for which its address is to be good.

    Raises:
        ValueError: A media type, a nonce or a time that cannot be.
    """
    extension = _EXTENSIONS.get(media_type)
    if extension is None:
        raise ValueError(f"{media_type!r} is no kind of picture that is kept here")
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"the nonce has {len(nonce)} bytes")
    kept, expires = int(unix_now * 1000), int(unix_now + lifetime)
    if not (0 <= kept <= _MAX_MILLISECONDS and 0 <= expires <= _MAX_SECONDS):
        raise ValueError("the time cannot be right")
    return PictureName(f"{kept:012x}-{expires:010x}-{nonce.hex()}.{extension}", expires, media_type)


def read_name(text: str) -> PictureName | None:
    """Take the name of a file apart; None for a file that is none of ours."""
    found = _NAME.fullmatch(text)
    if found is None:
        return None
    return PictureName(text, int(found[2], 16), _MEDIA_TYPES[found[4]])


def sign_name(secret: bytes, name: PictureName) -> str:
    """The token under which a picture is had; `PATH` goes in front of it."""
    stem, _, extension = name.text.rpartition(".")
    return f"{stem}-{_sign(secret, name.text)}.{extension}"


def verify_token(secret: bytes, token: str, unix_now: float) -> PictureName | None:
    """The name that a token stands for; None where it is not ours, or its time is over.

    The signature is compared in constant time. Whatever is wrong, the answer is the same.
    """
    found = _TOKEN.fullmatch(token)
    if found is None:
        return None
    name = read_name(found[1] + found[6])
    assert name is not None, "a token has the parts of a name"
    if not hmac.compare_digest(_sign(secret, name.text), found[5]):
        return None
    return name if unix_now < name.expires else None


def _sign(secret: bytes, name: str) -> str:
    return hmac.new(secret, _PURPOSE + name.encode("ascii"), hashlib.sha256).hexdigest()


def public_base(public_url: str, headers: Mapping[str, str]) -> str:
    """This server as the client of a request reaches it, without a slash at the end.

    Headers can say anything; what they say here goes back to the one who sent them and to nobody
    else, so they are believed as far as they are a host. Where proxies have made lists of them, the
    first is the one next to the client.

    Args:
        public_url: What the operator has set; it is taken before all else. Empty for nothing.
        headers: Of the request, by lower-case name.

    Raises:
        InvalidRequestError: There is no host in the headers, or what is there is none.
    """
    if public_url:
        return public_url.rstrip("/")
    scheme = _first(headers.get("x-forwarded-proto", "http")).lower()
    if scheme not in ("http", "https"):
        raise InvalidRequestError("The header x-forwarded-proto must be http or https.")
    name = "x-forwarded-host" if "x-forwarded-host" in headers else "host"
    host = _first(headers.get(name, ""))
    found = _HOST.fullmatch(host)
    if found is None or int(found[1] or 0) > 65535:
        raise InvalidRequestError(f"The header {name} must be a host, with a port or without.")
    return f"{scheme}://{host}"


def _first(value: str) -> str:
    return value.partition(",")[0].strip(" \t")
