"""What a simulated Grok can do wrong, on order.

A fault is ordered by a script (`Simulator.faults`), or by whoever asks: a message that holds
`[[fault:reset]]` is answered with that fault.
"""

from __future__ import annotations

import enum
import re

import attrs

_IN_MESSAGE = re.compile(r"\[\[fault:([a-z_]{1,40})\]\]")


class FaultKind(enum.Enum):
    """The faults, in the order of an answer."""

    # Instead of an answer.
    BLOCK_PAGE = "block_page"
    ANTI_BOT = "anti_bot"
    DEAD_COOKIE = "dead_cookie"
    BLOCKED_ACCOUNT = "blocked_account"
    LIMIT = "limit"
    SERVER_ERROR = "server_error"
    SERVER_ERROR_PAGE = "server_error_page"
    OVERLOADED = "overloaded"
    REDIRECT = "redirect"
    NO_CONTENT = "no_content"
    EMPTY = "empty"
    HUGE_HEADERS = "huge_headers"
    WRONG_LENGTH = "wrong_length"
    # On the way to the answer.
    RESET_BEFORE_HEAD = "reset_before_head"
    STALL_BEFORE_HEAD = "stall_before_head"
    RESET_AFTER_HEAD = "reset_after_head"
    STALL_AFTER_HEAD = "stall_after_head"
    # In the middle of it.
    RESET = "reset"
    STALL = "stall"
    CUT = "cut"
    """The connection closes in the middle of a line."""
    CLOSE = "close"
    """The connection closes between two lines, with no end mark."""
    GARBAGE = "garbage"
    """Lines that are no JSON stand between the others; the answer is whole."""
    DRIP = "drip"
    """One byte at a time; the answer is whole."""
    ERROR_LINE = "error_line"
    ERROR_FATAL = "error_fatal"
    LIMIT_IN_STREAM = "limit_in_stream"
    ENDLESS_LINE = "endless_line"
    TRUNCATED_GZIP = "truncated_gzip"
    BOMB = "bomb"
    """A few kilobytes that unpack to gigabytes of one line."""
    # With it.
    ERROR_NORMAL = "error_normal"
    """An error of no consequence; the answer is whole."""


@attrs.define
class Fault:
    """An order for a fault."""

    kind: FaultKind
    times: int | None = 1
    """How often; None for always."""
    account: str | None = None
    """Only for this account's questions."""
    path: str = "/rest/app-chat/conversations/new"
    """Only for calls of this path."""


class FaultScript:
    """The orders that are still open. The first that fits a call is taken."""

    def __init__(self) -> None:
        self._orders: list[Fault] = []

    def order(
        self,
        kind: FaultKind,
        *,
        times: int | None = 1,
        account: str | None = None,
        path: str = "/rest/app-chat/conversations/new",
    ) -> None:
        """Order a fault."""
        self._orders.append(Fault(kind, times, account, path))

    def clear(self) -> None:
        """Take all orders back."""
        self._orders.clear()

    def take(self, path: str, account: str | None, message: str) -> FaultKind | None:
        """The fault for a call, if one is ordered."""
        for order in self._orders:
            if order.path == path and order.account in (None, account):
                if order.times is not None:
                    order.times -= 1
                    if order.times <= 0:
                        self._orders.remove(order)
                return order.kind
        found = _IN_MESSAGE.search(message)
        if found and found[1] in {kind.value for kind in FaultKind}:
            return FaultKind(found[1])
        return None
