"""What is done with pictures outside of a conversation: `drive.Pictures` for each request."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeAlias

import attrs

from grokproto import events as e
from grokproto.errors import InvalidRequestError
from grokproto.images.local import PATH, public_base

from ..logs import get_logger
from ..loops import Loop
from ..loops.trio_loop import TRIO
from .fetch import (
    FetchLimits,
    FetchNetwork,
    PictureFetchError,
    fetch_picture,
    reach_internet,
)
from .store import LocalPictures, PictureNotKeptError

Found: TypeAlias = tuple[str, bytes] | InvalidRequestError | None
"""A kept picture's media type and bytes, why it cannot be read, or None where there is none."""


@attrs.frozen
class PictureDesk:
    """Fetches the pictures that clients link to, and keeps those that are drawn for them.

    Args:
        local: Where they are kept; None where none are.
        public_url: This server as clients reach it; empty where their requests tell.
        network: How linked pictures are reached; for tests.
        unix_time: Unix seconds.
        loop: What the requests run on.
    """

    local: LocalPictures | None = None
    public_url: str = ""
    network: FetchNetwork | None = None
    unix_time: Callable[[], float] = time.time
    loop: Loop = TRIO

    def serve(self, headers: Mapping[str, str]) -> RequestPictures:
        """For a request with these headers."""
        return RequestPictures(self, headers)

    async def open(self, token: str) -> Found:
        """What is kept under a token."""
        if self.local is None:
            return None
        try:
            return await self.local.open(token, self.unix_time())
        except OSError as exc:
            return refuse_to_open(exc)


def refuse_to_open(exc: OSError) -> InvalidRequestError:
    """Say that a picture cannot be read now, such as when descriptors have run out."""
    get_logger().warning("a picture cannot be read", reason=exc.strerror)
    return InvalidRequestError(
        "The picture cannot be read now; try again in a moment.", code="overloaded", status=503
    )


@attrs.frozen
class RequestPictures:
    """See `drive.Pictures`."""

    _desk: PictureDesk
    _headers: Mapping[str, str]

    async def fetch(
        self,
        url: str,
        timeout: float,
    ) -> e.PictureFetched | e.PictureRefused:
        """See `drive.Pictures`."""
        try:
            picture = await fetch_picture(
                url,
                limits=FetchLimits(seconds=timeout),
                network=self._desk.network or reach_internet(self._desk.loop),
            )
        except PictureFetchError as exc:
            return e.PictureRefused(str(exc))
        return e.PictureFetched(picture.data)

    async def store(self, data: bytes, media_type: str) -> e.PictureStored | e.RequestFailed:
        """See `drive.Pictures`."""
        if self._desk.local is None:
            return e.RequestFailed("this server keeps no pictures", sent=False)
        try:
            base = public_base(self._desk.public_url, self._headers)
            token = await self._desk.local.put(data, media_type, self._desk.unix_time())
        except (InvalidRequestError, PictureNotKeptError) as exc:
            return e.RequestFailed(str(exc), sent=False)
        return e.PictureStored(f"{base}{PATH}{token}")
