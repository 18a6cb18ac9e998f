"""What an operator can set about a pool."""

from __future__ import annotations

import msgspec

from .guests import GuestSettings
from .quota import Quotas
from .rota import Rotation


class PoolSettings(msgspec.Struct, frozen=True):
    """How a pool chooses, counts, and bounds."""

    rotation: Rotation = Rotation.BALANCED
    concurrency: int = 4
    """Calls that one credential may have in flight, over all groups."""

    quotas: Quotas = msgspec.field(default_factory=Quotas)
    quota_probe: bool = True
    """Leases may ask for the group's real quota."""

    guests: GuestSettings | None = None
    """None: grok-2 is served by the accounts like any other group."""
