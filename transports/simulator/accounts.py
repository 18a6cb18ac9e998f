"""The accounts of a simulated Grok: what each may still ask, and what it has uploaded and drawn."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs

DEFAULT_QUOTAS: dict[str, tuple[int, float]] = {
    "grok-latest": (20, 7200.0),
    "grok-3": (20, 7200.0),
    "DEEPSEARCH": (10, 86400.0),
    "DEEPERSEARCH": (3, 86400.0),
    "REASONING": (10, 86400.0),
}
"""Calls, and seconds of the window, by the name of the quota."""
_OTHER_QUOTA = (30, 86400.0)
_GUEST = "guest:"


@attrs.define
class Window:
    """What is left of one quota."""

    total: int
    length: float
    remaining: int
    ends: float | None = None
    """Set by the first call."""

    def refresh(self, now: float) -> None:
        """Open a new window if the last one is over."""
        if self.ends is not None and now >= self.ends:
            self.ends, self.remaining = None, self.total


@attrs.define
class Account:
    """One account, known by its cookie."""

    name: str
    dead: bool = False
    """Its cookie is no longer good."""
    blocked: bool = False
    calls: int = 0
    """Questions that were answered."""
    in_flight: int = 0
    most_in_flight: int = 0
    refused: int = 0
    """Questions that its quota refused."""
    paths: Counter[str] = attrs.field(factory=Counter)
    """Calls of any kind, by path."""
    windows: dict[str, Window] = attrs.field(factory=dict)
    """By the name of the quota. Ask `Accounts.window`, which keeps them up to date."""
    files: set[str] = attrs.field(factory=set)
    """Ids of what it has uploaded."""
    pictures: dict[str, int] = attrs.field(factory=dict)
    """What it has drawn: the seed of each picture, by path."""


class Accounts:
    """All accounts; each comes into being when its cookie is first seen."""

    def __init__(
        self, clock: Callable[[], float], quotas: dict[str, tuple[int, float]] | None = None
    ) -> None:
        self._clock = clock
        self._quotas = {**DEFAULT_QUOTAS, **(quotas or {})}
        self._numbers = itertools.count(1)
        self.by_name: dict[str, Account] = {}
        self.guests: set[str] = set()

    def make_guest(self) -> dict[str, str]:
        """The cookies of a new guest."""
        number = next(self._numbers)
        self.guests.add(f"{_GUEST}{number}")
        return _guest_cookies(str(number))

    def find(self, cookies: dict[str, str]) -> Account | None:
        """Whose cookies these are; None for nobody's."""
        name = cookies.get("sso")
        if not name:
            number = cookies.get("x-anonuserid", "")
            name = f"{_GUEST}{number}"
            known = name in self.guests
            if not known or _guest_cookies(number).items() - cookies.items():
                return None
        return self.get(name)

    def get(self, name: str) -> Account:
        """An account by its cookie's value; a guest's is `guest:` and its `x-anonuserid`."""
        return self.by_name.setdefault(name, Account(name))

    def window(self, account: Account, quota: str) -> Window:
        """An account's window of one quota, as it is now."""
        window = account.windows.get(quota)
        if window is None:
            total, length = self._quotas.get(quota, _OTHER_QUOTA)
            window = account.windows[quota] = Window(total, length, total)
        window.refresh(self._clock())
        return window

    def take(self, account: Account, quota: str) -> bool:
        """Count a question; False where the quota refuses it."""
        window = self.window(account, quota)
        if window.remaining <= 0:
            account.refused += 1
            return False
        if window.ends is None:
            window.ends = self._clock() + window.length
        window.remaining -= 1
        account.calls += 1
        return True

    def describe_limits(self, account: Account, quota: str) -> dict[str, Any]:
        """The answer of `rest/rate-limits`."""
        window = self.window(account, quota)
        described: dict[str, Any] = {
            "windowSizeSeconds": int(window.length),
            "remainingQueries": window.remaining,
            "totalQueries": window.total,
            "lowEffortRateLimits": None,
            "highEffortRateLimits": None,
        }
        if window.remaining == 0 and window.ends is not None:
            described["waitTimeSeconds"] = max(0, int(window.ends - self._clock()))
        return described


def _guest_cookies(number: str) -> dict[str, str]:
    return {
        "x-anonuserid": number,
        "x-challenge": f"challenge-{number}",
        "x-signature": f"signature-{number}",
    }


def name_quota(payload: dict[str, Any]) -> str:
    """Which quota a question, or a question about quotas, is about."""
    kind = payload.get("requestKind")
    if kind in ("DEEPSEARCH", "DEEPERSEARCH", "REASONING"):
        return str(kind)
    preset = payload.get("deepsearchPreset")
    if preset:
        return "DEEPERSEARCH" if preset == "deeper" else "DEEPSEARCH"
    if payload.get("isReasoning") is True:
        return "REASONING"
    return str(payload.get("modeId") or payload.get("modelName") or "grok-3")
