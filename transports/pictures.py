"""What is done with pictures outside of a conversation: `drive.Pictures`."""

from __future__ import annotations

from grokproto import events as e


class NoPictures:
    """Neither fetches nor keeps any."""

    async def fetch(self, url: str, timeout: float) -> e.PictureRefused:  # noqa: ARG002
        """See `drive.Pictures`."""
        return e.PictureRefused("this server fetches none")

    async def store(self, data: bytes, media_type: str) -> e.RequestFailed:  # noqa: ARG002
        """See `drive.Pictures`."""
        return e.RequestFailed("this server keeps none", sent=False)
