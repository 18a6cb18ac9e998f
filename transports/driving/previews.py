"""Fetching an unfinished picture, beside the call that tells of it."""

from __future__ import annotations

from grokproto.commands import FetchPreview
from grokproto.events import PictureFetched, PictureRefused, RequestFailed

from ..upstream.calls import Fetched, Upstream


async def fetch_preview(
    upstream: Upstream, command: FetchPreview
) -> PictureFetched | PictureRefused:
    """Carry the command out."""
    found = await upstream.fetch(command.request, limit=command.limit + 1, timeout=command.timeout)
    return read_preview(found, command)


def read_preview(
    found: Fetched | RequestFailed, command: FetchPreview
) -> PictureFetched | PictureRefused:
    """What was found, where as much was read as the command wants and one byte more."""
    if not isinstance(found, Fetched):
        return PictureRefused(found.reason)
    if found.status != 200:
        return PictureRefused(f"the answer is {found.status}")
    if len(found.body) > command.limit:
        return PictureRefused(f"it is larger than {command.limit} bytes")
    return PictureFetched(found.body)
