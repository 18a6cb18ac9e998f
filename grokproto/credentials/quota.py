"""How many calls an account has: what we guess for each quota group until Grok tells.

[client code] The guesses are what clients of the site took a free account to have: the named models
by what they counted in 2025, the modes by what they counted in 2026 (docs/wire.md). A wrong guess
is harmless: the first call of a window asks Grok, and a limit reached early cools the group down.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from ..errors import ConfigurationError

_HOUR = 3600.0
_DAY = 86400.0

MAX_TOTAL = 1_000_000
MAX_WINDOW = 31 * _DAY
"""Seconds. Nothing on the site's pages counts over more than a month; what claims to is an error,
and would keep an account out for as long."""


class Allowance(msgspec.Struct, frozen=True):
    """So many calls in a window. The window opens with its first call."""

    total: int
    window: float
    """Seconds."""


DEFAULT_QUOTAS: dict[str, Allowance] = {
    "grok-2": Allowance(20, 2 * _HOUR),
    "grok-3": Allowance(20, 2 * _HOUR),
    "grok-3-deepsearch": Allowance(10, _DAY),
    "grok-3-reasoning": Allowance(10, _DAY),
    "auto": Allowance(20, _DAY),
    "fast": Allowance(30, _DAY),
    "expert": Allowance(7, _DAY),
    "heavy": Allowance(7, _DAY),
}
"""By quota group."""

DEFAULT_QUOTA = Allowance(20, _DAY)
"""For groups that only the operator knows, and has no entry for."""

_OTHERS = "default"


class Quotas(msgspec.Struct, frozen=True):
    """What each group is guessed to have."""

    groups: Mapping[str, Allowance] = msgspec.field(default_factory=lambda: dict(DEFAULT_QUOTAS))
    others: Allowance = DEFAULT_QUOTA

    def find(self, group: str) -> Allowance:
        """The guess for a group."""
        return self.groups.get(group, self.others)


_UNITS = {"s": 1.0, "m": 60.0, "h": _HOUR, "d": _DAY}
_ENTRY = re.compile(r"([^=/\s]+)\s*=\s*(\d{1,9})\s*/\s*(\d{1,9})\s*([smhd])", re.ASCII)


def parse_quotas(text: str) -> Quotas:
    """Read guesses of the operator's, such as `grok-3=20/2h,grok-3-reasoning=10/24h`.

    An entry is a group, the calls it has, and the length of the window in s, m, h or d. The group
    `default` is for all that have no entry: what the operator says goes before our guesses.

    Raises:
        ConfigurationError: An entry cannot be right. The sentence lacks its subject, which is the
            name of the setting.
    """
    given: dict[str, Allowance] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        shown = repr(entry[:60])
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise ConfigurationError(
                f"has the entry {shown}, which does not look like grok-3=20/2h (units are s, m, h, "
                "d)"
            )
        group, total, length = match[1], int(match[2]), int(match[3]) * _UNITS[match[4]]
        if group in given:
            raise ConfigurationError(f"has two entries for {group}")
        if not 1 <= total <= MAX_TOTAL:
            raise ConfigurationError(f"has the entry {shown}: calls must be 1 to {MAX_TOTAL}")
        if not 1 <= length <= MAX_WINDOW:
            raise ConfigurationError(f"has the entry {shown}: windows are 1 s to 31 d long")
        given[group] = Allowance(total, length)
    others = given.pop(_OTHERS, None)
    return Quotas({**DEFAULT_QUOTAS, **given}) if others is None else Quotas(given, others)
