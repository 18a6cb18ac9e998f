"""The two simulated image hosts: they take a picture, and give it to whoever asks."""

from __future__ import annotations

import itertools
import re
from typing import Any

import msgspec

from ..server.http_request import HTTPRequest
from .faults import WholeAnswer
from .refusals import JSON_HEADERS

TUMY = "/api/v1/upload"
PICGO = "/api/1/upload"

_BOUNDARY = re.compile(r'multipart/form-data;.*\bboundary="?([^";]{1,70})', re.IGNORECASE)
_FIELD = re.compile(rb'\bname="([^"]*)"')
_TYPE = re.compile(rb"(?i)content-type: *([\w/+.-]+)")


def read_multipart(content_type: str, body: bytes) -> dict[str, tuple[str, bytes]]:
    """The parts of a form by name: media type and content of each. Empty for what is none."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        return {}
    mark = b"--" + found[1].encode("latin-1")
    parts: dict[str, tuple[str, bytes]] = {}
    pieces = (b"\r\n" + body).split(b"\r\n" + mark)
    if not pieces[-1].startswith(b"--"):
        return {}
    for piece in pieces[1:-1]:
        head, separator, content = piece.partition(b"\r\n\r\n")
        name = _FIELD.search(head)
        if separator and name:
            media_type = _TYPE.search(head)
            kind = media_type[1].decode("ascii") if media_type else "application/octet-stream"
            parts[name[1].decode("utf-8", "replace")] = (kind, content)
    return parts


class ImageHosts:
    """Both of them."""

    def __init__(self) -> None:
        self.working = True
        """They take uploads."""
        self.pictures: dict[str, tuple[str, bytes]] = {}
        """Media type and bytes, by path."""
        self._numbers = itertools.count(1)

    def answer(self, http: HTTPRequest, body: bytes) -> WholeAnswer | None:
        """What a call gets; None where it is none of these hosts'."""
        match http.method, http.path:
            case "POST", path if path in (TUMY, PICGO):
                return self._upload(http, body)
            case "GET", path if path in self.pictures:
                media_type, picture = self.pictures[path]
                return (200, (("content-type", media_type),), picture)
        return None

    def _upload(self, http: HTTPRequest, body: bytes) -> WholeAnswer:
        if not self.working:
            return _refuse(500, "no uploads today")
        if http.path == TUMY:
            scheme, _, key = (http.headers.get("authorization") or "").partition(" ")
            key = key if scheme.lower() == "bearer" else ""
        else:
            key = http.headers.get("x-api-key") or ""
        if not key:
            return _refuse(401, "no key")
        field = "file" if http.path == TUMY else "source"
        part = read_multipart(http.headers.get("content-type") or "", body).get(field)
        if part is None:
            return _refuse(400, f"no file in the field {field}")
        path = f"/hosted/{next(self._numbers)}.{part[0].rpartition('/')[2]}"
        self.pictures[path] = part
        link = {"url": f"http://{http.headers.get('host')}{path}"}
        answer: dict[str, Any] = (
            {"status": True, "data": {"links": link}}
            if http.path == TUMY
            else {"status_code": 200, "image": link}
        )
        return (200, JSON_HEADERS, msgspec.json.encode(answer))


def _refuse(status: int, message: str) -> WholeAnswer:
    return (status, JSON_HEADERS, msgspec.json.encode({"status": False, "message": message}))
