"""Image hosts: how a picture is uploaded to each, and where its link is in the answer.

A host is one row of `HOSTS`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..settings import ImageHost
from ..upstream_request import UpstreamRequest
from .multipart import encode_file

_EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
}


class HostKind(msgspec.Struct, frozen=True):
    """What is particular about one host."""

    path: str
    field: str
    """Name of the form field that takes the file."""
    key_header: str
    key_prefix: str
    link: tuple[str, ...]
    """Where the link is in the JSON of the answer."""


HOSTS: dict[str, HostKind] = {
    "tumy": HostKind(
        "/api/v1/upload", "file", "authorization", "Bearer ", ("data", "links", "url")
    ),
    "picgo": HostKind("/api/1/upload", "source", "x-api-key", "", ("image", "url")),
}


def build_upload(host: ImageHost, picture: bytes, media_type: str) -> UpstreamRequest:
    """Upload a picture to a host."""
    kind = HOSTS[host.kind]
    filename = f"image.{_EXTENSIONS.get(media_type, 'bin')}"
    content_type, body = encode_file(kind.field, filename, media_type, picture)
    headers = (
        ("accept", "application/json"),
        ("content-type", content_type),
        (kind.key_header, kind.key_prefix + host.key.reveal()),
    )
    return UpstreamRequest("POST", host.base_url + kind.path, headers, body)


def read_link(host: ImageHost, status: int, body: bytes) -> str | None:
    """The link in a host's answer; None where there is none that a client could follow."""
    if not 200 <= status < 300:
        return None
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    for key in HOSTS[host.kind].link:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        return value
    return None
