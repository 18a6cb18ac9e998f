"""Seeing and changing the credentials of a running server.

The routes are those that users of this kind of service know: `GET /get/tokens`, `POST /add/token`,
`POST /delete/token`, and one more, `POST /enable/token`. A credential is named by its cookie or by
its fingerprint when it comes in, and only by its fingerprint when it goes out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, assert_never

import msgspec

from grokproto.credentials import CredentialStatus, Kind, Origin, State, parse_account
from grokproto.errors import ConfigurationError, InvalidRequestError

from .orders import Action, Answer, Order
from .scheduler import Scheduler

JSON = dict[str, Any]


def carry_out(scheduler: Scheduler, order: Order) -> Answer:
    """Do what an order says."""
    try:
        match order.action:
            case Action.HEALTH:
                return {"state": scheduler.store.error}
            case Action.READINESS:
                return {"reason": find_fault(scheduler)}
            case Action.LIST:
                return list_credentials(scheduler, order.groups)
            case Action.ADD:
                return add_credential(scheduler, order.named)
            case Action.REMOVE:
                return remove_credential(scheduler, order.named)
            case Action.ENABLE:
                return enable_credential(scheduler, order.named)
            case _:
                assert_never(order.action)
    except InvalidRequestError as error:
        return error


def find_fault(scheduler: Scheduler) -> str | None:
    """Why nobody could be served, in a sentence; None where that is not so.

    Anybody may ask, so it says no more than that.
    """
    if scheduler.check_store() is not None:
        return "The state cannot be written."
    known = scheduler.pool.status(scheduler.unix_now)
    if all(status.state is State.DISABLED for status in known):
        return "There is no account, and no guest session, that is in service."
    return None


def describe_credential(status: CredentialStatus, groups: Iterable[str]) -> JSON:
    """One credential, group by group, for pages and for `grokproto credentials list`.

    Args:
        status: Of the credential.
        groups: All quota groups that may be asked for.
    """
    used = {group.group: group for group in status.groups}
    described: JSON = {}
    for name in sorted({*groups, *used}):
        group = used.get(name)
        disabled = status.state is State.DISABLED
        out = disabled or (group is not None and group.until is not None)
        reason = status.reason if disabled or group is None else group.reason
        until = group.until if group is not None else None
        described[name] = {
            "isValid": not out,
            "invalidatedTime": None if until is None else round(until),
            "totalRequestCount": 0 if group is None else group.total - group.remaining,
            "remaining": None if group is None else group.remaining,
            "total": None if group is None else group.total,
            "reason": reason if out else None,
        }
    return described


def list_credentials(scheduler: Scheduler, groups: Iterable[str]) -> JSON:
    """All credentials by fingerprint."""
    names = list(groups)
    return {
        status.name: describe_credential(
            status, names if status.kind is Kind.ACCOUNT else ["grok-2"]
        )
        for status in scheduler.pool.status(scheduler.unix_now)
    }


def read_sso(body: bytes) -> str:
    """The `sso` of a request's body.

    Raises:
        InvalidRequestError: There is none.
    """
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequestError('The body must be JSON such as {"sso": "..."}.') from None
    sso = fields.get("sso") if isinstance(fields, dict) else None
    if not isinstance(sso, str) or not sso.strip():
        raise InvalidRequestError("sso must be the cookie of an account.", param="sso")
    return sso.strip()


def add_credential(scheduler: Scheduler, sso: str) -> JSON:
    """Take an account in, in service at once.

    Raises:
        InvalidRequestError: It is no cookie, or that could not be written.
    """
    try:
        cookies = parse_account(sso)
    except ConfigurationError as exc:
        raise InvalidRequestError(f"sso {exc}.", param="sso") from exc
    name, added = scheduler.pool.add(cookies, Origin.ADDED)
    scheduler.keep()
    scheduler.serve_waiting()
    _check_written(scheduler)
    return {"credential": name, "added": added}


def find_credential(scheduler: Scheduler, named: str) -> str:
    """The fingerprint of a credential that is named by it or by its cookie.

    Raises:
        InvalidRequestError: There is no such (404).
    """
    if scheduler.pool.describe(named, scheduler.unix_now) is not None:
        return named
    with contextlib.suppress(ConfigurationError):
        name = scheduler.pool.find(parse_account(named))
        if name is not None:
            return name
    raise InvalidRequestError(
        "There is no such credential; GET /get/tokens lists those there are.",
        param="sso",
        code="credential_not_found",
        status=404,
    )


def remove_credential(scheduler: Scheduler, named: str) -> JSON:
    """Forget an account; calls under way with it end as they do.

    Raises:
        InvalidRequestError: There is no such, or that could not be written.
    """
    name = find_credential(scheduler, named)
    scheduler.pool.remove(name)
    scheduler.keep()
    _check_written(scheduler)
    return {"credential": name, "removed": True}


def enable_credential(scheduler: Scheduler, named: str) -> JSON:
    """Put an account in service again.

    Raises:
        InvalidRequestError: There is no such, or that could not be written.
    """
    name = find_credential(scheduler, named)
    scheduler.pool.enable(name)
    scheduler.keep()
    scheduler.serve_waiting()
    _check_written(scheduler)
    return {"credential": name, "enabled": True}


def _check_written(scheduler: Scheduler) -> None:
    """See to it that a change is on record.

    Raises:
        InvalidRequestError: It is not (503), though it holds for as long as this process runs.
    """
    if scheduler.store.error is not None and scheduler.check_store() is not None:
        raise InvalidRequestError(
            "The state cannot be written; unless that changes, a restart undoes what you did.",
            code="state_not_written",
            status=503,
        )
