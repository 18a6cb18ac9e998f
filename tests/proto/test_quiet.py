"""What the repr of a value leaves out."""

from __future__ import annotations

import pytest

from grokproto.answer import PartialPicture, Picture
from grokproto.commands import StorePicture
from grokproto.events import PictureFetched
from grokproto.quiet import Quiet
from grokproto.request import FilePart, ImageLink, ImagePart
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
        (
            UpstreamRequest("GET", "https://a", (("cookie", "private"),), b"private"),
            "UpstreamRequest(method='GET', url='https://a')",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_repr(value: Quiet, shown: str) -> None:
    assert repr(value) == shown


def test_all_are_shown_here() -> None:
    """So that a new one comes with its line above, and a field that is misspelt is noticed."""
    kinds = Quiet.__subclasses__()
    assert len(kinds) == 8
    for kind in kinds:
        assert set(kind.UNSHOWN) <= set(kind.__struct_fields__), kind
