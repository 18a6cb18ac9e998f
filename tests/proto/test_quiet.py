"""What the repr of a value leaves out."""

from __future__ import annotations

import pytest

from grokproto.answer import Image, PartialPicture, Picture
from grokproto.commands import FetchPicture, SendData, StorePicture
from grokproto.events import DataReceived, PictureFetched, ResponseReceived
from grokproto.prompt import Prompt
from grokproto.quiet import Quiet
from grokproto.request import FilePart, ImageLink, ImagePart, TextPart
from grokproto.upstream_request import UpstreamRequest


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (ImagePart("private", "image/png"), "ImagePart(media_type='image/png')"),
        (ImageLink("https://private", "messages.0"), "ImageLink(path='messages.0')"),
        (FilePart("private", "a.txt"), "FilePart(name='a.txt', media_type='text/plain')"),
        (PictureFetched(b"private"), "PictureFetched()"),
        (PartialPicture(b"private"), "PartialPicture()"),
        (Picture("https://a", b"private"), "Picture(link='https://a')"),
        (StorePicture(b"private", "image/png"), "StorePicture(media_type='image/png')"),
        (Image("a" * 201), f"Image(address='{'a' * 200}…')"),
        (SendData(b"a" * 201), f"SendData(data={b'a' * 200 + b'...'!r})"),
        (SendData(b"a" * 200), f"SendData(data={b'a' * 200!r})"),
        (DataReceived(b"a" * 201), f"DataReceived(data={b'a' * 200 + b'...'!r})"),
        (ResponseReceived(200, (("set-cookie", "private"),)), "ResponseReceived(status=200)"),
        (FetchPicture("https://private", 3.0), "FetchPicture(timeout=3.0)"),
        (TextPart("a"), "TextPart(text='a')"),
        (
            Prompt("a" * 201),
            f"Prompt(message='{'a' * 200}…', attachments=(), older='', question='')",
        ),
        (
            UpstreamRequest("GET", "https://a", (("cookie", "private"),), b"private"),
            "UpstreamRequest(method='GET', url='https://a')",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_repr(value: Quiet, shown: str) -> None:
    assert repr(value) == shown
    fields = ", ".join(f"{name}={each!r}" for name, each in value.__rich_repr__())
    assert f"{type(value).__name__}({fields})" == shown


def test_all_are_shown_here() -> None:
    """So that a new one comes with its line above, and a field that is misspelt is noticed."""
    kinds = Quiet.__subclasses__()
    assert len(kinds) == 15
    for kind in kinds:
        assert set(kind.UNSHOWN) <= set(kind.__struct_fields__), kind
