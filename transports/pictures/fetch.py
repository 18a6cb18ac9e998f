"""Fetching a picture that a client has linked to.

What may be fetched is judged by `grokproto.images.guard`; see there for the rules. Each step of a
redirect is an address like the first: read, looked up, judged and connected to anew.
"""

from __future__ import annotations

import functools

import attrs

from grokproto.images.guard import (
    Fault,
    PictureFetchError,
    follow_redirect,
    read_target,
)

from ..loops import Loop
from ..loops.trio_loop import TRIO
from .guard import find_addresses
from .request import FetchNetwork, Picture, request_picture

__all__ = [
    "FetchLimits",
    "FetchNetwork",
    "Picture",
    "PictureFetchError",
    "fetch_picture",
    "reach_internet",
]


@attrs.frozen
class FetchLimits:
    """What one picture may cost."""

    max_bytes: int = 20 * 1024 * 1024
    """Of the picture itself."""

    seconds: float = 20.0
    """From the first look-up to the last byte, redirects included."""

    max_redirects: int = 3


@functools.cache
def reach_internet(loop: Loop) -> FetchNetwork:
    """The real one; loading all authorities takes too long to do it for every picture."""
    return FetchNetwork.on(loop)


async def fetch_picture(
    url: str, *, limits: FetchLimits, network: FetchNetwork | None = None
) -> Picture:
    """Fetch a picture, from a public address of the internet only.

    Args:
        url: What the client wrote; anything at all.
        limits: What it may cost.
        network: How it is reached; the real internet, on trio, where nothing is said.

    Raises:
        PictureFetchError: It cannot be had; the reason is fit for the client.
    """
    network = network or reach_internet(TRIO)
    loop = network.loop
    with loop.open_scope(deadline=loop.current_time() + limits.seconds):
        return await _fetch(url, limits, network)
    raise PictureFetchError(f"it did not come within {limits.seconds:g} seconds", Fault.FAR_END)


async def _fetch(url: str, limits: FetchLimits, network: FetchNetwork) -> Picture:
    target = read_target(url)
    for _ in range(limits.max_redirects + 1):
        addresses = await find_addresses(target, network.resolve, network.allowed)
        found = await request_picture(
            target, addresses, max_bytes=limits.max_bytes, network=network
        )
        if isinstance(found, Picture):
            return found
        target = follow_redirect(target, found.location)
    reason = f"it redirects more than {limits.max_redirects} times"
    raise PictureFetchError(reason, Fault.CLIENT)
