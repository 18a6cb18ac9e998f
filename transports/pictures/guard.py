"""Where a picture may be fetched from: names are looked up, and all that they lead to is judged.

The rules stand in `grokproto.images.guard`. Here is the part of them that waits: the looking up,
once for each address that is asked, so that no second answer can differ from the one judged.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from grokproto.images.guard import (
    Address,
    Target,
    read_addresses,
    refuse_address,
)

from ..loops import Loop
from ..loops.trio_loop import TRIO

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port to IP addresses. `OSError` where there are none."""
Allowed: TypeAlias = Callable[[Address, int], bool]
"""Whether a picture may be fetched from an address and port."""


async def resolve_name(host: str, port: int, loop: Loop = TRIO) -> list[str]:
    """What this host's resolver finds for a name.

    Raises:
        OSError: It finds nothing.
    """
    look_up = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await loop.run_look_up(look_up)
    return [str(address[0]) for *_, address in found]


async def find_addresses(target: Target, resolve: Resolve, allowed: Allowed) -> list[str]:
    """The addresses that a picture may be fetched from; to connect to these and no others.

    Args:
        target: What is asked for.
        resolve: Asked once, and not at all where the host is an address.
        allowed: Must hold for each that was found.

    Raises:
        PictureFetchError: There are none, or one of them is not allowed.
    """
    if target.literal is not None:
        found = [target.literal]
    else:
        try:
            found = read_addresses(await resolve(target.host, target.port))
        except (OSError, UnicodeError) as exc:
            raise refuse_address() from exc
    if not found or not all(allowed(address, target.port) for address in found):
        raise refuse_address()
    return [str(address) for address in found]
