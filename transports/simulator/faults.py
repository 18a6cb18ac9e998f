"""What a simulated Grok can do wrong, on order.

A fault is ordered by a script (`Site.faults`), or by whoever asks: a message that holds
`[[fault:reset]]` is answered with that fault. Faults are not for the chat alone; `path` may name
any call, uploads and pictures among them.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

import attrs

CONVERSATIONS = "/rest/app-chat/conversations/new"

_IN_MESSAGE = re.compile(r"\[\[fault:([a-z_0-9]{1,40})\]\]")

WholeAnswer: TypeAlias = tuple[int, tuple[tuple[str, str], ...], bytes]
"""Status, headers, body."""


class FaultKind(enum.Enum):
    """The faults, in the order of an answer."""

    # Instead of an answer. These cost the account nothing.
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
    ANSWER = "answer"
    """Whatever was given with the order (`FaultScript.order_answer`)."""
    RAW = "raw"
    """Whatever bytes were given with the order (`FaultScript.order_raw`)."""
    # On the way to the answer.
    RESET_BEFORE_BODY = "reset_before_body"
    """Before the body of the request is read."""
    STALL_BEFORE_BODY = "stall_before_body"
    RESET_BEFORE_HEAD = "reset_before_head"
    STALL_BEFORE_HEAD = "stall_before_head"
    RESET_IN_HEAD = "reset_in_head"
    NOT_HTTP = "not_http"
    HUGE_HEADERS = "huge_headers"
    """A quarter of a megabyte of them; the answer is whole."""
    RESET_AFTER_HEAD = "reset_after_head"
    STALL_AFTER_HEAD = "stall_after_head"
    # In the middle of it, after half of the lines.
    RESET = "reset"
    STALL = "stall"
    CUT = "cut"
    """The connection closes in the middle of a line."""
    CLOSE = "close"
    """The connection closes between two lines, though the framing promised more."""
    EARLY_END = "early_end"
    """The framing ends as it should, with no end mark in the answer."""
    EARLY_END_BY_CLOSE = "early_end_by_close"
    """The body is one that ends with the connection, and that ends between two lines."""
    WRONG_LENGTH = "wrong_length"
    """`content-length` is more than what comes before the connection closes."""
    SHORT_LENGTH = "short_length"
    """`content-length` is half of what comes."""
    TRUNCATED_GZIP = "truncated_gzip"
    """The framing ends as it should, the compressed data does not."""
    BAD_GZIP = "bad_gzip"
    """The body turns into something that gzip cannot be."""
    BOMB = "bomb"
    """Kilobytes that unpack to gigabytes of one line, until the client leaves."""
    ENDLESS_LINE = "endless_line"
    ENDLESS_ANSWER = "endless_answer"
    """Tokens until the client leaves."""
    ERROR_LINE = "error_line"
    ERROR_FATAL = "error_fatal"
    LIMIT_IN_STREAM = "limit_in_stream"
    # With it: the answer is whole.
    ERROR_NORMAL = "error_normal"
    """An error of no consequence."""
    GARBAGE = "garbage"
    """Lines that are no JSON stand between the others."""
    LONG_LINE = "long_line"
    """A line of 5 MB."""
    DEEP_NESTING = "deep_nesting"
    NAN = "nan"
    INVALID_UTF8 = "invalid_utf8"
    """One more token, of bytes that are no character."""
    DRIP = "drip"
    """One byte at a time, `Delivery.drip` seconds apart."""
    END_BY_CLOSE = "end_by_close"
    """The body ends with the connection, as it may by HTTP."""


UNREAD = frozenset({FaultKind.RESET_BEFORE_BODY, FaultKind.STALL_BEFORE_BODY})
"""Faults that come before the request was read."""

_GIVEN = frozenset({FaultKind.ANSWER, FaultKind.RAW})
_KINDS = {kind.value: kind for kind in FaultKind if kind not in _GIVEN}


@attrs.define
class Fault:
    """An order for a fault."""

    kind: FaultKind
    times: int | None = 1
    """How often; None for always."""
    account: str | None = None
    """Only for this account's calls."""
    path: str = CONVERSATIONS
    """Only for calls of this path; `*` stands for anything, as in names of files."""
    after: int = 0
    """Calls that fit and still go well."""
    answer: WholeAnswer | None = None
    """What to say, where the kind is `ANSWER`."""
    raw: Iterable[bytes] = ()
    """What to send, where the kind is `RAW`."""


Chooser: TypeAlias = Callable[[str, str | None, dict[str, Any]], FaultKind | None]
"""A script that is a program: path, account and payload in, fault out."""


class FaultScript:
    """The orders that are still open. The first that fits a call is taken."""

    def __init__(self) -> None:
        self._orders: list[Fault] = []
        self.choose: Chooser | None = None
        """Asked where no order fits."""

    def order(
        self,
        kind: FaultKind,
        *,
        times: int | None = 1,
        account: str | None = None,
        path: str = CONVERSATIONS,
        after: int = 0,
    ) -> None:
        """Order a fault."""
        self._orders.append(Fault(kind, times, account, path, after))

    def order_answer(
        self,
        status: int,
        headers: dict[str, str],
        body: bytes,
        *,
        times: int | None = 1,
        account: str | None = None,
        path: str = CONVERSATIONS,
    ) -> None:
        """Order a whole answer that is none of the known ones."""
        answer = (status, tuple(headers.items()), body)
        self._orders.append(Fault(FaultKind.ANSWER, times, account, path, answer=answer))

    def order_raw(
        self,
        pieces: Iterable[bytes],
        *,
        times: int | None = 1,
        account: str | None = None,
        path: str = CONVERSATIONS,
    ) -> None:
        """Order these bytes in the place of an HTTP response; after them the connection closes.

        Args:
            pieces: Write by write; perhaps without end.
            times: How often; None for always.
            account: Only for this account's calls.
            path: Only for calls of this path.
        """
        self._orders.append(Fault(FaultKind.RAW, times, account, path, raw=pieces))

    def clear(self) -> None:
        """Take all orders back."""
        self._orders.clear()
        self.choose = None

    def take_unread(self, path: str, account: str | None) -> FaultKind | None:
        """The fault for a call of which only the head was read."""
        order = self._take(path, account, unread=True)
        return None if order is None else order.kind

    def take(self, path: str, account: str | None, payload: dict[str, Any]) -> Fault | None:
        """The fault for a call, if one is ordered."""
        order = self._take(path, account, unread=False)
        if order is not None:
            return order
        kind = None if self.choose is None else self.choose(path, account, payload)
        if kind is None:
            found = _IN_MESSAGE.search(str(payload.get("message", "")))
            kind = _KINDS.get(found[1]) if found else None
        return None if kind is None else Fault(kind)

    def _take(self, path: str, account: str | None, *, unread: bool) -> Fault | None:
        for order in self._orders:
            if (order.kind in UNREAD) is not unread or order.account not in (None, account):
                continue
            if not fnmatchcase(path, order.path):
                continue
            if order.after > 0:
                order.after -= 1
                continue
            if order.times is not None:
                order.times -= 1
                if order.times <= 0:
                    self._orders.remove(order)
            return order
        return None
