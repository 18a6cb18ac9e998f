"""`grokproto.images`."""

from __future__ import annotations

import json

import pytest

from grokproto.citations import escape_link
from grokproto.images.hosts import HOSTS, build_upload, read_link
from grokproto.media import sniff_media_type, to_data_uri
from grokproto.secret import Secret
from grokproto.settings import ImageHost

PNG = b"\x89PNG\r\n\x1a\n rest"
TUMY = ImageHost("tumy", "https://tumy.test", Secret("key-1"))
PICGO = ImageHost("picgo", "https://picgo.test", Secret("key-2"))


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"GIF89a..", "image/gif"),
        (b"GIF87a..", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WAVE", None),
        (b"<html>", None),
        (b"", None),
    ],
)
def test_sniff(data: bytes, media_type: str | None) -> None:
    assert sniff_media_type(data) == media_type


def test_data_uri() -> None:
    assert to_data_uri(b"hi", "image/png") == "data:image/png;base64,aGk="


def test_markdown() -> None:
    assert escape_link("https://a/b.png") == "https://a/b.png"
    assert escape_link("https://a/(b) <c>") == "https://a/%28b%29%20%3Cc%3E"


@pytest.mark.parametrize(
    ("host", "url", "field", "header"),
    [
        (TUMY, "https://tumy.test/api/v1/upload", "file", ("authorization", "Bearer key-1")),
        (PICGO, "https://picgo.test/api/1/upload", "source", ("x-api-key", "key-2")),
    ],
)
def test_upload(host: ImageHost, url: str, field: str, header: tuple[str, str]) -> None:
    request = build_upload(host, PNG, "image/png")
    headers = dict(request.headers)
    boundary = headers["content-type"].removeprefix("multipart/form-data; boundary=")
    head, _, rest = request.body.partition(b"\r\n\r\n")
    assert (request.method, request.url) == ("POST", url)
    assert header in request.headers
    assert f'name="{field}"; filename="image.png"'.encode() in head
    assert rest == PNG + f"\r\n--{boundary}--\r\n".encode()
    assert host.key.reveal() not in repr(request)
    assert b"image.bin" in build_upload(host, PNG, "image/tiff").body


@pytest.mark.parametrize("host", [TUMY, PICGO])
def test_read_link(host: ImageHost) -> None:
    answer: object = "https://x.test/1.png"
    for key in reversed(HOSTS[host.kind].link):
        answer = {key: answer}
    good = json.dumps(answer).encode()
    assert read_link(host, 200, good) == "https://x.test/1.png"
    assert read_link(host, 500, good) is None
    wrong = good.replace(b"https://x.test/1.png", b"javascript:x")
    for data in (wrong, b"", b"[]", b"{}", b'{"data":7,"image":[]}', b"\xff", b"[" * 90_000):
        assert read_link(host, 200, data) is None
