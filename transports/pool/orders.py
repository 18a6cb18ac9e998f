"""What may be asked of a pool besides calls, wherever it is: in this process, or in another."""

from __future__ import annotations

import enum
from typing import Any, TypeAlias

import attrs

from grokproto.errors import InvalidRequestError


class Action(enum.Enum):
    """What is to be done."""

    HEALTH = "health"
    """Tell what is wrong with the state: `{"state": text or null}`."""

    READINESS = "readiness"
    """Tell why nobody could be served: `{"reason": text or null}`."""

    LIST = "list"
    """Show the accounts, by fingerprint."""

    ADD = "add"
    """Take an account in."""

    REMOVE = "remove"
    ENABLE = "enable"


@attrs.frozen
class Order:
    """One question, or one change. The answer is an `Answer`."""

    action: Action
    named: str = attrs.field(default="", repr=False)
    """The account that is meant: its cookie, or its fingerprint."""

    groups: tuple[str, ...] = ()
    """All quota groups that may be asked for; for `LIST`."""


Answer: TypeAlias = dict[str, Any] | InvalidRequestError
"""What is shown to whoever asked, or what was wrong with it. No cookie is in it."""
