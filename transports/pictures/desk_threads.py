"""What is done with pictures outside of a conversation, for threads.

Looking names up, judging what they lead to, connecting, all of it with a deadline, is written for
tasks (`pictures`). It is rare, so a thread that wants it has an event loop for as long as it takes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import attrs
import trio

from grokproto import events as e

from ..loops.threads import InterruptedWaitError, News
from .desk import Found, PictureDesk, RequestPictures, refuse_to_open

T = TypeVar("T")

_LOOK = 0.1
"""Seconds between two looks whether it is still wanted."""


@attrs.frozen
class ThreadedPictureDesk:
    """See `desk.PictureDesk`."""

    _desk: PictureDesk
    """On trio."""

    def serve(self, headers: Mapping[str, str]) -> ThreadedRequestPictures:
        """See `desk.PictureDesk`."""
        return ThreadedRequestPictures(self._desk.serve(headers))

    def open(self, token: str) -> Found:
        """See `desk.PictureDesk`."""
        try:
            return trio.run(self._desk.open, token)
        except OSError as exc:  # the loop wants descriptors as well
            return refuse_to_open(exc)


@attrs.frozen
class ThreadedRequestPictures:
    """See `drive_threads.ThreadedPictures`."""

    _pictures: RequestPictures

    def fetch(self, url: str, timeout: float, news: News) -> e.PictureFetched | e.PictureRefused:
        """See `drive_threads.ThreadedPictures`."""
        return trio.run(_run_while_wanted, lambda: self._pictures.fetch(url, timeout), news)

    def store(self, data: bytes, media_type: str) -> e.PictureStored | e.RequestFailed:
        """See `drive_threads.ThreadedPictures`."""
        return trio.run(self._pictures.store, data, media_type)


async def _run_while_wanted(work: Callable[[], Awaitable[T]], news: News) -> T:
    """Do some work, and look now and then whether its thread has been interrupted.

    Raises:
        InterruptedWaitError: It has.
    """
    found: list[T] = []
    async with trio.open_nursery() as nursery:

        async def do() -> None:
            found.append(await work())
            nursery.cancel_scope.cancel()

        nursery.start_soon(do)
        while not news.interrupted:
            await trio.sleep(_LOOK)
        nursery.cancel_scope.cancel()
    if not found:
        raise InterruptedWaitError
    return found[0]
